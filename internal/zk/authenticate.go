package zk

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// maxIdentities bounds the identities of one connection, because each of its commands carries
// them all.
const maxIdentities = 64

// initialIdentities are those of a connection that has authenticated nothing: its address. The
// scheme world needs no identity.
func initialIdentities(remote netip.Addr) []command.Identity {
	if !remote.IsValid() {
		return nil
	}
	return []command.Identity{{Scheme: "ip", ID: remote.Unmap().WithZone("").String()}}
}

// authenticate adds what an auth packet proves to the identities of a connection and reports
// whether it proves anything. The given slice is not changed: commands on their way share it.
// Whoever proves to be the one with superDigest passes every check from then on; an empty one is nobody's.
func authenticate(have []command.Identity, p *jute.AuthPacket, superDigest string) ([]command.Identity, bool) {
	switch {
	case p.Scheme == "ip":
		return have, true // Every connection has it from the start.
	case p.Scheme != "digest" || p.Auth == nil:
		return have, false
	}
	id := digestIdentity(p.Auth)
	have = slices.Clip(have)
	if superDigest != "" && subtle.ConstantTimeCompare([]byte(id.ID), []byte(superDigest)) == 1 && !slices.Contains(have, superIdentity()) {
		have = append(have, superIdentity())
	}
	if slices.Contains(have, id) {
		return have, true
	}
	if len(have) >= maxIdentities {
		return have, false
	}
	return append(have, id), true
}

// superIdentity is who passes every check (org.apache.zookeeper.server.auth.DigestAuthenticationProvider). It has no name of its
// own: the digest beside it says whose it is.
func superIdentity() command.Identity { return command.Identity{Scheme: "super"} }

// ValidSuperDigest reports whether a text may be a SuperDigest: a user and the SHA-1 sum of user and password in Base64.
func ValidSuperDigest(text string) bool {
	user, sum, ok := strings.Cut(text, ":")
	raw, err := base64.StdEncoding.DecodeString(sum)
	return ok && user != "" && err == nil && len(raw) == sha1.Size
}

// digestIdentity gives the identity that "user:password" proves
// (org.apache.zookeeper.server.auth.DigestAuthenticationProvider.generateDigest). SHA-1 is the
// protocol's choice: the digests stand in the access lists of existing trees. Without a colon
// the whole is the user, and the digest is taken of it all the same. Bytes that are no UTF-8 are replaced first.
func digestIdentity(auth []byte) command.Identity {
	text := jute.Text(auth)
	user, _, _ := strings.Cut(text, ":")
	sum := sha1.Sum([]byte(text))
	return command.Identity{Scheme: "digest", ID: user + ":" + base64.StdEncoding.EncodeToString(sum[:])}
}
