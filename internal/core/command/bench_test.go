package command

import (
	"fmt"
	"testing"
)

// putBatch is a batch of 64 puts of a 16-byte key and a 100-byte value.
func putBatch() Batch {
	b := Batch{Time: 1700000000000}
	for i := range 64 {
		b.Proposals = append(b.Proposals, Proposal{
			ID:      ID{Member: 0x8e9e05c52164694d, Number: uint64(1<<32 + i)},
			Caller:  Caller{Protocol: Etcd},
			Command: &Put{Key: fmt.Sprintf("key-%012d", i), Value: make([]byte, 100)},
		})
	}
	return b
}

// createBatch is a batch of 64 creates by ZooKeeper connections.
func createBatch() Batch {
	b := Batch{Time: 1700000000000}
	for i := range 64 {
		b.Proposals = append(b.Proposals, Proposal{
			ID: ID{Member: 0x8e9e05c52164694d, Number: uint64(1<<32 + i)},
			Caller: Caller{
				Protocol: ZooKeeper, Identities: []Identity{{"ip", "10.1.2.3"}},
				Session: 0x100000000000001, Generation: 1, Sequence: uint64(i),
			},
			Command: &Create{Path: fmt.Sprintf("/key-%011d", i), Data: make([]byte, 100), ACL: []ACL{{PermAll, "world", "anyone"}}, TTL: NoTTL},
		})
	}
	return b
}

func benchmarkAppend(b *testing.B, batch Batch) {
	buf := AppendBatch(nil, &batch)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendBatch(buf[:0], &batch)
	}
	perProposal(b, len(buf), len(batch.Proposals))
}

func benchmarkDecode(b *testing.B, batch Batch) {
	data := AppendBatch(nil, &batch)
	var into Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeBatch(data, &into); err != nil {
			b.Fatal(err)
		}
	}
	perProposal(b, len(data), len(batch.Proposals))
}

func perProposal(b *testing.B, size, n int) {
	b.ReportMetric(float64(size)/float64(n), "B/proposal")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/proposal")
}

func BenchmarkAppendPuts(b *testing.B)    { benchmarkAppend(b, putBatch()) }
func BenchmarkDecodePuts(b *testing.B)    { benchmarkDecode(b, putBatch()) }
func BenchmarkAppendCreates(b *testing.B) { benchmarkAppend(b, createBatch()) }
func BenchmarkDecodeCreates(b *testing.B) { benchmarkDecode(b, createBatch()) }

func BenchmarkSize(b *testing.B) {
	p := putBatch().Proposals[0]
	for b.Loop() {
		if Size(&p) < 100 {
			b.Fatal("too small")
		}
	}
}
