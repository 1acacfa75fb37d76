// Package arena lays out memory by hand: a value together with bytes that belong to it, in one allocation.
//
// # Idea
//
// A record that refers to its key and its data is three objects: three places in memory that a reader waits for one after
// the other, and three that the garbage collector has to find and mark. Here the bytes stand right behind the value, so
// they arrive with it and there is one object. It is an ordinary one: it lives as long as anything
// refers to the value or to the bytes, and nothing is freed by hand.
//
// The sizes of the room behind the value follow those of Go's allocator (runtime/sizeclasses.go), so that little is wasted.
// What needs more than the largest gets its bytes in an allocation of their own.
//
// # Why not simpler
//
// Go has no types whose size is known only when they are made, and the collector must know where the pointers of an object
// are. So there is a type for each size of room. Memory without pointers, managed by numbers instead, would spare
// the collector all of it, but then readers that keep what they have read would have to be counted.
package arena

import "unsafe"

// RoomMax is the largest room that stands in one allocation with its value, in bytes.
const RoomMax = 416

// New returns a zero T and room for n bytes, which are zero too. Who keeps the room keeps the T, if n is at most RoomMax.
func New[T any](n int) (*T, []byte) {
	switch {
	case n <= 0:
		return new(T), nil
	case n <= 16:
		return together[T, [16]byte](n)
	case n <= 32:
		return together[T, [32]byte](n)
	case n <= 48:
		return together[T, [48]byte](n)
	case n <= 64:
		return together[T, [64]byte](n)
	case n <= 80:
		return together[T, [80]byte](n)
	case n <= 96:
		return together[T, [96]byte](n)
	case n <= 112:
		return together[T, [112]byte](n)
	case n <= 128:
		return together[T, [128]byte](n)
	case n <= 144:
		return together[T, [144]byte](n)
	case n <= 160:
		return together[T, [160]byte](n)
	case n <= 192:
		return together[T, [192]byte](n)
	case n <= 224:
		return together[T, [224]byte](n)
	case n <= 256:
		return together[T, [256]byte](n)
	case n <= 288:
		return together[T, [288]byte](n)
	case n <= 320:
		return together[T, [320]byte](n)
	case n <= 352:
		return together[T, [352]byte](n)
	case n <= 384:
		return together[T, [384]byte](n)
	case n <= 416:
		return together[T, [416]byte](n)
	default:
		return new(T), make([]byte, n)
	}
}

// cell is a value with room behind it.
type cell[T, Room any] struct {
	value T
	room  Room
}

// together makes a cell. Room is an array of at least n bytes.
func together[T, Room any](n int) (*T, []byte) {
	c := new(cell[T, Room])
	return &c.value, unsafe.Slice((*byte)(unsafe.Pointer(&c.room)), n)
}

// String is b as a string, which shares its memory: b must not be written to any more.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
