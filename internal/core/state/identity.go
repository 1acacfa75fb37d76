package state

import (
	"strconv"
	"strings"
)

// What may stand as id of an ACL entry, scheme by scheme, and how addresses match. The grammars
// are those of ZooKeeper's authentication providers, whose quirks decide whether a client gets
// InvalidACL.

// validIdentity says whether an entry scheme:id may be stored.
func validIdentity(scheme, id string) bool {
	switch scheme {
	case schemeWorld:
		return id == anyone
	case schemeDigest:
		return validDigest(id)
	case schemeIP:
		_, _, ok := parseNetwork(id)
		return ok
	case schemeX509:
		return validDN(id)
	case schemeSASL:
		return validPrincipal(id)
	case schemeEtcd:
		return id != ""
	}
	return false
}

// validDigest takes what Java's split(":") cuts into two parts; split drops empty parts at the end.
func validDigest(id string) bool {
	return strings.Count(strings.TrimRight(id, ":"), ":") == 1
}

// validPrincipal takes a plain name, or a Kerberos name service/host@REALM with or without the host
// (KerberosName).
func validPrincipal(id string) bool {
	name, realm, kerberos := strings.Cut(id, "@")
	if !kerberos {
		return true
	}
	return !strings.ContainsAny(realm, "/@") && strings.Count(name, "/") <= 1
}

// address is an IP address: 4 or 16 bytes.
type address struct {
	bytes [16]byte
	size  int
}

// mask clears all bits behind the first n.
func (a *address) mask(n int) {
	for i := range a.size {
		keep := min(max(n-8*i, 0), 8)
		a.bytes[i] &= ^(byte(0xff) >> keep)
	}
}

// parseNetwork reads an address with an optional prefix length.
func parseNetwork(s string) (a address, bits int, ok bool) {
	host, suffix, hasBits := strings.Cut(s, "/")
	a, ok = parseAddress(host)
	if !ok {
		return a, 0, false
	}
	bits = 8 * a.size
	if hasBits {
		n, err := strconv.ParseInt(suffix, 10, 32)
		if err != nil || n < 0 || int(n) > bits {
			return a, 0, false
		}
		bits = int(n)
	}
	return a, bits, true
}

// addressMatches says whether the address id lies in the network expr.
func addressMatches(id, expr string) bool {
	network, bits, ok := parseNetwork(expr)
	if !ok {
		return false
	}
	a, ok := parseAddress(id)
	if !ok {
		return false
	}
	a.mask(bits)
	network.mask(bits)
	return a == network
}

// parseAddress reads an IPv4 or IPv6 address. Numbers may have a sign and leading zeros, as Java's
// parseInt takes them.
func parseAddress(s string) (address, bool) {
	switch {
	case strings.Contains(s, ":"):
		return parseIPv6(s)
	case strings.Contains(s, "."):
		return parseIPv4(s)
	}
	return address{}, false
}

func parseIPv4(s string) (address, bool) {
	a := address{size: 4}
	parts := strings.Split(s, ".")
	if len(parts) != a.size {
		return a, false
	}
	for i, p := range parts {
		n, err := strconv.ParseInt(p, 10, 32)
		if err != nil || n < 0 || n > 255 {
			return a, false
		}
		a.bytes[i] = byte(n)
	}
	return a, true
}

// parseIPv6 reads eight groups of up to four hexadecimal digits, of which one run may be left out
// as "::". There is no dotted form.
func parseIPv6(s string) (address, bool) {
	const groups = 8
	a := address{size: 16}
	head, tail, short := strings.Cut(s, "::")
	if strings.Contains(tail, "::") {
		return a, false
	}
	var front, back []string
	if head != "" || !short {
		front = strings.Split(head, ":")
	}
	if tail != "" {
		back = strings.Split(tail, ":")
	}
	n := len(front) + len(back)
	if short && n >= groups || !short && n != groups {
		return a, false
	}
	ok := a.setGroups(0, front) && a.setGroups(groups-len(back), back)
	return a, ok
}

// setGroups writes hexadecimal groups from the group at position first on.
func (a *address) setGroups(first int, groups []string) bool {
	for i, g := range groups {
		if len(g) > 4 {
			return false
		}
		n, err := strconv.ParseInt(g, 16, 32)
		if err != nil {
			return false
		}
		a.bytes[2*(first+i)] = byte(n >> 8)
		a.bytes[2*(first+i)+1] = byte(n)
	}
	return true
}

// validDN takes a distinguished name as javax.security.auth.x500.X500Principal does: names of the
// form KEYWORD=value, separated by commas, semicolons or plus signs. The empty name is one.
func validDN(id string) bool {
	if strings.TrimSpace(id) == "" {
		return true
	}
	start, quoted := 0, false
	for i := 0; i < len(id); i++ {
		switch id[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ',', ';', '+':
			if !quoted {
				if !validAttribute(id[start:i]) {
					return false
				}
				start = i + 1
			}
		}
	}
	return !quoted && validAttribute(id[start:])
}

// validAttribute takes one KEYWORD=value of a distinguished name.
func validAttribute(s string) bool {
	key, value, found := strings.Cut(s, "=")
	return found && validKeyword(strings.TrimSpace(key)) && validValue(strings.TrimSpace(value))
}

// validKeyword takes the attribute types that X500Principal knows by name, and object identifiers.
func validKeyword(key string) bool {
	key = strings.ToUpper(key)
	switch key {
	case "CN", "C", "L", "S", "ST", "O", "OU", "T", "IP", "STREET", "DC", "DNQUALIFIER", "DNQ",
		"SURNAME", "GIVENNAME", "INITIALS", "GENERATION", "EMAIL", "EMAILADDRESS", "UID", "SERIALNUMBER":
		return true
	}
	parts := strings.Split(strings.TrimPrefix(key, "OID."), ".")
	if len(parts) < 2 {
		return false
	}
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 31); err != nil {
			return false
		}
	}
	return true
}

// validValue takes the value of an attribute: quoted, hexadecimal behind '#', or plain without the
// characters that have to be escaped.
func validValue(v string) bool {
	switch {
	case strings.HasPrefix(v, "#"):
		hex := v[1:]
		return hex != "" && len(hex)%2 == 0 && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
	case strings.HasPrefix(v, `"`):
		return closesAtEnd(v)
	}
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			if i++; i == len(v) {
				return false
			}
		case '<', '>', '"':
			return false
		}
	}
	return true
}

// closesAtEnd says whether the quoted string v has its closing quote at its end and not before.
func closesAtEnd(v string) bool {
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i == len(v)-1
		}
	}
	return false
}
