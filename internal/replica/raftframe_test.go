package replica

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// checkRaft finds out whether a message comes back from a frame as it was, and as the library decodes it.
func checkRaft(t rapid.TB, want *raftpb.Message) {
	t.Helper()
	frame := appendRaft(nil, want)
	var library raftpb.Message
	if err := proto.Unmarshal(frame[1:], &library); err != nil || !proto.Equal(want, &library) {
		t.Fatalf("the library makes %v of %v: %v", &library, want, err)
	}
	if got, err := decodeRaft(frame[1:]); err != nil || !proto.Equal(want, got) {
		t.Fatalf("%v becomes %v: %v", want, got, err)
	}
}

// TestRaftFrame: every message of raft survives its frame, entries with and without data among them, and their data stand in
// the frame.
func TestRaftFrame(t *testing.T) {
	t.Parallel()
	entry := rapid.Custom(func(t *rapid.T) *raftpb.Entry {
		e := &raftpb.Entry{Term: new(rapid.Uint64().Draw(t, "term")), Index: new(rapid.Uint64().Draw(t, "index"))}
		if rapid.Bool().Draw(t, "typed") {
			e.Type = rapid.SampledFrom([]raftpb.EntryType{raftpb.EntryNormal, raftpb.EntryConfChange, raftpb.EntryConfChangeV2}).Draw(t, "type").Enum()
		}
		if rapid.Bool().Draw(t, "filled") {
			e.Data = rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		}
		return e
	})
	rapid.Check(t, func(rt *rapid.T) {
		m := &raftpb.Message{
			Type: raftpb.MessageType(rapid.Int32Range(0, 23).Draw(rt, "kind")).Enum(), From: new(rapid.Uint64().Draw(rt, "from")),
			Entries: rapid.SliceOf(entry).Draw(rt, "entries"), Commit: new(rapid.Uint64().Draw(rt, "commit")),
			Context: rapid.SliceOf(rapid.Byte()).Draw(rt, "context"),
		}
		checkRaft(t, m)
	})
	frame := appendRaft(nil, &raftpb.Message{Entries: []*raftpb.Entry{{Data: []byte("data")}}})
	m, err := decodeRaft(frame[1:])
	if err != nil {
		t.Fatal(err)
	}
	frame[bytes.Index(frame, []byte("data"))] = 'D'
	if got := string(m.Entries[0].GetData()); got != "Data" {
		t.Errorf("the data of the entry are %q: they were copied", got)
	}
	for n := range frame[1:] {
		if m, err := decodeRaft(frame[1 : 1+n]); err == nil && len(m.GetEntries()) > 0 {
			t.Errorf("%d of %d bytes are accepted", n, len(frame)-1)
		}
	}
}

// TestProposalIsCopied: the memory of an entry is used again for the next one, so raft must keep nothing of it.
func TestProposalIsCopied(t *testing.T) {
	node := rawConf(t, &raftpb.ConfState{Voters: []uint64{1}})
	if err := node.Campaign(); err != nil {
		t.Fatal(err)
	}
	node.Advance(node.Ready())
	data := []byte("data")
	if err := node.Propose(data); err != nil {
		t.Fatal(err)
	}
	copy(data, "else")
	entries := node.Ready().Entries
	if got := string(entries[len(entries)-1].GetData()); got != "data" {
		t.Errorf("the entry is %q: raft keeps what it is given", got)
	}
}
