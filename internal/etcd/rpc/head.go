package rpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// head is what the headers of a call say. Calls whose headers are the same, byte by byte, share one: it is not changed.
type head struct {
	method *method // nil if refusal is not
	ctx    context.Context
	// timeout is how long the client waits; 0 without a limit.
	timeout time.Duration
	// encoding is how messages are packed that are said to be, "" if none is; answers are packed in the same way.
	encoding string
	packing  encoding.Compressor
	// refusal is why the call is not served, with the status of HTTP; it is nil for one that is.
	refusal *status.Status
	http    string
}

// headReader decodes the header blocks of a connection.
//
// A client that calls the same method again sends a block of a few bytes, each the number of an entry in its table. Such a
// block changes no table, and means the same until another kind of block may have changed one: so what it means
// is remembered until then.
type headReader struct {
	server  *Server
	base    context.Context // of the connection
	decoder *hpack.Decoder
	known   map[string]*head

	// The block that is being read: its stream, its fragments if there are several, and what was decoded.
	id       uint32
	last     bool // the stream ends with it
	fragment []byte
	fields   []hpack.HeaderField
	left     int64 // of the bound of the list; negative if it was too long
}

// Bounds of what is remembered of header blocks.
const (
	knownBytesMax = 64
	knownMax      = 32
)

func newHeadReader(s *Server, base context.Context) headReader {
	h := headReader{server: s, base: base, known: make(map[string]*head)}
	return h
}

// read decodes a whole block. What it returns is nil for a list that is too long.
func (h *headReader) read(block []byte) (*head, error) {
	if h.decoder == nil {
		h.decoder = hpack.NewDecoder(4096, h.keep)
		h.decoder.SetMaxStringLength(int(h.server.opts.HeaderBytesMax))
	}
	if known := h.known[string(block)]; known != nil {
		return known, nil
	}
	simple := onlyIndexed(block)
	if !simple {
		clear(h.known)
	}
	h.fields, h.left = h.fields[:0], int64(h.server.opts.HeaderBytesMax)
	h.decoder.SetEmitEnabled(true)
	_, err := h.decoder.Write(block)
	if err == nil {
		err = h.decoder.Close()
	}
	if err != nil {
		return nil, http2.ConnectionError(http2.ErrCodeCompression)
	}
	if h.left < 0 {
		return nil, nil
	}
	if !wellFormed(h.fields) {
		return nil, http2.StreamError{StreamID: h.id, Code: http2.ErrCodeProtocol}
	}
	out := h.understand()
	if simple && len(h.known) < knownMax {
		h.known[string(block)] = out
	}
	clear(h.fields)
	return out, nil
}

// onlyIndexed says whether a block holds nothing but numbers of entries, of one byte each (RFC 7541, 6.1).
func onlyIndexed(block []byte) bool {
	for _, b := range block {
		if b < 0x80 || b == 0xff {
			return false
		}
	}
	return len(block) <= knownBytesMax
}

// keep takes a decoded field.
func (h *headReader) keep(f hpack.HeaderField) {
	if h.left -= int64(f.Size()); h.left < 0 {
		h.decoder.SetEmitEnabled(false) // the table must go on, but nobody wants the fields
		return
	}
	h.fields = append(h.fields, f)
}

// wellFormed checks the fields of a request as RFC 9113, 8.2 and 8.3 want it.
func wellFormed(fields []hpack.HeaderField) bool {
	regular := false
	var method, path, scheme, authority int
	for _, f := range fields {
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return false
		}
		if !f.IsPseudo() {
			regular = true
			if !validName(f.Name) || f.Name == "connection" {
				return false
			}
			continue
		}
		if regular {
			return false
		}
		switch f.Name {
		case ":method":
			method++
		case ":path":
			path++
		case ":scheme":
			scheme++
		case ":authority":
			authority++
		default:
			return false
		}
	}
	return method <= 1 && path <= 1 && scheme <= 1 && authority <= 1
}

// validName says whether a field may have this name: in HTTP/2 there are no capitals.
func validName(name string) bool {
	if name == "" {
		return false
	}
	for _, r := range name {
		if !httpguts.IsTokenRune(r) || 'A' <= r && r <= 'Z' {
			return false
		}
	}
	return true
}

const contentType = "application/grpc"

// The statuses of HTTP that there are in gRPC.
const (
	httpOK               = "200"
	httpBadRequest       = "400"
	httpNotAllowed       = "405"
	httpUnsupportedMedia = "415"
)

