package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority signs test certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca := &authority{key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca.cert = ca.sign(t, template, template, ca.key)
	ca.pool.AddCert(ca.cert)
	return ca
}

func (ca *authority) sign(t *testing.T, template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(cryptorand.Reader, template, parent, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// config makes the settings of a member whose certificate carries these names: URIs, IP
// addresses and host names.
func (ca *authority) config(t *testing.T, names ...string) *tls.Config {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			template.URIs = append(template.URIs, u)
		} else if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey(t)
	cert := ca.sign(t, template, ca.cert, key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}}, RootCAs: ca.pool}
}

// securePair runs members 1 and 2 with these settings, dialing each other by 127.0.0.1.
func securePair(t *testing.T, one, two *tls.Config) (a, b *node) {
	t.Helper()
	la, lb := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	scheme := func(config *tls.Config) string {
		if config == nil {
			return "http://"
		}
		return "https://"
	}
	a = start(t, 1, la, func(o *Options) {
		o.TLS = one
		o.Peers = map[uint64][]string{2: {scheme(one) + lb.Addr().String()}}
	})
	b = start(t, 2, lb, func(o *Options) {
		o.TLS = two
		o.Peers = map[uint64][]string{1: {scheme(two) + la.Addr().String()}}
	})
	return a, b
}

func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	for name, certificate := range map[string]func(id int) []string{
		"by address": func(int) []string { return []string{"127.0.0.1"} },
		"by name":    func(id int) []string { return []string{"127.0.0.1", fmt.Sprintf("okapi://member/%x", id)} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := securePair(t, ca.config(t, certificate(1)...), ca.config(t, certificate(2)...))
			a.waitLinked(t, 2)
			b.waitLinked(t, 1)
			a.Send(2, noise(1<<20))
			if got := await(t, b.frames, "frame"); len(got.frame) != 1<<20 {
				t.Errorf("%d bytes", len(got.frame))
			}
		})
	}
}

func TestTLSRefusals(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := func() *tls.Config { return ca.config(t, "127.0.0.1") }
	bare := func() *tls.Config { return &tls.Config{RootCAs: ca.pool} }
	for _, c := range []struct {
		name     string
		one, two *tls.Config
		log      [2]string
	}{
		// Either member names what it sees; one is the caller whose certificate is wrong.
		{"certificate of another member", ca.config(t, "127.0.0.1", "okapi://member/9"), good(), [2]string{refusedCertificate.String(), "another member than 1"}},
		{"certificate of another host", ca.config(t, "10.9.9.9"), good(), [2]string{refusedCertificate.String(), "none of the member's peer hosts"}},
		{"other authority", other.config(t, "127.0.0.1"), good(), [2]string{"unknown authority", "unknown authority"}},
		{"no certificate", bare(), good(), [2]string{"certificate", "certificate"}},
		{"clear caller", nil, good(), [2]string{"TLS", "does not look like a TLS handshake"}},
		{"clear callee", good(), nil, [2]string{"does not look like a TLS handshake", "TLS hello"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := securePair(t, c.one, c.two)
			a.waitLog(t, c.log[0])
			b.waitLog(t, c.log[1])
			for _, n := range []*node{a, b} {
				for _, s := range n.Status() {
					if n == a && s.Linked {
						t.Errorf("linked: %+v", s)
					}
				}
			}
			if len(b.frames) > 0 {
				t.Error("frames got through")
			}
		})
	}
}

func TestTLSAddressMustSaySo(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, 1, listen(t, "127.0.0.1:0"), func(o *Options) {
		o.TLS = ca.config(t, "127.0.0.1")
		o.Peers = map[uint64][]string{2: {"http://127.0.0.1:1"}}
	})
	a.waitLog(t, errOnlyTLS.Error())
}

func TestVerifyPeerReplacesTheRule(t *testing.T) {
	ca := newAuthority(t)
	la, lb := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	allow := func(member uint64, hosts []string, leaf *x509.Certificate) error {
		if len(hosts) == 0 || leaf == nil || member == 0 {
			return fmt.Errorf("judged without facts")
		}
		return nil
	}
	config := ca.config(t, "okapi://member/77", "127.0.0.1")
	peers := map[uint64][]string{1: {la.Addr().String()}, 2: {lb.Addr().String()}}
	a := start(t, 1, la, func(o *Options) { o.TLS, o.Peers, o.VerifyPeer = config, peers, allow })
	start(t, 2, lb, func(o *Options) { o.TLS, o.Peers, o.VerifyPeer = config, peers, allow })
	a.waitLinked(t, 2)
}

func TestMutualTLSSettings(t *testing.T) {
	server, client := mutualTLS(&tls.Config{RootCAs: x509.NewCertPool()})
	if server.ClientAuth != tls.RequireAndVerifyClientCert || server.ClientCAs == nil || server.MinVersion != tls.VersionTLS13 || client.MinVersion != tls.VersionTLS13 {
		t.Errorf("server = %v %v %x", server.ClientAuth, server.ClientCAs, server.MinVersion)
	}
	server, _ = mutualTLS(&tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven})
	if server.ClientAuth != tls.RequireAndVerifyClientCert || server.MinVersion != tls.VersionTLS12 {
		t.Errorf("server = %v %x", server.ClientAuth, server.MinVersion)
	}
}

func TestParseAddress(t *testing.T) {
	for address, want := range map[string]target{
		"a:1":               {"", "a", "a:1"},
		"http://a:1":        {"http", "a", "a:1"},
		"https://[::1]:2":   {"https", "::1", "[::1]:2"},
		"[fe80::1%eth0]:3":  {"", "fe80::1%eth0", "[fe80::1%eth0]:3"},
		"http://10.0.0.1:4": {"http", "10.0.0.1", "10.0.0.1:4"},
	} {
		if got, err := parseAddress(address); err != nil || got != want {
			t.Errorf("parseAddress(%q) = %+v, %v", address, got, err)
		}
	}
	for _, address := range []string{"", "a", ":1", "a:", "http://", "http://a", "unix://a:1", "http://a:1/path", "http://a b:1"} {
		if got, err := parseAddress(address); err == nil || !strings.Contains(err.Error(), "host:port") {
			t.Errorf("parseAddress(%q) = %+v, %v", address, got, err)
		}
	}
}
