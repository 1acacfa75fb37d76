package jute

import "strings"

// nameChunkBytes is the size of the blocks in which names are kept. It is small because every
// connection has one.
const nameChunkBytes = 512

// names turns bytes into strings with one allocation for many of them: short strings share a
// block. The blocks are never changed once a string points into them, and live as long as any
// of their strings does. The zero value is ready; it must not be copied after use.
type names struct {
	block strings.Builder
}

// add returns b as a string that does not share its memory.
func (n *names) add(b []byte) string {
	if len(b) > nameChunkBytes/4 {
		return string(b)
	}
	if n.block.Cap()-n.block.Len() < len(b) {
		n.block.Reset()
		n.block.Grow(nameChunkBytes)
	}
	from := n.block.Len()
	n.block.Write(b)
	return n.block.String()[from:]
}
