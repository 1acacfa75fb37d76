package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// mutualTLS derives both directions' settings: each side shows a certificate and verifies
// the other's against the same roots.
func mutualTLS(base *tls.Config) (server, client *tls.Config) {
	client = base.Clone()
	if client.MinVersion == 0 {
		client.MinVersion = tls.VersionTLS13
	}
	server = client.Clone()
	if server.ClientAuth != tls.RequireAnyClientCert {
		server.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if server.ClientCAs == nil {
		server.ClientCAs = base.RootCAs
	}
	return server, client
}

var (
	errCertificateMember = errors.New("certificate names another member")
	errCertificateHost   = errors.New("certificate is valid for none of the member's peer hosts")
	errNoTLS             = errors.New("peer URL is https, but no certificate for peers is configured")
	errOnlyTLS           = errors.New("peer URL is http, but a certificate for peers is configured: write https")
	errAddress           = errors.New("peer address is not host:port, http://host:port or https://host:port")
)

// verifyCertificate is the default judgement of a peer's certificate. That some authority
// signed it is not enough: it must speak for this member.
func verifyCertificate(member uint64, hosts []string, leaf *x509.Certificate) error {
	named := false
	for _, u := range leaf.URIs {
		if u.Scheme != "okapi" {
			continue
		}
		if u.Host == "member" && u.Path == fmt.Sprintf("/%x", member) {
			return nil
		}
		named = true
	}
	if named {
		return fmt.Errorf("%w than %x", errCertificateMember, member)
	}
	for _, host := range hosts {
		if leaf.VerifyHostname(host) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w (%s)", errCertificateHost, strings.Join(hosts, ", "))
}

// verifyPeer judges the certificate that came with conn, if links use TLS.
func (t *Transport) verifyPeer(conn net.Conn, member uint64, hosts []string) error {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	certificates := secure.ConnectionState().PeerCertificates
	if len(certificates) == 0 {
		return errCertificateMember
	}
	verify := t.options.VerifyPeer
	if verify == nil {
		verify = verifyCertificate
	}
	return verify(member, hosts, certificates[0])
}

// hostsOf lists the host names and IP addresses of well-formed addresses.
func hostsOf(addresses []string) []string {
	var hosts []string
	for _, a := range addresses {
		if target, err := parseAddress(a); err == nil {
			hosts = append(hosts, target.host)
		}
	}
	return hosts
}

// target is one address, taken apart.
type target struct {
	scheme   string // "http", "https", or "" where only host:port was given
	host     string // without the brackets of IPv6
	hostPort string
}

func parseAddress(address string) (target, error) {
	t := target{hostPort: address}
	if strings.Contains(address, "://") {
		u, err := url.Parse(address)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" {
			return t, fmt.Errorf("%w: %q", errAddress, address)
		}
		t.scheme, t.hostPort = u.Scheme, u.Host
	}
	host, port, err := net.SplitHostPort(t.hostPort)
	if err != nil || host == "" || port == "" {
		return t, fmt.Errorf("%w: %q", errAddress, address)
	}
	t.host = host
	return t, nil
}

// joinURLs makes the text that a hello carries. URLs that do not fit are left out: they only
// help peers that do not know this member yet.
func joinURLs(urls []string) string {
	var text strings.Builder
	for _, u := range urls {
		if strings.Contains(u, "\n") || text.Len()+1+len(u) > helloURLBytesMax {
			continue
		}
		if text.Len() > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(u)
	}
	return text.String()
}
