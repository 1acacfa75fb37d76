package rpc

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// headWriter encodes the headers and trailers of a connection's answers.
//
// Nearly all answers have the same two blocks. Their fields are the only ones that enter the table, all others are sent
// as such; so once both were sent their encoding is the same for ever, a byte a field.
type headWriter struct {
	buffer  *bytes.Buffer
	encoder *hpack.Encoder
	// begun and ended say that the usual block was encoded once; head and trailer are what it is since.
	begun, ended  bool
	head, trailer []byte
	// small says that the client's table may not hold both.
	small bool
}

// tableBytes is the size of a table that HTTP/2 begins with.
const tableBytes = 4096

func newHeadWriter() headWriter {
	b := new(bytes.Buffer)
	return headWriter{buffer: b, encoder: hpack.NewEncoder(b)}
}

// limitTable takes the size of the client's table.
func (w *headWriter) limitTable(to uint32) {
	w.encoder.SetMaxDynamicTableSizeLimit(to)
	w.begun, w.ended, w.head, w.trailer = false, false, nil, nil
	w.small = w.small || to < tableBytes
}

// field encodes one field. Those that are not usual are kept out of the table.
func (w *headWriter) field(name, value string, usual bool) {
	_ = w.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: !usual}) // into memory
}

// appendHead appends the headers with which an answer begins.
func (w *headWriter) appendHead(b []byte, id uint32, packing string, md metadata.MD) []byte {
	usual := packing == "" && len(md) == 0
	if usual && w.head != nil {
		return appendBlock(b, id, w.head, 0)
	}
	w.buffer.Reset()
	w.begin(httpOK)
	if packing != "" {
		w.field("grpc-encoding", packing, false)
	}
	w.metadata(md)
	if usual && w.begun && w.ended && !w.small {
		w.head = bytes.Clone(w.buffer.Bytes())
	}
	w.begun = true
	return appendBlock(b, id, w.buffer.Bytes(), 0)
}

func (w *headWriter) begin(http string) {
	w.field(":status", http, http == httpOK)
	w.field("content-type", contentType, true)
}

// appendTrailer appends the trailers that end an answer; alone says that nothing came before them. A nil status is OK.
func (w *headWriter) appendTrailer(b []byte, id uint32, why *status.Status, md metadata.MD, alone string) []byte {
	usual := why == nil && len(md) == 0 && alone == ""
	if usual && w.trailer != nil {
		return appendBlock(b, id, w.trailer, http2.FlagHeadersEndStream)
	}
	w.buffer.Reset()
	if alone != "" {
		w.begin(alone)
	}
	code := why.Code()
	w.field("grpc-status", strconv.Itoa(int(code)), code == codes.OK)
	if text := why.Message(); text != "" {
		w.field("grpc-message", escape(text), false)
	}
	if code != codes.OK {
		w.details(why)
	}
	w.metadata(md)
	if usual && w.begun && w.ended && !w.small {
		w.trailer = bytes.Clone(w.buffer.Bytes())
	}
	w.begun, w.ended = w.begun || alone != "", w.ended || code == codes.OK
	return appendBlock(b, id, w.buffer.Bytes(), http2.FlagHeadersEndStream)
}

// details sends what a status says beyond its text.
func (w *headWriter) details(why *status.Status) {
	p := why.Proto()
	if len(p.GetDetails()) == 0 {
		return
	}
	if b, err := proto.Marshal(p); err == nil { // without its details a status is still true
		w.field("grpc-status-details-bin", base64.RawStdEncoding.EncodeToString(b), false)
	}
}

// metadata sends what a handler adds, but for what is the protocol's own.
func (w *headWriter) metadata(md metadata.MD) {
	for name, values := range md { // in any order
		name = strings.ToLower(name)
		if strings.HasPrefix(name, ":") || strings.HasPrefix(name, "grpc-") || name == "content-type" || name == "te" {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			w.field(name, value, false)
		}
	}
}

// escape writes a text as grpc-message wants it: what is not printable ASCII, and the sign of percent, in hex.
func escape(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		if c >= ' ' && c <= '~' && c != '%' {
			out.WriteByte(c)
			continue
		}
		fmt.Fprintf(&out, "%%%02X", c)
	}
	return out.String()
}
