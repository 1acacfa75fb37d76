package zkdifferential

import "encoding/binary"

// The opcodes (org.apache.zookeeper.ZooDefs.OpCode).
const (
	opCreate          = 1
	opDelete          = 2
	opExists          = 3
	opGetData         = 4
	opSetData         = 5
	opGetACL          = 6
	opSetACL          = 7
	opGetChildren     = 8
	opSync            = 9
	opPing            = 11
	opGetChildren2    = 12
	opCheck           = 13
	opMulti           = 14
	opCreate2         = 15
	opCheckWatches    = 17
	opRemoveWatches   = 18
	opCreateContainer = 19
	opCreateTTL       = 21
	opMultiRead       = 22
	opAuth            = 100
	opSetWatches      = 101
	opSASL            = 102
	opGetEphemerals   = 103
	opCountAll        = 104
	opSetWatches2     = 105
	opAddWatch        = 106
	opWhoAmI          = 107
	opClose           = -11
)

var opNames = map[int32]string{
	opCreate: "create", opDelete: "delete", opExists: "exists", opGetData: "getData", opSetData: "setData",
	opGetACL: "getACL", opSetACL: "setACL", opGetChildren: "getChildren", opSync: "sync", opPing: "ping",
	opGetChildren2: "getChildren2", opCheck: "check", opMulti: "multi", opCreate2: "create2",
	opCheckWatches: "checkWatches", opRemoveWatches: "removeWatches", opCreateContainer: "createContainer",
	opCreateTTL: "createTTL", opMultiRead: "multiRead", opAuth: "auth", opSetWatches: "setWatches", opSASL: "sasl",
	opGetEphemerals: "getEphemerals", opCountAll: "getAllChildrenNumber", opSetWatches2: "setWatches2",
	opAddWatch: "addWatch", opWhoAmI: "whoAmI", opClose: "closeSession",
}

// The xids with a meaning of their own.
const (
	xidEvent      = -1
	xidPing       = -2
	xidAuth       = -4
	xidSetWatches = -8
)

func putInt(b []byte, v int32) []byte  { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func putLong(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

func putBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// putBytes adds a buffer; nil is null.
func putBytes(b, v []byte) []byte {
	if v == nil {
		return putInt(b, -1)
	}
	return append(putInt(b, int32(len(v))), v...)
}

func putString(b []byte, s string) []byte { return append(putInt(b, int32(len(s))), s...) }

// scanner reads what a server sent. What is missing reads as zero and is noted in short.
type scanner struct {
	rest  []byte
	short bool
}

func (s *scanner) take(n int) []byte {
	if n < 0 || n > len(s.rest) {
		s.short, s.rest = true, nil
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) int() int32 {
	if b := s.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (s *scanner) long() int64 {
	if b := s.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (s *scanner) byte() byte {
	if b := s.take(1); b != nil {
		return b[0]
	}
	return 0
}

// bytes reads a buffer or string; nil is null.
func (s *scanner) bytes() []byte {
	n := s.int()
	if n == -1 {
		return nil
	}
	b := s.take(int(n))
	if b == nil && !s.short {
		b = []byte{}
	}
	return b
}

// count reads the length of a vector, whose elements have at least four bytes.
func (s *scanner) count() int {
	n := int(s.int())
	if n > len(s.rest)/4 {
		s.short = true
		return 0
	}
	return n
}
