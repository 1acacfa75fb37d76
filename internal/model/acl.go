package model

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// The access lists of the nodes that are always there. They are never changed.
var (
	openACL  = []command.ACL{{Perms: command.PermAll, Scheme: "world", ID: "anyone"}}
	readOnly = []command.ACL{{Perms: command.PermRead, Scheme: "world", ID: "anyone"}}
)

// allowed says whether a caller has any of the permissions perm by an access list.
func (m *Model) allowed(c *command.Caller, list []command.ACL, perm command.Permission) bool {
	var ids []command.Identity
	switch c.Protocol {
	case command.Internal:
		return true
	case command.ZooKeeper:
		if m.settings.SkipACL {
			return true
		}
		ids = c.Identities
	default:
		if c.User == "root" {
			return true
		}
		if c.User != "" {
			ids = []command.Identity{{Scheme: "etcd", ID: c.User}}
		}
	}
	for _, id := range ids {
		if id.Scheme == "super" {
			return true
		}
	}
	for _, a := range list {
		if a.Perms&perm != 0 && (a.Scheme == "world" && a.ID == "anyone" || slices.ContainsFunc(ids, func(id command.Identity) bool {
			return id.Scheme == a.Scheme && matches(a.Scheme, id.ID, a.ID)
		})) {
			return true
		}
	}
	return false
}

// matches says whether an identity is meant by the id of an access list of the same scheme.
func matches(scheme, id, expr string) bool {
	if scheme != "ip" {
		// ZooKeeper also lets a SASL user with the name super pass for every other one
		// (SASLAuthenticationProvider.matches). Only who was made a super user on purpose passes here.
		return id == expr
	}
	want, bits, ok := parseNet(expr)
	if !ok {
		return false
	}
	have, err := netip.ParseAddr(id)
	if err != nil || have.Is4() != want.Is4() {
		return false
	}
	a, _ := want.Prefix(bits)
	b, _ := have.Prefix(bits)
	return a == b
}

// parseNet reads an address with an optional length (org.apache.zookeeper.server.auth.IPAuthenticationProvider).
func parseNet(expr string) (addr netip.Addr, bits int, ok bool) {
	text, length, has := strings.Cut(expr, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, 0, false
	}
	bits = addr.BitLen()
	if has {
		if bits, err = strconv.Atoi(length); err != nil || bits < 0 || bits > addr.BitLen() {
			return addr, 0, false
		}
	}
	return addr, bits, true
}

// fixACL turns an access list as sent into the one that is kept, or refuses it
// (org.apache.zookeeper.server.PrepRequestProcessor, fixupACL).
func fixACL(c *command.Caller, list []command.ACL) ([]command.ACL, state.Code) {
	var unique, out []command.ACL
	for _, a := range list {
		if !slices.Contains(unique, a) {
			unique = append(unique, a)
		}
	}
	if len(unique) == 0 {
		return nil, state.InvalidACL
	}
	for _, a := range unique {
		switch {
		case a.Scheme == "auth":
			before := len(out)
			for _, id := range c.Identities {
				if id.Scheme == "digest" || id.Scheme == "sasl" || id.Scheme == "x509" {
					out = append(out, command.ACL{Perms: a.Perms, Scheme: id.Scheme, ID: id.ID})
				}
			}
			if len(out) == before {
				return nil, state.InvalidACL
			}
		case !validIdentity(a.Scheme, a.ID):
			return nil, state.InvalidACL
		default:
			out = append(out, a)
		}
	}
	return out, state.OK
}

func validIdentity(scheme, id string) bool {
	switch scheme {
	case "world":
		return id == "anyone"
	case "digest":
		// Java's split drops empty parts at the end, so "a:" has one and ":b" has two.
		parts := strings.Split(id, ":")
		for len(parts) > 0 && parts[len(parts)-1] == "" {
			parts = parts[:len(parts)-1]
		}
		return len(parts) == 2
	case "ip":
		_, _, ok := parseNet(id)
		return ok
	case "sasl":
		// org.apache.zookeeper.server.auth.KerberosName: service/host@realm, or anything without an @.
		service, realm, has := strings.Cut(id, "@")
		return !has || strings.Count(service, "/") <= 1 && !strings.ContainsAny(realm, "/@")
	case "x509":
		// A distinguished name: parts of the form attribute=value. Its finer points are not modelled.
		for part := range strings.SplitSeq(id, ",") {
			if attribute, _, has := strings.Cut(part, "="); !has || strings.TrimSpace(attribute) == "" {
				return false
			}
		}
		return true
	case "etcd":
		return id != ""
	default:
		return false
	}
}

// masked is an access list as it is shown to who may not change it.
func masked(list []command.ACL) []command.ACL {
	out := slices.Clone(list)
	for i, a := range out {
		if a.Scheme == "digest" {
			user, _, _ := strings.Cut(a.ID, ":")
			out[i].ID = user + ":x"
		}
	}
	return out
}
