package state

import (
	"fmt"
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

const (
	benchKeys  = 1_000_000
	benchBatch = 100 // commands in one entry
)

// bench applies batches to a machine and keeps its history short, as a running cluster does.
type bench struct {
	m     *Machine
	entry Entry
	out   Output
}

func newBench(b *testing.B) *bench {
	b.Helper()
	x := &bench{m: New(1)}
	x.entry = Entry{Index: 1, Term: 1, Batch: command.Batch{Proposals: []command.Proposal{
		{Command: &command.Bootstrap{Settings: command.Settings{TreePrefix: "/zk", TreeHistory: 1000}}},
	}}}
	x.m.Apply(&x.entry, &x.out, nil)
	x.entry.Batch.Proposals = make([]command.Proposal, benchBatch)
	return x
}

// apply applies the first n proposals of the entry.
func (x *bench) apply(b *testing.B, n int) {
	x.entry.Index++
	x.entry.Batch.Time += 10
	all := x.entry.Batch.Proposals
	x.entry.Batch.Proposals = all[:n]
	x.m.Apply(&x.entry, &x.out, nil)
	x.entry.Batch.Proposals = all
	for i := range x.out.Results {
		if c := x.out.Results[i].Code; c != OK {
			b.Fatalf("%T: %v", all[i].Command, c)
		}
	}
}

// reclaim frees as much as the machine made. The target for a put includes it.
func (x *bench) reclaim() {
	if rev := x.m.revision - 10_000; rev > x.m.compacted {
		x.m.compact(&command.Compact{Revision: rev})
	}
	x.m.Reclaim(4*benchBatch, x.m.View().Seq())
}

func benchKey(i int) string { return fmt.Sprintf("/registry/%06d", i*7919%benchKeys) }

// fill puts benchKeys keys of 16 + 100 bytes.
func (x *bench) fill(b *testing.B, keys []string) {
	puts := make([]command.Put, benchBatch)
	value := make([]byte, 100)
	for i := 0; i < len(keys); i += benchBatch {
		for j := range puts {
			puts[j] = command.Put{Key: keys[i+j], Value: value}
			x.entry.Batch.Proposals[j] = command.Proposal{Caller: etcdCaller(), Command: &puts[j]}
		}
		x.apply(b, benchBatch)
	}
	x.reclaim()
}

func benchKeyList() []string {
	keys := make([]string, benchKeys)
	for i := range keys {
		keys[i] = benchKey(i)
	}
	return keys
}

// BenchmarkApplyPut updates random ones of a million keys.
func BenchmarkApplyPut(b *testing.B) {
	x, keys := newBench(b), benchKeyList()
	x.fill(b, keys)
	puts := make([]command.Put, benchBatch)
	value := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchBatch {
		for j := range puts {
			puts[j] = command.Put{Key: keys[(i+j)*7%benchKeys], Value: value}
			x.entry.Batch.Proposals[j].Command = &puts[j]
		}
		x.apply(b, min(benchBatch, b.N-i))
		x.reclaim()
	}
}

// BenchmarkApplyCreate creates znodes, a thousand below each parent, in a tree that grows to a million and then
// is deleted again.
func BenchmarkApplyCreate(b *testing.B) {
	x := newBench(b)
	open := openList()
	data := make([]byte, 100)
	creates := make([]command.Create, benchBatch)
	caller := command.Caller{Protocol: command.ZooKeeper}
	const parents = 1000
	for i := 0; i < parents; i += benchBatch {
		for j := range creates {
			creates[j] = command.Create{Path: fmt.Sprintf("/p%03d", i+j), ACL: open, TTL: command.NoTTL}
			x.entry.Batch.Proposals[j] = command.Proposal{Caller: caller, Command: &creates[j]}
		}
		x.apply(b, benchBatch)
	}
	paths := make([]string, benchKeys)
	for i := range paths {
		paths[i] = fmt.Sprintf("/p%03d/n%06d", i%parents, i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += benchBatch {
		if i > 0 && i%benchKeys == 0 {
			b.StopTimer()
			x.entry.Batch.Proposals[0] = command.Proposal{Caller: etcdCaller(), Command: &command.DeleteRange{Key: "/zk/p", End: "/zk/q"}}
			x.apply(b, 1)
			x.entry.Batch.Proposals[0].Caller = caller
			for j := range parents {
				creates[0] = command.Create{Path: fmt.Sprintf("/p%03d", j), ACL: open, TTL: command.NoTTL}
				x.entry.Batch.Proposals[0].Command = &creates[0]
				x.apply(b, 1)
			}
			b.StartTimer()
		}
		for j := range creates {
			creates[j] = command.Create{Path: paths[(i+j)%benchKeys], Data: data, ACL: open, TTL: command.NoTTL}
			x.entry.Batch.Proposals[j].Command = &creates[j]
		}
		x.apply(b, min(benchBatch, b.N-i))
		x.reclaim()
	}
}

// BenchmarkGet reads random ones of a million keys from a view.
func BenchmarkGet(b *testing.B) {
	x, keys := newBench(b), benchKeyList()
	x.fill(b, keys)
	c := etcdCaller()
	r, res := command.Range{}, RangeResult{}
	v := x.m.View()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		r.Key = keys[i*7%benchKeys]
		code := v.Range(&c, &r, &res)
		if code != OK || res.Count != 1 {
			b.Fatal(code)
		}
	}
}

// BenchmarkDigest recomputes the digest of a million keys.
func BenchmarkDigest(b *testing.B) {
	x := newBench(b)
	x.fill(b, benchKeyList())
	b.ResetTimer()
	for range b.N {
		if x.m.recomputeDigest() != x.m.digest {
			b.Fatal("digest")
		}
	}
}
