package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/okapi-kv/okapi/test/harness"
)

// TestSecurePeers runs three members that speak TLS with each other.
func TestSecurePeers(t *testing.T) {
	c := harness.NewCluster(t, tools, 3)
	cert, key := certificate(t, t.TempDir())
	c.SecurePeers(cert, key, cert)
	c.Start()
	everyWay(t, "secure", c.Members...)
	leader := c.Leader()
	leader.Kill()
	rest := c.Others(leader)
	for _, m := range rest {
		m.WaitReady()
	}
	everyWay(t, "two", rest...)
	leader.Start()
	leader.WaitReady()
	everyWay(t, "again", c.Members...)
	c.Terminate()
}

// certificate makes a certificate for the loopback interface that is its own authority.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "okapi"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// line is the way of one ZooKeeper client to the members, which can be cut.
type line struct {
	mu    sync.Mutex
	conns []net.Conn
	down  bool
}

var errDown = errors.New("the line is cut")

// dial is a zk.Dialer.
func (l *line) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errDown
	}
	conn, err := net.DialTimeout(network, address, timeout)
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

// cut ends every connection and lets none be made.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}

// TestSessions has one client vanish and another stay while the leader is killed: the ephemeral znode
// of the first goes when its session has expired, that of the second stays.
func TestSessions(t *testing.T) {
	c := harness.NewCluster(t, tools, 3)
	c.Start()
	leader := c.Leader()
	rest := c.Others(leader)
	vanishes := new(line)
	gone, _, err := zk.Connect([]string{rest[0].ZooKeeper}, 4*time.Second, zk.WithLogger(silent{}), zk.WithDialer(vanishes.dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gone.Close)
	stays, _, err := zk.Connect([]string{leader.ZooKeeper, rest[0].ZooKeeper, rest[1].ZooKeeper}, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stays.Close)
	for path, conn := range map[string]*zk.Conn{"/gone": gone, "/stays": stays} {
		if _, err := conn.Create(path, nil, zk.FlagEphemeral, zk.WorldACL(zk.PermAll)); err != nil {
			t.Fatalf("create %s: %v", path, err)
		}
	}
	session := stays.SessionID()
	vanishes.cut()
	leader.Kill()
	observer := dialZooKeeper(t, rest[1])
	harness.Eventually(t, "end of a session whose client vanished", func() string {
		there, _, err := observer.Exists("/gone")
		switch {
		case err != nil:
			return err.Error()
		case there:
			return "its ephemeral znode is still there"
		}
		return ""
	})
	if there, stat, err := observer.Exists("/stays"); err != nil || !there || stat.EphemeralOwner != session {
		t.Errorf("the znode of the client that stayed: there %v, %+v, %v", there, stat, err)
	}
	harness.Eventually(t, "the client that stayed goes on", func() string {
		if _, err := stays.Set("/stays", []byte("v"), -1); err != nil {
			return err.Error()
		}
		return ""
	})
	if stays.SessionID() != session {
		t.Errorf("the client that stayed has session %#x, had %#x", stays.SessionID(), session)
	}
}
