package zk

import (
	"crypto/sha1"
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
func authenticate(have []command.Identity, p *jute.AuthPacket) ([]command.Identity, bool) {
	var id command.Identity
	switch {
	case p.Scheme == "ip":
		return have, true // Every connection has it from the start.
	case p.Scheme == "digest" && p.Auth != nil:
		id = digestIdentity(p.Auth)
	default:
		return have, false
	}
	if slices.Contains(have, id) {
		return have, true
	}
	if len(have) >= maxIdentities {
		return have, false
	}
	return append(slices.Clip(have), id), true
}

// digestIdentity gives the identity that "user:password" proves
// (org.apache.zookeeper.server.auth.DigestAuthenticationProvider.generateDigest). SHA-1 is the
// protocol's choice: the digests stand in the access lists of existing trees. Without a colon
// the whole is the user, and the digest is taken of it all the same.
func digestIdentity(auth []byte) command.Identity {
	user, _, _ := strings.Cut(string(auth), ":")
	sum := sha1.Sum(auth)
	return command.Identity{Scheme: "digest", ID: strings.ToValidUTF8(user, "\uFFFD") + ":" + base64.StdEncoding.EncodeToString(sum[:])}
}
