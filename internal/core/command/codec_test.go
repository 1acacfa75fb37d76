package command

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/invariant"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestKinds checks the table of kinds: every kind has a name, a sample and an implementation that
// says that it is of that kind.
func TestKinds(t *testing.T) {
	samples := kindSamples()
	if len(samples) != len(kinds()) {
		t.Errorf("%d kinds have samples, %d have names", len(samples), len(kinds()))
	}
	seen := map[string]Kind{}
	for _, k := range kinds() {
		if other, ok := seen[k.String()]; ok {
			t.Errorf("kinds %d and %d are both named %q", other, k, k)
		}
		seen[k.String()] = k
		if len(samples[k]) == 0 {
			t.Errorf("kind %v has no sample", k)
		}
		for _, s := range samples[k] {
			if s.cmd.Kind() != k {
				t.Errorf("%v/%s says it is %v", k, s.name, s.cmd.Kind())
			}
		}
	}
	if got := Kind(0).String() + Kind(255).String(); got != "unknownunknown" {
		t.Errorf("unknown kinds are named %q", got)
	}
}

// TestPlaces lists where each kind may stand.
func TestPlaces(t *testing.T) {
	for _, k := range kinds() {
		want := "top"
		switch k {
		case KindPut, KindDeleteRange, KindTxn:
			want = "top txn"
		case KindRange:
			want = "txn"
		case KindCreate, KindDelete, KindSetData:
			want = "top multi"
		case KindCheck:
			want = "multi"
		}
		var got []string
		for p, name := range []string{"top", "txn", "multi"} {
			if place(p).allows(k) {
				got = append(got, name)
			}
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%v may stand at %q, want %q", k, g, want)
		}
	}
}

// goldenLines reads "name: hex" lines; hex may have blanks and go on in lines that begin with one.
func goldenLines(t *testing.T, file string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	out := map[string][]byte{}
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		digits := line
		if line[0] != ' ' {
			name, digits, _ = strings.Cut(line, ":")
		}
		digits, _, _ = strings.Cut(digits, "|")
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%s: %q: %v", file, line, err)
		}
		out[name] = append(out[name], raw...)
	}
	return out
}

// goldenText prints bytes as goldenLines reads them, 16 a line with their text behind.
func goldenText(name string, data []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", name)
	for len(data) > 0 {
		n := min(16, len(data))
		text := bytes.Map(func(r rune) rune {
			if r < 0x20 || r > 0x7e {
				return '.'
			}
			return r
		}, data[:n])
		fmt.Fprintf(&b, "  % -48x| %s\n", data[:n], text)
		data = data[n:]
	}
	return b.String()
}

// golden compares encodings with the file, or writes it.
func golden(t *testing.T, file, comment string, names []string, encoded map[string][]byte) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		text := "# " + comment + "\n"
		for _, n := range names {
			text += "\n" + goldenText(n, encoded[n])
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(goldenLines(t, file), encoded); diff != "" {
		t.Errorf("encoding differs from %s (-file +now); written logs must stay readable, so raise Version:\n%s", file, diff)
	}
}

func TestGoldenKinds(t *testing.T) {
	samples := kindSamples()
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) {
			encoded := map[string][]byte{}
			var names []string
			for _, s := range samples[k] {
				p := proposalOf(s.cmd)
				names = append(names, s.name)
				encoded[s.name] = AppendProposal(nil, &p)
			}
			golden(t, k.String()+".hex", "Proposals of kind "+k.String()+", codec version 1.", names, encoded)
			for _, s := range samples[k] {
				var got Proposal
				if err := DecodeProposal(goldenLines(t, filepath.Join("testdata", k.String()+".hex"))[s.name], &got); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				if diff := cmp.Diff(proposalOf(s.cmd), got); diff != "" {
					t.Errorf("%s read from the file differs (-want +got):\n%s", s.name, diff)
				}
			}
		})
	}
}

func TestGoldenBatch(t *testing.T) {
	b := batchSample()
	golden(t, "batch.hex", "A batch with every shape of caller, codec version 1.", []string{"batch", "empty"},
		map[string][]byte{"batch": AppendBatch(nil, &b), "empty": AppendBatch(nil, &Batch{Time: -1})})
	var got Batch
	if err := DecodeBatch(goldenLines(t, filepath.Join("testdata", "batch.hex"))["batch"], &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, got); diff != "" {
		t.Errorf("batch read from the file differs (-want +got):\n%s", diff)
	}
}

