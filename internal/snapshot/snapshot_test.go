package snapshot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// update writes the golden file anew, which is a change of the format: old snapshots must stay readable.
var update = flag.Bool("update", false, "write testdata anew")

// golden is small, so that its frames hold no more than the test can read.
func golden() content {
	return content{Index: 0x1234, Term: 7, Payload: "configuration", Records: []record{{1, "state"}, {2, ""}, {200, "key and value"}}}
}

func TestGoldenBytes(t *testing.T) {
	const file = "testdata/one.golden"
	got := hex.Dump(fileOf(t, golden()))
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the format changed (-golden +got); -update accepts it:\n%s", diff)
	}
	m := disk(t)
	must(t, m.WriteFile(nameOf(golden()), undump(t, string(want))))
	back, err := read(m, nameOf(golden()))
	must(t, err)
	if diff := cmp.Diff(golden(), back); diff != "" {
		t.Errorf("the golden file reads differently:\n%s", diff)
	}
}

// undump is the reverse of hex.Dump.
func undump(t *testing.T, text string) (b []byte) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(line) > 58 {
			part, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
			must(t, err)
			b = append(b, part...)
		}
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	random := make([]byte, 3<<20)
	for i, h := 0, sha256.Sum256(nil); i < len(random); i, h = i+32, sha256.Sum256(h[:]) {
		copy(random[i:], h[:])
	}
	many := make([]record, 200_000)
	for i := range many {
		many[i] = record{uint8(i), string(random[i : i+i%40])}
	}
	for name, c := range map[string]content{
		"nothing":             {Index: 1, Term: 1},
		"one empty record":    {Index: 1, Term: 1, Records: []record{{}}},
		"largest numbers":     {Index: 1<<64 - 1, Term: 1<<64 - 1, Payload: "p", Records: []record{{255, "x"}}},
		"many":                {Index: 9, Term: 2, Records: many},
		"many empty":          {Index: 9, Term: 2, Records: make([]record, 2<<20)},
		"large":               {Index: 9, Term: 2, Payload: string(random[:1<<20]), Records: []record{{1, string(random)}, {2, "x"}, {3, string(random)}}},
		"exactly one frame":   {Index: 9, Term: 2, Records: []record{{1, string(random[:1<<20-4])}}},
		"just over one frame": {Index: 9, Term: 2, Records: []record{{1, string(random[:1<<20-5])}, {1, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := vfs.NewMem(1)
			must(t, write(m, c))
			m = m.Clone(vfs.Survival{Percent: 0})
			got, err := read(m, nameOf(c))
			must(t, err)
			if len(got.Records) != len(c.Records) || got.Index != c.Index || got.Term != c.Term || got.Payload != c.Payload {
				t.Fatalf("%d records of entry %d, want %d of %d", len(got.Records), got.Index, len(c.Records), c.Index)
			}
			for i := range c.Records {
				if got.Records[i] != c.Records[i] {
					t.Fatalf("record %d reads differently", i)
				}
			}
			r, err := snapshot.Open(m, nameOf(c))
			must(t, err)
			defer r.Close()
			must(t, r.Verify())
			if _, _, err := r.Next(); err != io.EOF {
				t.Errorf("Next after the end = %v, want EOF", err)
			}
			streamed, err := io.ReadAll(r.Bytes())
			must(t, err)
			whole, err := m.ReadFile(nameOf(c))
			must(t, err)
			if !bytes.Equal(streamed, whole) || r.Size() != int64(len(whole)) {
				t.Errorf("Bytes gives %d bytes, Size %d, the file has %d", len(streamed), r.Size(), len(whole))
			}
		})
	}
}

func TestRoundTripOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := content{
			Index: rapid.Uint64().Draw(t, "index"), Term: rapid.Uint64().Draw(t, "term"),
			Payload: string(rapid.SliceOf(rapid.Byte()).Draw(t, "payload")),
		}
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			data := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "data"), rapid.SampledFrom([]int{1, 1, 9, 40_000}).Draw(t, "times"))
			c.Records = append(c.Records, record{rapid.Byte().Draw(t, "kind"), string(data)})
		}
		m := vfs.NewMem(1)
		if err := write(m, c); err != nil {
			t.Fatal(err)
		}
		got, err := read(m, nameOf(c))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestNothingBeforeCommit(t *testing.T) {
	m := disk(t, small(5))
	w, err := snapshot.Create(m, dir, snapshot.Meta{Index: 9, Term: 3})
	must(t, err)
	must(t, w.Record(1, []byte("x")))
	if _, err := snapshot.Find(m, dir, 9, 3); !errors.Is(err, snapshot.ErrNone) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find = %v, want ErrNone", err)
	}
	w.Abort()
	found, err := wantWhole(m, small(5))
	must(t, err)
	if diff := cmp.Diff([]uint64{5}, found); diff != "" {
		t.Error(diff)
	}
	if name, err := snapshot.Find(m, dir, 5, 3); err != nil || name != nameOf(small(5)) {
		t.Errorf("Find = %q, %v", name, err)
	}
	if _, err := snapshot.Find(m, dir, 5, 4); !errors.Is(err, snapshot.ErrNone) {
		t.Errorf("Find of another term = %v, want ErrNone", err)
	}
}

