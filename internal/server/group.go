package server

import (
	"net"
	"sync"
)

// group runs parts that belong together: when one ends with an error, all are told to stop.
type group struct {
	stop func(error)
	wg   sync.WaitGroup
	mu   sync.Mutex
	err  error // the first one
}

func newGroup(stop func(error)) *group { return &group{stop: stop} }

// run starts a part.
func (g *group) run(part func() error) {
	g.wg.Go(func() {
		err := part()
		if err == nil {
			return
		}
		g.mu.Lock()
		if g.err == nil {
			g.err = err
		}
		g.mu.Unlock()
		g.stop(err)
	})
}

// wait returns when all parts have ended, with the first error.
func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// joinListeners makes one listener of two; a may be nil.
func joinListeners(a, b net.Listener) net.Listener {
	if a == nil {
		return b
	}
	j := &joined{Listener: a, other: b, accepted: make(chan accepted), closed: make(chan struct{})}
	j.serveBoth()
	return j
}

// serveBoth accepts from both until Close.
func (j *joined) serveBoth() {
	go j.serve(j.Listener)
	go j.serve(j.other)
}

// joined accepts from two listeners.
type joined struct {
	net.Listener
	other    net.Listener
	accepted chan accepted
	closed   chan struct{}
	once     sync.Once
}

type accepted struct {
	conn net.Conn
	err  error
}

func (j *joined) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case j.accepted <- accepted{conn, err}:
		case <-j.closed:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// Accept implements net.Listener.
func (j *joined) Accept() (net.Conn, error) {
	select {
	case a := <-j.accepted:
		return a.conn, a.err
	case <-j.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (j *joined) Close() error {
	err := net.ErrClosed
	j.once.Do(func() {
		close(j.closed)
		err = j.Listener.Close()
		if cerr := j.other.Close(); err == nil {
			err = cerr
		}
	})
	return err
}
