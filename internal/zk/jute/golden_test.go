package jute

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// record is what every message has.
type record interface {
	Decode(*Reader)
	Append([]byte) []byte
}

// setWatches gives SetWatches the two methods of a record.
type setWatches struct {
	SetWatches
	op OpCode
}

func (m *setWatches) Decode(r *Reader)       { m.SetWatches.Decode(r, m.op) }
func (m *setWatches) Append(b []byte) []byte { return m.SetWatches.Append(b, m.op) }
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var someStat = Stat{
	Czxid: 1, Mzxid: 2, Ctime: 3, Mtime: 4, Version: 5, Cversion: -1, Aversion: 7,
	EphemeralOwner: 0x0100000000000008, DataLength: 9, NumChildren: 10, Pzxid: 11,
}

const someStatHex = `0000000000000001 0000000000000002 0000000000000003 0000000000000004
	00000005 ffffffff 00000007 0100000000000008 00000009 0000000a 000000000000000b`

// golden are records and their bytes, written by hand after zookeeper.jute and the rules of the
// encoding: they must never change.
var golden = []struct {
	name  string
	value record
	empty record
	hex   string
}{
	{"connect request of a new client",
		&ConnectRequest{TimeoutMS: 30000, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: true}, &ConnectRequest{},
		`00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 01`},
	{"connect request without the read-only byte",
		&ConnectRequest{ProtocolVersion: 1, LastZxidSeen: 0x200000003, TimeoutMS: -1, SessionID: -2, Password: []byte{}}, &ConnectRequest{},
		`00000001 0000000200000003 ffffffff fffffffffffffffe 00000000`},
	{"connect request with a null password",
		&ConnectRequest{}, &ConnectRequest{}, `00000000 0000000000000000 00000000 0000000000000000 ffffffff`},
	{"connect response",
		&ConnectResponse{TimeoutMS: 4000, SessionID: 0x0100000000000001, Password: bytes.Repeat([]byte{0xab}, 16), HasReadOnly: true}, &ConnectResponse{},
		`00000000 00000fa0 0100000000000001 00000010 abababababababababababababababab 00`},
	{"request header", &RequestHeader{Xid: XidPing, Op: OpPing}, &RequestHeader{}, `fffffffe 0000000b`},
	{"reply header", &ReplyHeader{Xid: 7, Zxid: 0x100000002, Err: CodeNoNode}, &ReplyHeader{}, `00000007 0000000100000002 ffffff9b`},
	{"stat", &someStat, &Stat{}, someStatHex},
	{"create", &CreateRequest{Path: "/a", Data: []byte("xy"), ACL: []ACL{{31, "world", "anyone"}}, Flags: 3}, &CreateRequest{},
		`00000002 2f61 00000002 7879 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000003`},
	{"create with nulls", &CreateRequest{Path: "/a"}, &CreateRequest{}, `00000002 2f61 ffffffff ffffffff 00000000`},
	{"create with nothing", &CreateRequest{Data: []byte{}, ACL: []ACL{}}, &CreateRequest{}, `00000000 00000000 00000000 00000000`},
	{"createTTL", &CreateTTLRequest{CreateRequest{Path: "/a", Flags: 5}, 1000}, &CreateTTLRequest{},
		`00000002 2f61 ffffffff ffffffff 00000005 00000000000003e8`},
	{"delete", &PathVersionRequest{"/é", -1}, &PathVersionRequest{}, `00000003 2fc3a9 ffffffff`},
	{"getData", &PathWatchRequest{"/", true}, &PathWatchRequest{}, `00000001 2f 01`},
	{"getACL", &PathRequest{"/"}, &PathRequest{}, `00000001 2f`},
	{"setData", &SetDataRequest{"/a", []byte{0}, 2}, &SetDataRequest{}, `00000002 2f61 00000001 00 00000002`},
	{"setACL", &SetACLRequest{"/a", []ACL{{1, "ip", "::1"}}, 0}, &SetACLRequest{},
		`00000002 2f61 00000001 00000001 00000002 6970 00000003 3a3a31 00000000`},
	{"multi header", &MultiHeader{OpCreate, false, -1}, &MultiHeader{}, `00000001 00 ffffffff`},
	{"multi end", &MultiHeader{-1, true, -1}, &MultiHeader{}, `ffffffff 01 ffffffff`},
	{"setWatches", &setWatches{SetWatches{RelativeZxid: 9, Data: []string{"/a"}, Exist: []string{}, Child: nil}, OpSetWatches}, &setWatches{op: OpSetWatches},
		`0000000000000009 00000001 00000002 2f61 00000000 ffffffff`},
	{"setWatches2", &setWatches{SetWatches{Persistent: []string{"/p"}, PersistentRecursive: []string{"/r", "/s"}}, OpSetWatches2}, &setWatches{op: OpSetWatches2},
		`0000000000000000 ffffffff ffffffff ffffffff 00000001 00000002 2f70 00000002 00000002 2f72 00000002 2f73`},
	{"addWatch", &WatchRequest{"/a", 1}, &WatchRequest{}, `00000002 2f61 00000001`},
	{"auth", &AuthPacket{0, "digest", []byte("u:p")}, &AuthPacket{}, `00000000 00000006 646967657374 00000003 753a70`},
	{"sasl", &SASLToken{nil}, &SASLToken{}, `ffffffff`},
	{"event", &WatcherEvent{EventNodeDataChanged, StateSyncConnected, "/a"}, &WatcherEvent{}, `00000003 00000003 00000002 2f61`},
	{"create response", &CreateResponse{"/a"}, &CreateResponse{}, `00000002 2f61`},
	{"create2 response", &Create2Response{"/a", someStat}, &Create2Response{}, `00000002 2f61` + someStatHex},
	{"getData response", &GetDataResponse{nil, someStat}, &GetDataResponse{}, `ffffffff` + someStatHex},
	{"getACL response", &GetACLResponse{[]ACL{{31, "", ""}}, someStat}, &GetACLResponse{}, `00000001 0000001f 00000000 00000000` + someStatHex},
	{"children", &ChildrenResponse{[]string{"a", "b"}}, &ChildrenResponse{}, `00000002 00000001 61 00000001 62`},
	{"children2", &GetChildren2Response{[]string{}, someStat}, &GetChildren2Response{}, `00000000` + someStatHex},
	{"error", &ErrorResponse{CodeRuntimeInconsistency}, &ErrorResponse{}, `fffffffe`},
	{"count", &CountResponse{3}, &CountResponse{}, `00000003`},
	{"client info", &ClientInfo{"ip", "10.0.0.1"}, &ClientInfo{}, `00000002 6970 00000008 31302e302e302e31`},
}

