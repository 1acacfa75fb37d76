package transport

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func encodeFrame(payload []byte) []byte {
	var b bytes.Buffer
	out := bufio.NewWriterSize(&b, 16)
	err := errors.Join(writeFrame(out, payload), out.Flush(), writeFrameNow(&b, payload))
	half := b.Len() / 2
	if err != nil || !bytes.Equal(b.Bytes()[:half], b.Bytes()[half:]) {
		panic("the two ways to write a frame differ")
	}
	return b.Bytes()[:half]
}

func TestFrameGolden(t *testing.T) {
	for _, c := range []struct{ payload, want string }{
		{"", "0000000048674bc7"},
		{"okapi", "000000056a603ac86f6b617069"},
	} {
		if got := hex.EncodeToString(encodeFrame([]byte(c.payload))); got != c.want {
			t.Errorf("frame of %q = %s, want %s", c.payload, got, c.want)
		}
	}
}

func TestFrameStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "frames")
		var stream bytes.Buffer
		for _, f := range frames {
			stream.Write(encodeFrame(f))
		}
		in := bufio.NewReaderSize(&stream, 16)
		for i, want := range frames {
			got, err := readFrame(in, 300)
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("frame %d: %s", i, cmp.Diff(want, got))
			}
		}
		if _, err := readFrame(in, 300); err != io.EOF {
			t.Fatalf("after the last frame: %v, want io.EOF", err)
		}
	})
}

func TestFrameEveryFlippedBitIsFound(t *testing.T) {
	good := encodeFrame([]byte("okapi and kin"))
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if f, err := readFrame(bufio.NewReader(bytes.NewReader(bad)), 1<<20); err == nil {
			t.Errorf("bit %d flipped: accepted as %q", bit, f)
		}
	}
}

func TestFrameCutAnywhereIsUnexpectedEOF(t *testing.T) {
	good := encodeFrame([]byte("okapi"))
	for n := 1; n < len(good); n++ {
		_, err := readFrame(bufio.NewReader(bytes.NewReader(good[:n])), 100)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestFrameSizeIsCheckedBeforeAllocation(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	in := bufio.NewReaderSize(nil, 16)
	source := bytes.NewReader(huge)
	const rounds = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		source.Reset(huge)
		in.Reset(source)
		if _, err := readFrame(in, FrameBytesMax); !errors.Is(err, errFrameSize) {
			t.Fatalf("err = %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if perRound := (after.TotalAlloc - before.TotalAlloc) / rounds; perRound > 1<<16 {
		t.Errorf("%d bytes allocated to refuse a frame", perRound)
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(encodeFrame(make([]byte, 101)))), 100); !errors.Is(err, errFrameSize) {
		t.Errorf("one byte over the limit: %v", err)
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(encodeFrame(make([]byte, 100)))), 100); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
}

// FuzzReadFrame: whatever comes, the decoder ends, never gives more than the limit, and what
// it gives encodes to the bytes that it read.
func FuzzReadFrame(f *testing.F) {
	f.Add(encodeFrame(nil))
	f.Add(encodeFrame([]byte("okapi")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 12
		source := bytes.NewReader(b)
		in := bufio.NewReader(source)
		read := 0
		for {
			frame, err := readFrame(in, limit)
			if err != nil {
				return
			}
			if len(frame) > limit {
				t.Fatalf("frame of %d bytes", len(frame))
			}
			again := encodeFrame(frame)
			if !bytes.Equal(again, b[read:read+len(again)]) {
				t.Fatalf("frame at %d does not encode to itself", read)
			}
			read += len(again)
		}
	})
}

// FuzzSnapshotBody: no stream makes the reader panic, loop or end well without an end mark.
func FuzzSnapshotBody(f *testing.F) {
	var whole bytes.Buffer
	s := &snapshotSender{conn: nopConn{Writer: &whole}}
	if err := s.write(f.Context(), &snapshotJob{header: []byte("h"), body: io.NopCloser(bytes.NewReader([]byte("body")))}); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes()[len(encodeFrame([]byte("h"))):])
	f.Add(encodeFrame([]byte{partAbort, 'x'}))
	f.Fuzz(func(t *testing.T, b []byte) {
		body := &snapshotBody{in: bufio.NewReader(bytes.NewReader(b)), part: make([]byte, partBytesMax)}
		n, err := io.Copy(io.Discard, body)
		if err == nil && body.err != io.EOF {
			t.Fatalf("ended well with %v", body.err)
		}
		if n > int64(len(b)) {
			t.Fatalf("%d bytes out of %d", n, len(b))
		}
	})
}
