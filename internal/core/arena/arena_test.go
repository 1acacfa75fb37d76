package arena

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"
)

type node struct {
	next  *node
	value *int
	key   string
}

// TestNew: every size up to beyond the largest gives a zero value and room of exactly that size, which is next to the
// value as long as it may be.
func TestNew(t *testing.T) {
	for n := range RoomMax + 100 {
		v, room := New[node](n)
		if *v != (node{}) || len(room) != n || cap(room) != n {
			t.Fatalf("%d bytes: value %v, room of %d, capacity %d", n, *v, len(room), cap(room))
		}
		if n == 0 {
			continue
		}
		if !bytes.Equal(room, make([]byte, n)) {
			t.Fatalf("%d bytes: room is %x", n, room)
		}
		behind := uintptr(unsafe.Pointer(&room[0])) - uintptr(unsafe.Pointer(v))
		if together := behind == unsafe.Sizeof(*v); together != (n <= RoomMax) {
			t.Fatalf("%d bytes: the room stands %d bytes behind the value", n, behind)
		}
	}
}

// TestCollector: the collector sees the pointers of a value that has room behind it, and frees what only gone ones referred
// to.
func TestCollector(t *testing.T) {
	const n = 2000
	var head *node
	freed := make(chan struct{}, n)
	for i := range n {
		v, room := New[node](1 + i%(RoomMax+50))
		for j := range room {
			room[j] = byte(i)
		}
		v.next, v.value, v.key = head, new(int), String(room)
		*v.value = i
		runtime.SetFinalizer(v.value, func(*int) { freed <- struct{}{} })
		head = v
	}
	for range 3 {
		runtime.GC()
	}
	i := n - 1
	for v := head; v != nil; v, i = v.next, i-1 {
		if *v.value != i || v.key != string(bytes.Repeat([]byte{byte(i)}, 1+i%(RoomMax+50))) {
			t.Fatalf("value %d is %d with key %x", i, *v.value, v.key)
		}
	}
	if len(freed) != 0 {
		t.Fatalf("%d values were freed that are still referred to", len(freed))
	}
	runtime.KeepAlive(head)
	head = nil
	runtime.GC()
	for range n {
		<-freed
	}
}

func TestString(t *testing.T) {
	if s := String(nil); s != "" {
		t.Errorf("nothing is %q", s)
	}
	if s := String([]byte("abc")); s != "abc" {
		t.Errorf("abc is %q", s)
	}
}
