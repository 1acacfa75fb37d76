package transport

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
)

// counter is a Handler that only counts.
type counter struct {
	frames atomic.Int64
	lost   atomic.Int64
}

func (c *counter) Receive(uint64, []byte)                                { c.frames.Add(1) }
func (c *counter) Ended(uint64)                                          {}
func (c *counter) Unreachable(uint64)                                    { c.lost.Add(1) }
func (c *counter) SnapshotSent(uint64, bool)                             {}
func (c *counter) ReceiveSnapshot(uint64, []byte, io.Reader) (err error) { return nil }

// BenchmarkFrames sends frames of 256 bytes over one loopback link, 1024 at most under way.
func BenchmarkFrames(b *testing.B) {
	ends := [2]*counter{{}, {}}
	listeners := [2]net.Listener{}
	peers := map[uint64][]string{}
	for i := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		listeners[i] = l
		peers[uint64(i+1)] = []string{l.Addr().String()}
	}
	var sender *Transport
	for i := range listeners {
		tr := New(Options{
			Identity: Identity{ClusterID: 1, MemberID: uint64(i + 1)}, Listener: listeners[i], Peers: peers,
			Handler: ends[i], Logger: slog.New(slog.DiscardHandler),
		})
		ended := make(chan error, 1)
		go func() { ended <- tr.Run(b.Context()) }()
		b.Cleanup(func() { <-ended })
		if i == 0 {
			sender = tr
		}
	}
	for !sender.Status()[0].Linked {
		runtime.Gosched()
	}
	frame := make([]byte, 256)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for sent := int64(0); b.Loop(); sent++ {
		for sent-ends[1].frames.Load() >= 1024 {
			runtime.Gosched()
		}
		sender.Send(2, frame)
	}
	if lost := ends[0].lost.Load(); lost > 0 {
		b.Fatalf("%d reports of lost frames", lost)
	}
}
