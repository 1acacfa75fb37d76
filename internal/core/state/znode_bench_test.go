package state

import (
	"testing"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// benchEntries makes b.N commands of session 1 into entries of 256 and applies them.
func benchEntries(b *testing.B, prepare []command.Command, next func(i int) command.Command) {
	w := newWorld(b, zkSettings())
	for _, c := range prepare {
		w.want(OK, c)
	}
	cmds := make([]command.Command, b.N)
	for i := range cmds {
		cmds[i] = next(i)
	}
	const size = 256
	e := Entry{Term: 1, Batch: command.Batch{Proposals: make([]command.Proposal, 0, size)}}
	b.ReportAllocs()
	b.ResetTimer()
	for from := 0; from < b.N; from += size {
		e.Batch.Proposals = e.Batch.Proposals[:0]
		for i := from; i < min(from+size, b.N); i++ {
			e.Batch.Proposals = append(e.Batch.Proposals, command.Proposal{Caller: w.caller(1), Command: cmds[i]})
		}
		w.index++
		e.Index = w.index
		w.m.Apply(&e, &w.out, nil)
		if r := w.out.Results[0]; r.Code != OK {
			b.Fatal(r.Code)
		}
	}
}

func BenchmarkSetData(b *testing.B) {
	data := make([]byte, 100)
	const nodes = 1000
	var prepare []command.Command
	for i := range nodes {
		prepare = append(prepare, newNode("/n"+sequenceName(int32(i))))
	}
	benchEntries(b, prepare, func(i int) command.Command {
		return &command.SetData{Path: "/n" + sequenceName(int32(i%nodes)), Data: data, Version: -1}
	})
}

func BenchmarkGetData(b *testing.B) {
	w := newWorld(b, zkSettings())
	w.make("/n")
	v := w.m.View()
	c := w.caller(1)
	b.ReportAllocs()
	for b.Loop() {
		v.Data(&c, "/n")
	}
}
