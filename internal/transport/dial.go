package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// dial opens a connection to one address of p and carries out the handshake. The caller
// calls release when it is done with the connection, also to end it early.
func (t *Transport) dial(ctx context.Context, p *peer, kind linkKind) (conn net.Conn, release func(), err error) {
	address := p.nextAddress()
	if address == "" {
		return nil, nil, errNoAddress
	}
	to, err := parseAddress(address)
	switch {
	case err != nil:
		return nil, nil, err
	case to.scheme == "https" && t.client == nil:
		return nil, nil, fmt.Errorf("%w: %s", errNoTLS, address)
	case to.scheme == "http" && t.client != nil:
		return nil, nil, fmt.Errorf("%w: %s", errOnlyTLS, address)
	}
	dialCtx, cancel := context.WithTimeout(ctx, t.options.DialTimeout)
	raw, err := t.options.Dial(dialCtx, "tcp", to.hostPort)
	cancel()
	if err != nil {
		return nil, nil, wrap("dial", err)
	}
	release = guard(ctx, raw)
	conn, err = t.introduce(ctx, raw, introduction{peer: p, host: to.host, kind: kind})
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("shake hands with %s: %w", address, err)
	}
	p.dialed(address)
	return conn, release, nil
}

// introduction says to whom a new connection goes and what for.
type introduction struct {
	peer *peer
	host string
	kind linkKind
}

// introduce is the dialing side of the handshake, TLS included.
func (t *Transport) introduce(ctx context.Context, raw net.Conn, to introduction) (net.Conn, error) {
	if err := raw.SetDeadline(time.Now().Add(t.options.HandshakeTimeout)); err != nil {
		return nil, err
	}
	conn := raw
	if t.client != nil {
		config := t.client
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName = to.host
		}
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if err := t.verifyPeer(secure, to.peer.id, []string{to.host, config.ServerName}); err != nil {
			return nil, err
		}
		conn = secure
	}
	h := hello{
		versionOldest: versionOldest,
		versionNewest: versionNewest,
		cluster:       t.options.Identity.ClusterID,
		from:          t.options.Identity.MemberID,
		to:            to.peer.id,
		incarnation:   t.incarnation,
		attempt:       t.attempts.Add(1),
		directory:     t.options.Directory,
		starts:        t.options.Starts,
		feature:       t.options.Feature,
		kind:          to.kind,
	}
	if _, err := conn.Write(h.encode(t.urls)); err != nil {
		return nil, err
	}
	a, err := readAnswer(conn)
	if err != nil {
		return nil, err
	}
	if err := a.check(&h); err != nil {
		return nil, err
	}
	to.peer.feature.Store(a.feature)
	return conn, conn.SetDeadline(time.Time{})
}
