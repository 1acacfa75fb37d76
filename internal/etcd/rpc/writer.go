package rpc

import (
	"runtime"
	"time"
)

// bufferBytesMax is the largest buffer that is kept.
const bufferBytesMax = 2 * outBytes

// runWriter writes what gathers until the connection ends.
func (c *conn) runWriter() {
	for range c.wake {
		// Those who are about to answer go first: what they say leaves with the rest.
		runtime.Gosched()
		for {
			b, more := c.takeOut()
			if !more {
				return
			}
			if b == nil {
				break
			}
			_, err := c.raw.Write(*b)
			if cap(*b) <= bufferBytesMax {
				*b = (*b)[:0]
				c.server.buffers.Put(b)
			}
			if err != nil {
				c.stopWriting()
				return
			}
			signal(c.room)
		}
	}
}

// takeOut takes all that may be sent: nil if there is nothing, and false if there never will be.
func (c *conn) takeOut() (b *[]byte, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state >= connSaid {
		return nil, false
	}
	for n := len(c.ready); n > 0 && len(c.out) < outBytes; n-- {
		st := c.ready[0]
		c.ready = c.ready[1:]
		st.listed = false
		st.sendLocked()
	}
	if len(c.ready) == 0 {
		c.ready = nil
	}
	if len(c.out) > 0 {
		b, _ = c.server.buffers.Get().(*[]byte)
		if b == nil {
			b = new([]byte)
		}
		c.out, *b = *b, c.out
		return b, true
	}
	if c.state == connEnding {
		c.state = connSaid
		_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime)) // the client closes when it has read why, or we do
		return nil, false
	}
	return nil, true
}

// stopWriting ends a connection whose socket takes nothing any more.
func (c *conn) stopWriting() {
	c.mu.Lock()
	c.state = connEnded
	c.mu.Unlock()
	c.raw.Close()
	signal(c.room)
}
