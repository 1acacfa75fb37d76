package transport

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sampleHello = hello{
	versionOldest: 1, versionNewest: 2, cluster: 0x0102030405060708, from: 0x11, to: 0x22,
	incarnation: 0x33, attempt: 0x44, directory: 0x55, starts: 0x66, feature: 0x77, kind: linkSnapshot,
}

// decodeHello reads all of a hello.
func decodeHello(b []byte) (hello, refusal, error) { return decodeHelloFrom(bytes.NewReader(b)) }

func decodeHelloFrom(r io.Reader) (hello, refusal, error) {
	h, verdict, err := readHello(r)
	if err == nil && verdict == accepted {
		err = h.readURLs(r)
	}
	return h, verdict, err
}

func TestHelloGolden(t *testing.T) {
	const want = "896f6b6170690d0a" + "0001" + "0002" + "0102030405060708" + "0000000000000011" + "0000000000000022" +
		"0000000000000033" + "0000000000000044" + "0000000000000055" + "0000000000000066" + "0000000000000077" +
		"02" + "00" + "0008" + "33b6a9ad" + "687474703a2f2f61" + "2c4eeab9"
	if got := hex.EncodeToString(sampleHello.encode("http://a")); got != want {
		t.Errorf("hello = %s\nwant    %s", got, want)
	}
}

func TestAnswerGolden(t *testing.T) {
	a := answer{verdict: refusedTarget, version: 1, cluster: 2, member: 3, incarnation: 4, feature: 5}
	const want = "896f6b6170690d0a" + "03" + "00" + "0001" + "0000000000000002" + "0000000000000003" + "0000000000000004" + "0000000000000005" + "88bc1ce7"
	if got := hex.EncodeToString(a.encode()); got != want {
		t.Errorf("answer = %s\nwant     %s", got, want)
	}
}

func TestHelloRoundTrip(t *testing.T) {
	for _, urls := range [][]string{nil, {"http://a:1"}, {"http://a:1", "https://[::1]:2"}} {
		got, verdict, err := decodeHello(sampleHello.encode(joinURLs(urls)))
		if err != nil || verdict != accepted {
			t.Fatalf("%v: %v, %v", urls, verdict, err)
		}
		want := sampleHello
		want.urls, want.urlBytes = urls, uint16(len(joinURLs(urls)))
		if d := cmp.Diff(want, got, cmp.AllowUnexported(hello{})); d != "" {
			t.Error(d)
		}
	}
}

func TestHandshakeEveryFlippedBitIsFound(t *testing.T) {
	good := sampleHello.encode("http://a")
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, verdict, err := decodeHello(bad); err == nil && verdict == accepted {
			t.Errorf("hello with bit %d flipped is accepted", bit)
		}
	}
	a := answer{verdict: accepted, version: 1, cluster: 2, member: 3, incarnation: 4, feature: 5}
	good = a.encode()
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := readAnswer(bytes.NewReader(bad)); err == nil {
			t.Errorf("answer with bit %d flipped is accepted", bit)
		}
	}
}

func TestHelloJudgesVersionBeforeTheRest(t *testing.T) {
	for _, c := range []struct {
		oldest, newest uint16
		want           refusal
	}{
		{1, 1, accepted},
		{1, 9, accepted},
		{2, 9, refusedVersion},
		{0, 0, refusedVersion},
	} {
		h := sampleHello
		h.versionOldest, h.versionNewest = c.oldest, c.newest
		b := h.encode("")
		if c.want == refusedVersion {
			b = b[:12] // the rest may have any shape, or not come at all
		}
		if _, verdict, err := readHello(bytes.NewReader(b)); verdict != c.want || err != nil {
			t.Errorf("versions %d to %d: %v, %v, want %v", c.oldest, c.newest, verdict, err, c.want)
		}
	}
}

func TestHelloFieldsOutOfRange(t *testing.T) {
	for name, change := range map[string]func(*hello){
		"kind 0":            func(h *hello) { h.kind = 0 },
		"kind 4":            func(h *hello) { h.kind = 4 },
		"versions reversed": func(h *hello) { h.versionOldest, h.versionNewest = 1, 0 },
	} {
		h := sampleHello
		change(&h)
		if _, verdict, err := readHello(bytes.NewReader(h.encode(""))); err != nil || verdict == accepted {
			t.Errorf("%s: %v, %v", name, verdict, err)
		}
	}
	if _, verdict, err := readHello(bytes.NewReader(sampleHello.encode(strings.Repeat("u", helloURLBytesMax+1)))); verdict != refusedMalformed || err != nil {
		t.Errorf("too many URL bytes: %v, %v", verdict, err)
	}
}

// slowly gives one byte a read and then waits for ever, as far as a test can tell.
type slowly struct {
	b []byte
	t *testing.T
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		s.t.Fatal("waits for more of a stranger's bytes")
	}
	p[0] = s.b[0]
	s.b = s.b[1:]
	return 1, nil
}

func TestStrangersAreNamed(t *testing.T) {
	for first, want := range map[string]string{
		"GET /raft/stream HTTP/1.1\r\n": "HTTP",
		"\x16\x03\x01\x02\x00":          "TLS hello",
		"\x15\x03\x01\x00\x02":          "TLS alert",
		"ruok":                          `"ruok"`,
	} {
		_, _, err := readHello(strings.NewReader(first))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("hello %q: %v, want it to name %s", first, err, want)
		}
		if _, err := readAnswer(strings.NewReader(first)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("answer %q: %v, want it to name %s", first, err, want)
		}
	}
	// Four letters and silence, as a ZooKeeper probe: no waiting for the rest.
	if _, _, err := readHello(&slowly{b: []byte("r"), t: t}); err == nil {
		t.Error("accepted")
	}
	if _, _, err := readHello(strings.NewReader("")); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}

func TestAnswerMustComeFromTheTarget(t *testing.T) {
	h := rawHello(1, 2)
	good := answer{verdict: accepted, version: 1, cluster: testCluster, member: 2}
	if err := good.check(&h); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*answer){
		"cluster": func(a *answer) { a.cluster++ },
		"member":  func(a *answer) { a.member++ },
		"version": func(a *answer) { a.version++ },
		"verdict": func(a *answer) { a.verdict = 200 },
	} {
		a := good
		change(&a)
		if a.check(&h) == nil {
			t.Errorf("wrong %s is accepted", name)
		}
	}
}

// FuzzHandshake: no bytes make the decoders panic or take much memory, and what they accept
// encodes to the bytes that they read.
func FuzzHandshake(f *testing.F) {
	f.Add(sampleHello.encode("http://a"))
	a := answer{verdict: refusedStale, version: 1, cluster: 2, member: 3, incarnation: 4, feature: 5}
	f.Add(a.encode())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, verdict, err := decodeHello(b); err == nil && verdict == accepted {
			again := h.encode(strings.Join(h.urls, "\n"))
			// The reserved byte is free for later versions and not kept.
			if len(b) < len(again) || h.urlBytes > helloURLBytesMax || (b[53] == 0 && !bytes.Equal(again, b[:len(again)])) {
				t.Fatalf("hello does not encode to itself: %x", b)
			}
		}
		if a, err := readAnswer(bytes.NewReader(b)); err == nil {
			again := a.encode()
			if b[9] == 0 && !bytes.Equal(again, b[:len(again)]) {
				t.Fatalf("answer does not encode to itself: %x", b)
			}
			_ = a.verdict.String()
		}
	})
}