func TestGolden(t *testing.T) {
	allow := cmp.AllowUnexported(setWatches{})
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.hex)
			if got := g.value.Append(nil); !bytes.Equal(got, want) {
				t.Errorf("encoded to\n%x, want\n%x", got, want)
			}
			var r Reader
			r.Reset(want)
			g.empty.Decode(&r)
			if r.Err() != nil || r.Remaining() != 0 {
				t.Fatalf("decoded with error %v, %d bytes left", r.Err(), r.Remaining())
			}
			if diff := cmp.Diff(g.value, g.empty, allow); diff != "" {
				t.Errorf("decoded to something else (-want +got):\n%s", diff)
			}
		})
	}
}

// A message that is cut anywhere is refused; the two records with an optional last byte are not
// when just that is missing.
func TestTruncatedRecordsAreRefused(t *testing.T) {
	for _, g := range golden {
		whole := unhex(t, g.hex)
		for n := range whole {
			if n == len(whole)-1 && strings.HasPrefix(g.name, "connect") && len(whole)%4 == 1 {
				continue
			}
			var r Reader
			r.Reset(whole[:n])
			if g.empty.Decode(&r); r.Err() == nil {
				t.Errorf("%s cut after %d of %d bytes was decoded", g.name, n, len(whole))
			}
		}
	}
}