// TestList checks order, and that neither copies nor foreign files are taken for snapshots.
func TestList(t *testing.T) {
	if all, err := snapshot.List(vfs.NewMem(1), "nowhere"); err != nil || len(all) != 0 {
		t.Errorf("of a folder that does not exist: %v, %v", all, err)
	}
	m := disk(t, small(0x10), small(5), small(0xa))
	for _, n := range []string{
		"notes", "0000000000000020-0000000000000003.snap.bak", "0000000000000020-0000000000000003.snap~", "copy-0000000000000020-0000000000000003.snap",
		"20-3.snap", "+000000000000020-0000000000000003.snap", "000000000000002G-0000000000000003.snap", "0000000000000020-0000000000000003.tmp",
	} {
		must(t, m.WriteFile(dir+"/"+n, []byte("x")))
	}
	for _, n := range []string{"0000000000000020-0000000000000003.snap.w.tmp", "0000000000000020-0000000000000003.snap.r.tmp", "0000000000000020-0000000000000003.snap.tmp"} {
		must(t, m.WriteFile(dir+"/"+n, []byte("x")))
	}
	all, err := snapshot.List(m, dir)
	must(t, err)
	want := []snapshot.Info{
		{Index: 5, Term: 3, Name: nameOf(small(5))}, {Index: 0xa, Term: 3, Name: nameOf(small(0xa))}, {Index: 0x10, Term: 3, Name: nameOf(small(0x10))},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
	names, err := m.ReadDir(dir)
	must(t, err)
	if len(names) != 3+8 {
		t.Errorf("left %v: want the unfinished ones gone and the foreign ones untouched", names)
	}
}

// TestPurgeBesideReceive purges while another snapshot is being received, as a member does that finishes one of
// its own meanwhile, and writes one of the same entry.
func TestPurgeBesideReceive(t *testing.T) {
	m := disk(t, small(5), small(9))
	file := fileOf(t, small(12))
	body := &beside{Reader: bytes.NewReader(file), do: func() {
		must(t, snapshot.Purge(m, dir, 1))
		must(t, write(m, small(12)))
	}}
	must(t, snapshot.Receive(m, dir, 12, 3, iotest.OneByteReader(body)))
	found, err := wantWhole(m, small(9), small(12))
	must(t, err)
	if diff := cmp.Diff([]uint64{9, 12}, found); diff != "" {
		t.Error(diff)
	}
}

// beside does something when it is read from for the hundredth time.
type beside struct {
	io.Reader
	reads int
	do    func()
}

func (b *beside) Read(p []byte) (int, error) {
	if b.reads++; b.reads == 100 {
		b.do()
	}
	return b.Reader.Read(p)
}

// TestReceiveRefuses checks that what is not whole, or not what was announced, leaves nothing behind.
func TestReceiveRefuses(t *testing.T) {
	file := fileOf(t, small(12))
	broken := errors.New("the link broke")
	flipped := bytes.Clone(file)
	flipped[len(flipped)/2] ^= 4
	for name, c := range map[string]struct {
		index, term uint64
		body        io.Reader
		want        error // nil: a CorruptError
	}{
		"nothing":       {12, 3, bytes.NewReader(nil), nil},
		"half":          {12, 3, bytes.NewReader(file[:len(file)/2]), nil},
		"one less":      {12, 3, bytes.NewReader(file[:len(file)-1]), nil},
		"one more":      {12, 3, bytes.NewReader(append(bytes.Clone(file), 0)), nil},
		"twice":         {12, 3, bytes.NewReader(append(bytes.Clone(file), file...)), nil},
		"damaged":       {12, 3, bytes.NewReader(flipped), nil},
		"other entry":   {13, 3, bytes.NewReader(file), nil},
		"other term":    {12, 4, bytes.NewReader(file), nil},
		"broken link":   {12, 3, io.MultiReader(bytes.NewReader(file[:100]), iotest.ErrReader(broken)), broken},
		"broken at end": {12, 3, io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)), broken},
	} {
		t.Run(name, func(t *testing.T) {
			m := disk(t, small(5), small(9))
			err := snapshot.Receive(m, dir, c.index, c.term, c.body)
			var corrupt *snapshot.CorruptError
			if c.want == nil && !errors.As(err, &corrupt) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Receive = %v", err)
			}
			names, err := m.ReadDir(dir)
			must(t, err)
			if len(names) != 2 {
				t.Errorf("left %v", names)
			}
			found, err := wantWhole(m, small(5), small(9))
			must(t, err)
			if diff := cmp.Diff([]uint64{5, 9}, found); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// forge returns a file whose checksums are right and whose content is what the caller made of it.
func forge(t testing.TB, change func(head, frame, table, trailer []byte)) []byte {
	b := fileOf(t, golden())
	head := 16 + int(binary.LittleEndian.Uint32(b[12:])) + 4
	at := len(b) - 32
	table := int(binary.LittleEndian.Uint64(b[at:]))
	change(b[:head-4], b[head:table], b[table:at-4], b[at:at+20])
	sum := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	put := binary.LittleEndian.PutUint32
	put(b[head-4:], sum(b[:head-4]))
	put(b[head+8:], sum(append(bytes.Clone(b[head:head+8]), b[head+12:table]...)))
	put(b[at-4:], sum(b[table:at-4]))
	put(b[at+20:], sum(b[at:at+20]))
	return b
}

// TestHostileFile changes what the checksums cover and makes them right again: nothing but an error may come of
// it, and no number in the file makes the reader allocate what it says.
func TestHostileFile(t *testing.T) {
	put32, put64 := binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint64
	for name, change := range map[string]func(head, frame, table, trailer []byte){
		"meta reaches beyond the file": func(h, _, _, _ []byte) { put32(h[12:], 1<<32-1) },
		"meta is too short":            func(h, _, _, _ []byte) { put32(h[12:], 15) },
		"frame says too much":          func(_, f, _, _ []byte) { put32(f, 1<<32-1) },
		"frame says too little":        func(_, f, _, _ []byte) { put32(f, binary.LittleEndian.Uint32(f)-1) },
		"frame says one more":          func(_, f, _, _ []byte) { put32(f, binary.LittleEndian.Uint32(f)+1) },
		"frame is empty":               func(_, f, _, _ []byte) { put32(f, 0) },
		"frame is too long":            func(_, f, _, _ []byte) { put32(f[4:], 1<<32-1) },
		"frame is shorter":             func(_, f, _, _ []byte) { put32(f[4:], binary.LittleEndian.Uint32(f[4:])-1) },
		"frame is not zstd":            func(_, f, _, _ []byte) { clear(f[12:16]) },
		"table points elsewhere":       func(_, _, tb, _ []byte) { put64(tb, 1<<63) },
		"no frames":                    func(_, _, _, tr []byte) { put32(tr[8:], 0) },
		"too many frames":              func(_, _, _, tr []byte) { put32(tr[8:], 1<<32-1) },
		"table beyond the file":        func(_, _, _, tr []byte) { put64(tr, 1<<63) },
		"table far beyond the file":    func(_, _, _, tr []byte) { put64(tr, 1<<63-1) },
		"table at the start":           func(_, _, _, tr []byte) { put64(tr, 0) },
		"one record more":              func(_, _, _, tr []byte) { put64(tr[12:], 4) },
		"one record less":              func(_, _, _, tr []byte) { put64(tr[12:], 2) },
	} {
		t.Run(name, func(t *testing.T) {
			file := forge(t, change)
			m := disk(t)
			must(t, m.WriteFile(nameOf(golden()), file))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := read(m, nameOf(golden()))
			runtime.ReadMemStats(&after)
			if err := wantCorrupt(err, nameOf(golden()), len(file)); err != nil {
				t.Error(err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

// TestBomb gives a frame that says that it is small and unpacks to a gigabyte.
func TestBomb(t *testing.T) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(t, err)
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	whole := fileOf(t, golden())
	head := 16 + int(binary.LittleEndian.Uint32(whole[12:])) + 4
	sum := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	frame := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 26), uint32(len(bomb)))
	frame = append(binary.LittleEndian.AppendUint32(frame, crc32.Checksum(append(bytes.Clone(frame), bomb...), crc32.MakeTable(crc32.Castagnoli))), bomb...)
	table := sum(binary.LittleEndian.AppendUint64(nil, uint64(head)))
	trailer := binary.LittleEndian.AppendUint64(nil, uint64(head+len(frame)))
	trailer = sum(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(trailer, 1), 3))
	m := disk(t)
	must(t, m.WriteFile(nameOf(golden()), bytes.Join([][]byte{whole[:head], frame, table, trailer, []byte("okapiend")}, nil)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = read(m, nameOf(golden()))
	runtime.ReadMemStats(&after)
	var corrupt *snapshot.CorruptError
	if !errors.As(err, &corrupt) || corrupt.Offset != int64(head) || corrupt.Reason != "a frame does not unpack" {
		t.Errorf("read = %v, want the frame at %d refused", err, head)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// TestNewerFormat checks that a file of a newer okapi is told apart from a damaged one.
func TestNewerFormat(t *testing.T) {
	m := disk(t)
	must(t, m.WriteFile(nameOf(golden()), forge(t, func(h, _, _, _ []byte) { h[8] = snapshot.Format + 1 })))
	_, err := snapshot.Open(m, nameOf(golden()))
	if !errors.Is(err, snapshot.ErrFormat) || !strings.Contains(err.Error(), nameOf(golden())) {
		t.Errorf("Open = %v, want ErrFormat with the name", err)
	}
}

func TestLimits(t *testing.T) {
	m := disk(t)
	if _, err := snapshot.Create(m, dir, snapshot.Meta{Index: 1, Payload: make([]byte, 16<<20)}); err == nil {
		t.Error("a payload that no reader accepts was written")
	}
}

// FuzzRead reads arbitrary files; with checksums made right for half of them, so that what lies behind them is reached.
func FuzzRead(f *testing.F) {
	f.Add(fileOf(f, golden()), true)
	f.Add(fileOf(f, golden()), false)
	f.Add(forge(f, func(_, fr, _, _ []byte) { fr[14] ^= 1 }), true)
	f.Add(fileOf(f, content{Index: 1, Term: 1}), true)
	f.Fuzz(func(t *testing.T, file []byte, repair bool) {
		if repair {
			file = repaired(file)
		}
		m := vfs.NewMem(1)
		must(t, errors.Join(m.MkdirAll(dir), m.WriteFile(dir+"/x", file)))
		if _, err := read(m, dir+"/x"); err != nil && !errors.Is(err, snapshot.ErrFormat) {
			if err := wantCorrupt(err, dir+"/x", len(file)); err != nil {
				t.Error(err)
			}
		}
	})
}

// repaired makes the checksums right where they are, as far as the lengths lead to them. Frames that say that they
// unpack to much are left: their memory is allowed, but fuzzing many of them is slow.
func repaired(b []byte) []byte {
	b = bytes.Clone(b)
	sum := func(from, to int) {
		if from >= 0 && from <= to && to+4 <= len(b) {
			binary.LittleEndian.PutUint32(b[to:], crc32.Checksum(b[from:to], crc32.MakeTable(crc32.Castagnoli)))
		}
	}
	if len(b) < 64 {
		return b
	}
	head := 16 + int(binary.LittleEndian.Uint32(b[12:])%(1<<20))
	at := len(b) - 32
	table := int(binary.LittleEndian.Uint64(b[at:]) % (1 << 30))
	sum(0, head)
	sum(table, at-4)
	sum(at, at+20)
	if first := head + 4; first+12 <= table && table <= at && binary.LittleEndian.Uint32(b[first:]) < 1<<24 {
		c := crc32.Update(crc32.Checksum(b[first:first+8], crc32.MakeTable(crc32.Castagnoli)), crc32.MakeTable(crc32.Castagnoli), b[first+12:table])
		binary.LittleEndian.PutUint32(b[first+8:], c)
	}
	return b
}

// TestCopyUnderAnotherName: a file that was copied over a newer one, or renamed, is not taken for it.
func TestCopyUnderAnotherName(t *testing.T) {
	m := disk(t, small(5), small(9))
	must(t, m.WriteFile(nameOf(small(9)), fileOf(t, small(5))))
	_, err := read(m, nameOf(small(9)))
	if err := wantCorrupt(err, nameOf(small(9)), len(fileOf(t, small(5)))); err != nil {
		t.Error(err)
	}
}
