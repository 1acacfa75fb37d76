package robustness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// endPatience is how long the server may take to end a connection that has no business here: its own limit is 5 s.
const endPatience = 40 * time.Second

// raw is a connection on which anything can be said.
type raw struct {
	t *testing.T
	*net.TCPConn
	*http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

func dialRaw(t *testing.T, address string) *raw {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, endPatience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r := &raw{t: t, TCPConn: conn.(*net.TCPConn), Framer: http2.NewFramer(conn, conn)}
	r.Framer.AllowIllegalWrites = true
	r.encoder = hpack.NewEncoder(&r.headers)
	return r
}

// say sends bytes as they are.
func (r *raw) say(b []byte) error {
	_, err := r.TCPConn.Write(b)
	return err
}

// greet begins HTTP/2.
func (r *raw) greet(settings ...http2.Setting) {
	r.t.Helper()
	if err := errors.Join(r.say([]byte(http2.ClientPreface)), r.WriteSettings(settings...), r.WriteSettingsAck()); err != nil {
		r.t.Fatal(err)
	}
}

// block encodes the headers of a call.
func (r *raw) block(method, contentType string, more ...string) []byte {
	r.headers.Reset()
	fields := append([]string{
		":method", "POST", ":scheme", "http", ":path", method, ":authority", "okapi",
		"content-type", contentType, "te", "trailers",
	}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = r.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return r.headers.Bytes()
}

// open begins a call and returns its stream.
func (r *raw) open(method string, more ...string) (uint32, error) {
	if r.stream++; r.stream%2 == 0 {
		r.stream++
	}
	return r.stream, r.WriteHeaders(http2.HeadersFrameParam{
		StreamID: r.stream, BlockFragment: r.block(method, "application/grpc", more...), EndHeaders: true,
	})
}

// call begins a call with one message.
func (r *raw) call(method string, m proto.Message, end bool) (uint32, error) {
	id, err := r.open(method)
	if err != nil {
		return id, err
	}
	return id, r.WriteData(id, end, message(m))
}

// messageHeadBytes is what gRPC puts before a message.
const messageHeadBytes = 5

// message frames a message as gRPC does.
func message(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return frame(b)
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

// awaitEnd reads until the server closes the connection, and fails the test if it does not.
func (r *raw) awaitEnd(what string) []byte {
	r.t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(endPatience)); err != nil {
		r.t.Fatal(err)
	}
	got, err := io.ReadAll(r.TCPConn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Errorf("%s: the server still has the connection after %v", what, endPatience)
	}
	return got
}

// status reads frames until the trailers of a call, or the frame that ends it otherwise.
func (r *raw) status(stream uint32) string {
	if err := r.SetReadDeadline(time.Now().Add(endPatience)); err != nil {
		r.t.Fatal(err)
	}
	decoder := hpack.NewDecoder(4096, nil)
	for {
		f, err := r.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "no answer"
		}
		if err != nil {
			return "connection: " + err.Error()
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := decoder.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return err.Error()
			}
			if f.StreamID == stream && f.StreamEnded() {
				return describe(fields)
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "reset: " + f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return "goaway: " + f.ErrCode.String()
		}
	}
}

func describe(fields []hpack.HeaderField) string {
	of := map[string]string{}
	for _, f := range fields {
		of[f.Name] = f.Value
	}
	if of["grpc-status"] == "" {
		return "http " + of[":status"]
	}
	return fmt.Sprintf("grpc %s: %s", of["grpc-status"], of["grpc-message"])
}

// vanish ends the connection with a reset.
func (r *raw) vanish() {
	_ = r.SetLinger(0) // the server may have closed it already
	_ = r.TCPConn.Close()
}