// understand makes a head of the decoded fields.
func (h *headReader) understand() *head {
	out := &head{}
	md := make(metadata.MD, len(h.fields))
	var verb, path, kind string
	var malformed *status.Status
	for _, f := range h.fields {
		switch f.Name {
		case ":method":
			verb = f.Value
		case ":path":
			path = f.Value
		case "content-type":
			kind = f.Value
			md[f.Name] = append(md[f.Name], f.Value)
		case "grpc-encoding":
			out.encoding = f.Value
		case "grpc-timeout":
			var err error
			if out.timeout, err = parseTimeout(f.Value); err != nil {
				malformed = status.Newf(codes.Internal, "malformed grpc-timeout: %v", err)
			}
		case ":scheme", "te", "grpc-message-type", "grpc-message", "grpc-status": // the protocol's own
		default:
			value, err := decodeMetadata(f.Name, f.Value)
			if err != nil {
				malformed = status.Newf(codes.Internal, "malformed binary metadata %q in header %q: %v", f.Value, f.Name, err)
			}
			md[f.Name] = append(md[f.Name], value)
		}
	}
	if len(md[":authority"]) == 0 && len(md["host"]) == 1 {
		md[":authority"] = md["host"]
	}
	authorities := max(len(md[":authority"]), len(md["host"]))
	delete(md, "host")
	out.ctx = metadata.NewIncomingContext(h.base, md)
	switch {
	case authorities > 1:
		out.refuse(httpBadRequest, status.New(codes.Internal, "more than one :authority or host"))
	case !isGRPC(kind):
		out.refuse(httpUnsupportedMedia, status.Newf(codes.InvalidArgument, "invalid gRPC request content-type %q", kind))
	case malformed != nil:
		out.refuse(httpBadRequest, malformed)
	case authorities == 0:
		out.refuse(httpBadRequest, status.New(codes.Internal, "no host or :authority header present"))
	case verb != "POST":
		out.refuse(httpNotAllowed, status.Newf(codes.Internal, "Received a HEADERS frame with :method %q which should be POST", verb))
	default:
		h.server.find(path, out)
	}
	if out.encoding != "" && out.encoding != encoding.Identity && out.refusal == nil {
		if out.packing = encoding.GetCompressor(out.encoding); out.packing == nil {
			out.refuse(httpOK, status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", out.encoding))
		}
	}
	return out
}

func (h *head) refuse(code string, why *status.Status) { h.http, h.refusal = code, why }

// find looks up the method of a path.
func (s *Server) find(path string, h *head) {
	if h.method = s.methods[path]; h.method != nil {
		return
	}
	rest, found := strings.CutPrefix(path, "/")
	at := strings.LastIndexByte(rest, '/')
	if !found || at < 0 {
		h.refuse(httpOK, status.Newf(codes.Unimplemented, "malformed method name: %q", path))
		return
	}
	if _, known := s.services[rest[:at]]; known {
		h.refuse(httpOK, status.Newf(codes.Unimplemented, "unknown method %v for service %v", rest[at+1:], rest[:at]))
		return
	}
	h.refuse(httpOK, status.Newf(codes.Unimplemented, "unknown service %v", rest[:at]))
}

// isGRPC says whether a content type is gRPC's, with any codec.
func isGRPC(kind string) bool {
	rest, ok := strings.CutPrefix(kind, contentType)
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// decodeMetadata decodes the value of a field whose name says that it is binary, with or without padding.
func decodeMetadata(name, value string) (string, error) {
	if !strings.HasSuffix(name, "-bin") {
		return value, nil
	}
	alphabet := base64.RawStdEncoding
	if len(value)%4 == 0 {
		alphabet = base64.StdEncoding
	}
	b, err := alphabet.DecodeString(value)
	return string(b), err
}

// parseTimeout reads the value of grpc-timeout: at most eight digits and a unit.
func parseTimeout(text string) (time.Duration, error) {
	if len(text) < 2 || len(text) > 9 {
		return 0, fmt.Errorf("%q is too short or too long", text)
	}
	units := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}
	unit := units[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 63)
	if unit == 0 || err != nil {
		return 0, fmt.Errorf("%q is no number with a unit", text)
	}
	if int64(n) > math.MaxInt64/int64(unit) {
		return math.MaxInt64, nil
	}
	return max(time.Duration(n)*unit, 1), nil // 0 stands for no limit
}

// takeHeaders takes the first frame of a header block.
func (c *conn) takeHeaders(f *http2.HeadersFrame) error {
	h := &c.heads
	h.id, h.last = f.StreamID, f.StreamEnded()
	if f.HeadersEnded() {
		return c.takeBlock(f.HeaderBlockFragment())
	}
	h.fragment = append(h.fragment[:0], f.HeaderBlockFragment()...)
	return nil
}

// takeContinuation takes more of a header block. The framer has seen to it that it is of the same stream.
func (c *conn) takeContinuation(f *http2.ContinuationFrame) error {
	h := &c.heads
	h.fragment = append(h.fragment, f.HeaderBlockFragment()...)
	if len(h.fragment) > int(c.server.opts.HeaderBytesMax) {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if !f.HeadersEnded() {
		return nil
	}
	err := c.takeBlock(h.fragment)
	h.fragment = nil
	return err
}

// takeBlock begins a call, or ends what the client says in one.
func (c *conn) takeBlock(block []byte) error {
	h := &c.heads
	if h.id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if h.id <= c.lastID {
		return c.takeTrailers(block)
	}
	head, err := h.read(block)
	if err != nil {
		return err
	}
	if head == nil {
		return http2.StreamError{StreamID: h.id, Code: http2.ErrCodeFrameSize}
	}
	return c.begin(head)
}

// takeTrailers takes the trailers of a client, which say nothing in gRPC but that it is done.
func (c *conn) takeTrailers(block []byte) error {
	h := &c.heads
	if _, err := h.read(block); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[h.id]
	switch {
	case st == nil:
		return nil // it was on its way when the call ended
	case st.closedByClient || !h.last:
		return http2.StreamError{StreamID: h.id, Code: http2.ErrCodeProtocol}
	}
	return st.endLocked()
}