// TestTruncated cuts every sample at every length: each cut is an error that says malformed.
func TestTruncated(t *testing.T) {
	for _, list := range kindSamples() {
		for _, s := range list {
			p := proposalOf(s.cmd)
			data := AppendProposal(nil, &p)
			for n := range data {
				var got Proposal
				if err := DecodeProposal(data[:n], &got); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%v/%s cut to %d of %d bytes: error %v", s.cmd.Kind(), s.name, n, len(data), err)
				}
				if diff := cmp.Diff(Proposal{}, got); diff != "" {
					t.Fatalf("%v/%s cut to %d bytes leaves something behind:\n%s", s.cmd.Kind(), s.name, n, diff)
				}
			}
			if err := DecodeProposal(append(data, 0), &Proposal{}); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v/%s with a byte too many: error %v", s.cmd.Kind(), s.name, err)
			}
		}
	}
}

func TestRefusedBytes(t *testing.T) {
	head := func(rest ...byte) []byte { // version, member, number
		return append([]byte{Version, 1, 2, 3, 4, 5, 6, 7, 8, 1}, rest...)
	}
	deep := head(0)
	for range MaxTxnDepth + 1 {
		deep = append(deep, byte(KindTxn), 0, 1)
	}
	deep = append(deep, bytes.Repeat([]byte{0}, 2*MaxTxnDepth+10)...)
	tests := []struct {
		name string
		data []byte
		err  error
		text string
	}{
		{"empty", nil, ErrMalformed, "version at byte 0"},
		{"version 0", []byte{0}, ErrMalformed, "version"},
		{"newer version", []byte{Version + 1, 1, 2, 3}, ErrVersion, "version 2"},
		{"unknown protocol", head(3, byte(KindCloseSession)), ErrMalformed, "caller at byte 10"},
		{"unknown caller flag", head(0x20, byte(KindCloseSession)), ErrMalformed, "caller at byte 10"},
		{"unknown kind", head(0, 200), ErrMalformed, "kind at byte 11"},
		{"kind 0", head(0, 0), ErrMalformed, "kind at byte 11"},
		{"range at top", head(0, byte(KindRange), 0, 0, 0), ErrMalformed, "kind at byte 11"},
		{"check at top", head(0, byte(KindCheck), 0, 0), ErrMalformed, "kind at byte 11"},
		{"create in txn", head(0, byte(KindTxn), 0, 1, byte(KindCreate), 0, 0, 0, 0, 0, 0), ErrMalformed, "kind at byte 14"},
		{"multi in multi", head(0, byte(KindMulti), 1, byte(KindMulti), 0, 0), ErrMalformed, "kind at byte 13"},
		{"txn too deep", deep, ErrMalformed, "txn depth"},
		{"unknown put flag", head(0, byte(KindPut), 0x10, 0, 0), ErrMalformed, "put flags at byte 12"},
		{"huge string", head(0, byte(KindPut), 0, 0xff, 0xff, 0xff, 0xff, 0x7f), ErrMalformed, "key at byte 13"},
		{"huge value", head(0, byte(KindPut), 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), ErrMalformed, "value"},
		{"varint too long", head(0, byte(KindCompact), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrMalformed, "revision"},
		{"number over 32 bits", head(0, byte(KindDelete), 0, 0xff, 0xff, 0xff, 0xff, 0x1f), ErrMalformed, "version at byte 13"},
		{"huge acl", head(0, byte(KindSetACL), 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0), ErrMalformed, "acl"},
		{"huge compares", head(0, byte(KindTxn), 0xff, 0xff, 0xff, 0x7f), ErrMalformed, "compares"},
		{"huge ops", head(0, byte(KindMulti), 0xff, 0xff, 0xff, 0x7f), ErrMalformed, "ops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := DecodeProposal(tt.data, &Proposal{})
			if !errors.Is(err, tt.err) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error is %v, want %v with %q", err, tt.err, tt.text)
			}
		})
	}
}

