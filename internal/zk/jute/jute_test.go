package jute

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReaderRefusesBadLengths(t *testing.T) {
	cases := []struct {
		name string
		hex  string
		read func(*Reader)
		want error
	}{
		{"buffer longer than the message", `00000005 61`, func(r *Reader) { r.Bytes() }, ErrShort},
		{"buffer of the largest length", `7fffffff 61`, func(r *Reader) { r.Bytes() }, ErrShort},
		{"buffer of a negative length", `fffffffe`, func(r *Reader) { r.Bytes() }, ErrLength},
		{"buffer of the smallest length", `80000000`, func(r *Reader) { r.Bytes() }, ErrLength},
		{"null string", `ffffffff`, func(r *Reader) { _ = r.String() }, ErrNull},
		{"vector longer than the message", `00000002 00000000`, func(r *Reader) { r.Strings() }, ErrShort},
		{"vector of the largest length", `7fffffff 00000000`, func(r *Reader) { decodeACLs(r) }, ErrShort},
		{"int", `000000`, func(r *Reader) { r.Int32() }, ErrShort},
		{"long", `00000000000000`, func(r *Reader) { r.Int64() }, ErrShort},
		{"bool", ``, func(r *Reader) { r.Bool() }, ErrShort},
	}
	for _, c := range cases {
		var r Reader
		r.Reset(unhex(t, c.hex))
		if c.read(&r); !errors.Is(r.Err(), c.want) {
			t.Errorf("%s: error %v, want %v", c.name, r.Err(), c.want)
		}
	}
}

func TestReaderStaysFailed(t *testing.T) {
	var r Reader
	r.Reset([]byte{0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8})
	r.Bytes()
	if r.Int32() != 0 || r.Int64() != 0 || r.Bool() || r.Bytes() != nil || r.String() != "" || r.Count(1) != 0 {
		t.Error("a failed reader returned something")
	}
	if !errors.Is(r.Err(), ErrShort) {
		t.Errorf("error %v, want the first one, %v", r.Err(), ErrShort)
	}
	r.Reset([]byte{0, 0, 0, 1})
	if r.Int32() != 1 || r.Err() != nil {
		t.Error("the error outlived Reset")
	}
}

// Counts below -1 are empty vectors, as in Java, whose loop over the elements ends at once.
func TestCountsBelowNullAreEmpty(t *testing.T) {
	for _, n := range []int32{-1, -2, math.MinInt32} {
		var r Reader
		r.Reset(AppendInt32(nil, n))
		if got := r.Strings(); len(got) != 0 || r.Err() != nil {
			t.Errorf("count %d: %q, error %v", n, got, r.Err())
		}
	}
}

func TestLenientStrings(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"ascii", "/a", "/a"},
		{"two and three bytes", "/é€", "/é€"},
		{"four bytes", "/\U0001F600", "/\U0001F600"},
		{"surrogates as Java writes them", "/\xed\xa0\xbd\xed\xb8\x80x", "/\uFFFD\uFFFDx"},
		{"stray bytes", "/\xff\xfea", "/\uFFFD\uFFFDa"},
		{"cut character", "/\xe2\x82", "/\uFFFD\uFFFD"},
		{"cut surrogate", "\xed\xa0", "\uFFFD\uFFFD"},
		{"overlong slash", "\xc0\xaf", "\uFFFD\uFFFD"},
	}
	for _, c := range cases {
		var r Reader
		r.Reset(AppendString(nil, c.in))
		if got := r.String(); got != c.want || r.Err() != nil {
			t.Errorf("%s: %q, error %v, want %q", c.name, got, r.Err(), c.want)
		}
	}
}

// Strings share blocks; none may change when later ones are added or the message is overwritten.
func TestStringsAreNotOverwritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Reader
		want := rapid.SliceOfN(rapid.StringN(0, 300, 300), 0, 60).Draw(t, "strings")
		var got []string
		var message []byte
		for _, s := range want {
			message = AppendString(message[:0], s)
			r.Reset(message)
			got = append(got, r.String())
			clear(message)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("string %d of %d is %q, want %q", i, len(want), got[i], want[i])
			}
		}
	})
}

// Bytes is a view that cannot be grown into what follows it.
func TestBytesCannotGrowIntoTheMessage(t *testing.T) {
	message := AppendString(AppendBytes(nil, []byte("ab")), "c")
	var r Reader
	r.Reset(message)
	_ = append(r.Bytes(), 'X', 'X', 'X', 'X', 'X')
	if got := r.String(); got != "c" {
		t.Errorf("the next field reads %q after an append to the one before", got)
	}
}

func TestFrames(t *testing.T) {
	b := []byte("before")
	start := len(b)
	b = EndFrame(append(BeginFrame(b), "abc"...), start)
	if want := "before\x00\x00\x00\x03abc"; string(b) != want {
		t.Errorf("frame is %q, want %q", b, want)
	}
}

// FuzzRecords decodes anything as every record: no panic, no view outside of the message, and no
// more memory than the message can stand for. What is decoded, encodes to something that decodes to
// the same bytes again.
func FuzzRecords(f *testing.F) {
	for i, g := range golden {
		f.Add(uint8(i), g.value.Append(nil))
	}
	f.Add(uint8(7), []byte("\x00\x00\x00\x02/a\xff\xff\xff\xff\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, which uint8, message []byte) {
		g := golden[int(which)%len(golden)]
		var r Reader
		r.Reset(message)
		g.empty.Decode(&r)
		if r.Err() != nil || r.Remaining() > 0 {
			return
		}
		once := g.empty.Append(nil)
		r.Reset(once)
		g.empty.Decode(&r)
		if r.Err() != nil {
			t.Fatalf("%s: own encoding is refused: %v", g.name, r.Err())
		}
		if twice := g.empty.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("%s: encodings differ:\n%x\n%x", g.name, once, twice)
		}
	})
}

// BenchmarkGetData decodes a getData request and encodes its reply: what a server does for it
// beside the read itself.
func BenchmarkGetData(b *testing.B) {
	request := (&RequestHeader{1, OpGetData}).Append(nil)
	request = (&PathWatchRequest{Path: "/app/config/node-000123"}).Append(request)
	data := []byte(strings.Repeat("x", 100))
	var r Reader
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(request)
		var h RequestHeader
		var m PathWatchRequest
		h.Decode(&r)
		m.Decode(&r)
		if r.Err() != nil || len(m.Path) != 23 {
			b.Fatal(r.Err())
		}
		out = BeginFrame(out[:0])
		out = (&ReplyHeader{Xid: h.Xid, Zxid: 5}).Append(out)
		out = (&GetDataResponse{Data: data, Stat: someStat}).Append(out)
		out = EndFrame(out, 0)
	}
}

// BenchmarkCreate decodes a create request and encodes its reply.
func BenchmarkCreate(b *testing.B) {
	request := (&RequestHeader{1, OpCreate}).Append(nil)
	request = (&CreateRequest{Path: "/app/config/node-000123", Data: make([]byte, 100), ACL: []ACL{{31, "world", "anyone"}}}).Append(request)
	var r Reader
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(request)
		var h RequestHeader
		var m CreateRequest
		h.Decode(&r)
		m.Decode(&r)
		out = BeginFrame(out[:0])
		out = (&ReplyHeader{Xid: h.Xid, Zxid: 5}).Append(out)
		out = (&CreateResponse{Path: m.Path}).Append(out)
		out = EndFrame(out, 0)
	}
}
