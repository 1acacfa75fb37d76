// Package jute is the record encoding of the ZooKeeper client protocol: a reader and
// append-style writers of its primitive types, and every record that a client and a server
// exchange. It is written by hand rather than generated, so that it is bounds-checked against
// hostile input, allocates nothing on the path of a read, and gives views of the input instead
// of copies. It knows bytes, not servers.
//
// The encoding is that of org.apache.jute.BinaryInputArchive and BinaryOutputArchive: integers
// are big-endian, a string or buffer is its length in bytes (-1 for null) and then the bytes, a
// vector is its number of elements (-1 for null) and then the elements. A frame is the length of
// a message and then the message. The records are those of zookeeper.jute.
package jute

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// What can be wrong with a message.
var (
	// ErrShort says that the message ended within a field, or that a length or a count promised
	// more than the message holds.
	ErrShort = errors.New("jute: message ends within a field")
	// ErrLength says that a string or buffer has a length below -1.
	ErrLength = errors.New("jute: negative length")
	// ErrNull says that a field is null that must not be.
	ErrNull = errors.New("jute: null where a value is needed")
)

// Reader decodes one message. After the first field that cannot be decoded every further call
// returns zero values, and Err says what was wrong, so that a record is decoded without a check
// after each field. The zero value reads an empty message. A Reader belongs to one goroutine.
type Reader struct {
	buf []byte
	off int
	err error
	// names holds the bytes of decoded strings.
	names names
}

// Reset makes the reader start at the beginning of message, which it keeps until the next Reset:
// what Bytes returned is a part of it.
func (r *Reader) Reset(message []byte) {
	r.buf, r.off, r.err = message, 0, nil
}

// Err returns what was wrong with the first field that could not be decoded, or nil.
func (r *Reader) Err() error { return r.err }

// Remaining returns the number of bytes that have not been decoded.
func (r *Reader) Remaining() int { return len(r.buf) - r.off }

// Fail makes err the reader's error, unless it already has one: for what only the caller can see
// to be wrong.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take returns the next n bytes, or nil if they are not there.
func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.buf)-r.off {
		r.err = ErrShort
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Bool reads a boolean; any byte but 0 is true.
func (r *Reader) Bool() bool {
	b := r.take(1)
	return b != nil && b[0] != 0
}

// Int32 reads an int.
func (r *Reader) Int32() int32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return int32(binary.BigEndian.Uint32(b))
}

// Int64 reads a long.
func (r *Reader) Int64() int64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// Bytes reads a buffer. The result is a part of the message and must not be changed; it is nil
// for null, and empty but not nil for an empty buffer.
func (r *Reader) Bytes() []byte {
	n := r.Int32()
	switch {
	case r.err != nil || n == -1:
		return nil
	case n < -1:
		r.err = ErrLength
		return nil
	}
	return r.take(int(n))
}

// String reads a string; null is an error. See text for what becomes of bytes that are no UTF-8.
// The result does not share memory with the message, but may share it with other strings of the
// same Reader: who keeps it for long clones it.
func (r *Reader) String() string {
	b := r.Bytes()
	if b == nil {
		r.Fail(ErrNull)
		return ""
	}
	return r.text(b)
}

// NullableString reads a string and takes null for the empty string.
func (r *Reader) NullableString() string { return r.text(r.Bytes()) }

// MaybeString reads a string and says whether it is null.
func (r *Reader) MaybeString() (s string, null bool) {
	b := r.Bytes()
	return r.text(b), b == nil
}

// text turns the bytes of a string into the string. Bytes that are no UTF-8 become U+FFFD, as in
// Java, whose decoder refuses nothing. Java's writers encode a character beyond U+FFFF as two
// surrogates of three bytes each, which is no UTF-8: each becomes one U+FFFD.
func (r *Reader) text(b []byte) string {
	if utf8.Valid(b) {
		return r.names.add(b)
	}
	return Text(b)
}

// Text turns the bytes of a string into the string, whatever they are; see Reader.
func Text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	fixed := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		if c == utf8.RuneError && isSurrogate(b) {
			n = 3
		}
		fixed = utf8.AppendRune(fixed, c)
		b = b[n:]
	}
	return string(fixed)
}

// isSurrogate reports whether b begins with a UTF-16 surrogate in three bytes.
func isSurrogate(b []byte) bool {
	return len(b) >= 3 && b[0] == 0xED && b[1] >= 0xA0 && b[1] <= 0xBF && b[2]&0xC0 == 0x80
}

// Count reads the number of elements of a vector; -1 is null, and as in Java every other
// negative number is an empty vector. It fails if the rest of the message cannot hold that many
// elements of elementBytes bytes, so that the caller may allocate them.
func (r *Reader) Count(elementBytes int) int {
	n := int(r.Int32())
	if r.err != nil {
		return 0
	}
	if n < 0 {
		return max(n, -1)
	}
	if n > r.Remaining()/elementBytes {
		r.err = ErrShort
		return 0
	}
	return n
}

// Strings reads a vector of strings; nil for null. A null element is an error.
func (r *Reader) Strings() []string {
	n := r.Count(4)
	if n < 0 || r.err != nil {
		return nil
	}
	out := make([]string, 0, n)
	for range n {
		out = append(out, r.String())
	}
	if r.err != nil {
		return nil
	}
	return out
}