func TestDeepestTxn(t *testing.T) {
	nest := func(n int) *Proposal {
		txn := &Txn{}
		for range n - 1 {
			txn = &Txn{Success: []Command{txn}}
		}
		return &Proposal{Command: txn}
	}
	var got Proposal
	if err := DecodeProposal(AppendProposal(nil, nest(MaxTxnDepth)), &got); err != nil {
		t.Errorf("deepest allowed txn: %v", err)
	}
	mustViolate(t, "too deep", func() { AppendProposal(nil, nest(MaxTxnDepth+1)) })
}

func TestMisplacedCommandsAreNotWritten(t *testing.T) {
	for name, c := range map[string]Command{
		"range at top":  &Range{Key: "a"},
		"check at top":  &Check{Path: "/a"},
		"multi in txn":  &Txn{Failure: []Command{&Multi{}}},
		"put in multi":  &Multi{Ops: []Command{&Put{Key: "a"}}},
		"setACL nested": &Multi{Ops: []Command{&SetACL{Path: "/a"}}},
	} {
		mustViolate(t, name, func() { AppendBatch(nil, &Batch{Proposals: []Proposal{{Command: c}}}) })
	}
}

func mustViolate(t *testing.T, name string, fn func()) {
	t.Helper()
	defer func() {
		if _, ok := recover().(invariant.Violation); !ok {
			t.Errorf("%s was accepted", name)
		}
	}()
	fn()
}

// TestDecodeBatchReuse checks what becomes of the slice of an earlier batch.
func TestDecodeBatchReuse(t *testing.T) {
	long, short := batchSample(), Batch{Time: 5, Proposals: batchSample().Proposals[:2]}
	var b Batch
	for _, want := range []Batch{long, short, long} {
		if err := DecodeBatch(AppendBatch(nil, &want), &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		for _, p := range b.Proposals[len(b.Proposals):cap(b.Proposals)] {
			if p.Command != nil {
				t.Fatalf("a command of an earlier batch is kept: %v", p)
			}
		}
	}
	first := &b.Proposals[0]
	if err := DecodeBatch(AppendBatch(nil, &short), &b); err != nil || first != &b.Proposals[0] {
		t.Errorf("the slice was not reused (error %v)", err)
	}
	if err := DecodeBatch([]byte{Version, 0, 3}, &b); err == nil || len(b.Proposals) != 0 {
		t.Errorf("malformed batch: error %v, %d proposals", err, len(b.Proposals))
	}
	for _, p := range b.Proposals[:cap(b.Proposals)] {
		if p.Command != nil {
			t.Errorf("a command is kept after an error: %v", p)
		}
	}
}

// TestEmptyIdentities: a list that is there but empty is the same as none.
func TestEmptyIdentities(t *testing.T) {
	var got Proposal
	data := []byte{Version, 0, 0, 0, 0, 0, 0, 0, 0, 1, callerIdentities, 0, byte(KindCloseSession)}
	if err := DecodeProposal(data, &got); err != nil || got.Caller.Identities != nil {
		t.Errorf("identities %#v, error %v", got.Caller.Identities, err)
	}
}

// TestSmallSlicesDoNotOverlap appends to each slice that shares an arena and looks at its neighbours.
func TestSmallSlicesDoNotOverlap(t *testing.T) {
	acl := []ACL{{1, "a", "b"}}
	want := Proposal{
		Caller:  Caller{Protocol: ZooKeeper, Identities: []Identity{{"x", "y"}}},
		Command: &Multi{Ops: []Command{&Create{Path: "/a", ACL: acl, Data: []byte("1")}, &Create{Path: "/b", ACL: acl, Data: []byte("2")}}},
	}
	var got Proposal
	if err := DecodeProposal(AppendProposal(nil, &want), &got); err != nil {
		t.Fatal(err)
	}
	first := got.Command.(*Multi).Ops[0].(*Create)
	_ = append(first.ACL, ACL{9, "z", "z"})
	_ = append(first.Data, "zzzzzz"...)
	_ = append(got.Caller.Identities, Identity{"z", "z"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("an append reached over (-want +got):\n%s", diff)
	}
}
