package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// A member that was added to a running cluster does not know its own id, nor that of the cluster. It asks a member by
// a hello of its own kind, with its peer URLs, which the others know it by. The answer names the cluster; one frame
// follows: a byte, and the id of the member or the text of the refusal.
const (
	joinKnown   = 0
	joinRefused = 1
)

// ErrNotAdded says that the member that was asked does not know of one with these peer URLs.
var ErrNotAdded = errors.New("the cluster does not expect a member with these peer URLs")

// errNoJoin says that nobody answers such questions here.
var errNoJoin = errors.New("this member cannot tell")

// Introduction is what a member that does not know its id says of itself.
type Introduction struct {
	// URLs are its own peer URLs.
	URLs []string
	// TLS is as in Options.
	TLS *tls.Config
	// Timeout bounds one question.
	Timeout time.Duration
}

// AskToJoin asks the member at an address (host:port or a URL) who we are. An error that wraps ErrNotAdded is the cluster's
// word.
func AskToJoin(ctx context.Context, address string, in Introduction) (cluster, member uint64, err error) {
	to, err := parseAddress(address)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, in.Timeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", to.hostPort)
	if err != nil {
		return 0, 0, wrap("dial", err)
	}
	defer guard(ctx, raw)()
	conn := raw
	if in.TLS != nil {
		_, client := mutualTLS(in.TLS)
		if client.ServerName == "" {
			client.ServerName = to.host
		}
		secure := tls.Client(raw, client)
		if err := secure.HandshakeContext(ctx); err != nil {
			return 0, 0, wrap("begin TLS", err)
		}
		conn = secure
	}
	return askToJoin(conn, in.URLs)
}

func askToJoin(conn net.Conn, urls []string) (cluster, member uint64, err error) {
	h := hello{versionOldest: versionOldest, versionNewest: versionNewest, kind: linkJoin}
	if _, err := conn.Write(h.encode(joinURLs(urls))); err != nil {
		return 0, 0, wrap("say hello", err)
	}
	a, err := readAnswer(conn)
	if err != nil {
		return 0, 0, wrap("read answer", err)
	}
	if a.verdict != accepted {
		return 0, 0, &RefusedError{reason: a.verdict, cluster: a.cluster, member: a.member}
	}
	frame, err := readFrame(bufio.NewReader(conn), 1+textBytesMax)
	switch {
	case err != nil:
		return 0, 0, wrap("read answer", err)
	case len(frame) == 9 && frame[0] == joinKnown:
		return a.cluster, binary.BigEndian.Uint64(frame[1:]), nil
	case len(frame) > 0 && frame[0] == joinRefused:
		return a.cluster, 0, fmt.Errorf("%w: %s", ErrNotAdded, strings.ToValidUTF8(string(frame[1:]), "?"))
	}
	return 0, 0, errHelloFields
}

// serveJoin answers a question of who does not know its id.
func (a *acceptor) serveJoin(conn net.Conn, h *hello) {
	id, err := uint64(0), errNoJoin
	if a.t.options.Join != nil {
		id, err = a.t.options.Join(h.urls)
	}
	frame := binary.BigEndian.AppendUint64([]byte{joinKnown}, id)
	if err != nil {
		frame = append([]byte{joinRefused}, shorten(err)...)
	}
	if a.answer(conn, accepted) == nil && writeFrameNow(conn, frame) == nil {
		linger(conn)
	}
}
