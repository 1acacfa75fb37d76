package state

import "testing"

func TestValidIdentity(t *testing.T) {
	for _, tt := range []struct {
		scheme, id string
		valid      bool
	}{
		{"world", "anyone", true},
		{"world", "someone", false},
		{"world", "", false},
		{"digest", "ann:hash=", true},
		{"digest", ":hash", true},
		{"digest", "a:b:", true}, // Java's split drops the empty end
		{"digest", "a:b::", true},
		{"digest", "a:", false},
		{"digest", "a", false},
		{"digest", "", false},
		{"digest", ":", false},
		{"digest", "a:b:c", false},
		{"ip", "10.0.0.1", true},
		{"ip", "10.0.0.1/0", true},
		{"ip", "10.0.0.1/32", true},
		{"ip", "10.0.0.1/33", false},
		{"ip", "10.0.0.1/-1", false},
		{"ip", "10.0.0.1/", false},
		{"ip", "10.0.0.1/8/8", false},
		{"ip", "10.0.0", false},
		{"ip", "10.0.0.1.2", false},
		{"ip", "10.0.0.256", false},
		{"ip", "10.0.0.-1", false},
		{"ip", "10.0.0.", false},
		{"ip", "10.0.0.x", false},
		{"ip", "localhost", false},
		{"ip", "", false},
		{"ip", "::", true},
		{"ip", "::1", true},
		{"ip", "1::", true},
		{"ip", "fe80::1/64", true},
		{"ip", "1:2:3:4:5:6:7:8", true},
		{"ip", "1:2:3:4:5:6:7:8/128", true},
		{"ip", "1:2:3:4:5:6:7:8/129", false},
		{"ip", "1:2:3:4:5:6:7", false},
		{"ip", "1:2:3:4:5:6:7:8:9", false},
		{"ip", "1:2:3:4::5:6:7:8", false},
		{"ip", "1::2::3", false},
		{"ip", ":::", false},
		{"ip", "12345::", false},
		{"ip", "g::", false},
		{"ip", "::ffff:10.0.0.1", false},
		{"sasl", "ann", true},
		{"sasl", "", true},
		{"sasl", "a/b/c", true}, // no Kerberos name at all, hence a plain one
		{"sasl", "ann@REALM", true},
		{"sasl", "zk/host@REALM", true},
		{"sasl", "zk/host/x@REALM", false},
		{"sasl", "a@b@c", false},
		{"sasl", "a@b/c", false},
		{"x509", "CN=ann", true},
		{"x509", "", true},
		{"x509", "cn=ann, OU=dev; O=x+L=y,C=DE", true},
		{"x509", `CN="a,b"`, true},
		{"x509", `CN=a\,b`, true},
		{"x509", `CN="a\"b"`, true},
		{"x509", "1.2.840.113549=#0a0B", true},
		{"x509", "OID.1.2=x", true},
		{"x509", "CN=", true},
		{"x509", `CN="a\"`, false},
		{"x509", "CN=a<b", false},
		{"x509", `CN=a"b"`, false},
		{"x509", `CN="a"b`, false},
		{"x509", `CN="a`, false},
		{"x509", `CN=a\`, false},
		{"x509", "CN=#0", false},
		{"x509", "CN=#0g", false},
		{"x509", "CN=#", false},
		{"x509", "NOPE=x", false},
		{"x509", "1.x=y", false},
		{"x509", "ann", false},
		{"x509", "CN=a,", false},
		{"x509", "CN=a,,O=b", false},
		{"etcd", "ann", true},
		{"etcd", "", false},
		{"super", "", false},
		{"auth", "", false},
		{"", "", false},
		{"nope", "x", false},
	} {
		if got := validIdentity(tt.scheme, tt.id); got != tt.valid {
			t.Errorf("%s:%s: valid %v, want %v", tt.scheme, tt.id, got, tt.valid)
		}
	}
}

func TestAddressMatches(t *testing.T) {
	for _, tt := range []struct {
		id, expr string
		match    bool
	}{
		{"10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3", "10.1.2.4", false},
		{"10.1.2.3", "10.1.0.0/16", true},
		{"10.2.2.3", "10.1.0.0/16", false},
		{"10.1.2.3", "10.1.2.0/30", true},
		{"10.1.2.4", "10.1.2.0/30", false},
		{"10.1.2.3", "0.0.0.0/0", true},
		{"::1", "0.0.0.0/0", false},
		{"10.1.2.3", "::/0", false},
		{"fe80:0:0:0:0:0:0:1", "fe80::1", true},
		{"fe80:0:0:0:0:0:0:1", "fe80::/10", true},
		{"ff80:0:0:0:0:0:0:1", "fe80::/10", false},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:9/128", false},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:9/127", true},
		{"nonsense", "10.1.2.3", false},
		{"10.1.2.3", "nonsense", false},
	} {
		if got := addressMatches(tt.id, tt.expr); got != tt.match {
			t.Errorf("%s in %s: %v, want %v", tt.id, tt.expr, got, tt.match)
		}
	}
}
