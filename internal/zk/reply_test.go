package zk

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

func TestEverydayOperations(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		var path jute.CreateResponse
		c.want(0, jute.OpCreate, create("/a", "one")).decode(t, &path)
		if path.Path != "/a" {
			t.Errorf("created %q", path.Path)
		}
		var made jute.Create2Response
		c.want(0, jute.OpCreate2, &jute.CreateRequest{Path: "/a/s-", ACL: open, Flags: command.FlagSequential}).decode(t, &made)
		if made.Path != "/a/s-0000000000" || made.Stat.Czxid == 0 {
			t.Errorf("created %+v", made)
		}
		c.want(0, jute.OpCreateContainer, &jute.CreateRequest{Path: "/c", ACL: open, Flags: command.FlagContainer}).decode(t, &made)
		c.want(jute.CodeUnimplemented, jute.OpCreateTTL, &jute.CreateTTLRequest{CreateRequest: jute.CreateRequest{Path: "/t", ACL: open, Flags: 5}, TTL: 10})

		var got jute.GetDataResponse
		c.want(0, jute.OpGetData, get("/a")).decode(t, &got)
		if string(got.Data) != "one" || got.Stat.DataLength != 3 || got.Stat.NumChildren != 1 || got.Stat.Czxid == got.Stat.Pzxid {
			t.Errorf("read %+v", got)
		}
		var stat jute.Stat
		c.want(0, jute.OpSetData, &jute.SetDataRequest{Path: "/a", Version: 0}).decode(t, &stat)
		if stat.Version != 1 || stat.DataLength != 0 {
			t.Errorf("stat after set %+v", stat)
		}
		c.want(0, jute.OpGetData, get("/a")).decode(t, &got)
		if got.Data != nil {
			t.Errorf("null data came back as %q", got.Data)
		}
		c.want(jute.CodeBadVersion, jute.OpSetData, &jute.SetDataRequest{Path: "/a", Version: 7})
		c.want(0, jute.OpExists, &jute.PathWatchRequest{Path: "/a", Watch: true}).decode(t, &stat)
		c.want(jute.CodeNoNode, jute.OpExists, get("/nowhere"))
		c.want(jute.CodeBadArguments, jute.OpExists, get("/nul\x00"))

		var names jute.ChildrenResponse
		c.want(0, jute.OpGetChildren, get("/a")).decode(t, &names)
		if !slices.Equal(names.Children, []string{"s-0000000000"}) {
			t.Errorf("children %q", names.Children)
		}
		var names2 jute.GetChildren2Response
		c.want(0, jute.OpGetChildren2, get("/c")).decode(t, &names2)
		if names2.Children == nil || len(names2.Children) != 0 || names2.Stat.Czxid == 0 {
			t.Errorf("children %+v, want an empty list and a stat", names2)
		}

		c.want(0, jute.OpSetACL, &jute.SetACLRequest{Path: "/a", ACL: []jute.ACL{{Perms: 31, Scheme: "world", ID: "anyone"}, {Perms: 1, Scheme: "ip", ID: "1.2.3.4"}}}).decode(t, &stat)
		if stat.Aversion != 1 {
			t.Errorf("stat after setACL %+v", stat)
		}
		var acl jute.GetACLResponse
		c.want(0, jute.OpGetACL, &jute.PathRequest{Path: "/a"}).decode(t, &acl)
		if len(acl.ACL) != 2 || acl.ACL[1] != (jute.ACL{Perms: 1, Scheme: "ip", ID: "1.2.3.4"}) {
			t.Errorf("acl %+v", acl)
		}
		c.want(jute.CodeInvalidACL, jute.OpCreate, &jute.CreateRequest{Path: "/x"})
		c.want(jute.CodeNotEmpty, jute.OpDelete, &jute.PathVersionRequest{Path: "/a", Version: -1})
		if r := c.want(0, jute.OpDelete, &jute.PathVersionRequest{Path: "/a/s-0000000000", Version: -1}); len(r.body) != 0 {
			t.Errorf("delete answers with a body %x", r.body)
		}
		var count jute.CountResponse
		c.want(0, jute.OpGetAllChildrenNumber, &jute.PathRequest{Path: "/"}).decode(t, &count)
		if count.Count != 5 { // /a, /c, and /zookeeper with its two.
			t.Errorf("%d nodes below the root", count.Count)
		}
	})
}

func TestEphemerals(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c, other := d.login(), d.login()
		for _, path := range []string{"/e1", "/e2", "/f"} {
			c.want(0, jute.OpCreate, &jute.CreateRequest{Path: path, ACL: open, Flags: command.FlagEphemeral})
		}
		for prefix, want := range map[string][]string{"": {"/e1", "/e2", "/f"}, "/": {"/e1", "/e2", "/f"}, "/e": {"/e1", "/e2"}, "/x": {}, " / ": {"/e1", "/e2", "/f"}, " /e": {}} {
			var paths jute.ChildrenResponse
			c.want(0, jute.OpGetEphemerals, &jute.PathRequest{Path: prefix}).decode(t, &paths)
			if diff := cmp.Diff(want, paths.Children); diff != "" {
				t.Errorf("ephemerals with prefix %q (-want +got):\n%s", prefix, diff)
			}
		}
		if r := c.call(jute.OpCloseSession, nil); r.Err != 0 || len(r.body) != 0 {
			t.Errorf("closeSession answers %+v", r)
		}
		c.wantClosed()
		other.want(jute.CodeNoNode, jute.OpExists, get("/f"))
	})
}

// What is sent behind a closeSession is not carried out.
func TestNothingAfterCloseSession(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/before", ""))
		c.send(jute.OpCloseSession, nil)
		go func() { // The server need not even read it.
			frame := jute.EndFrame(create("/after", "").Append((&jute.RequestHeader{Xid: 3, Op: 1}).Append(jute.BeginFrame(nil))), 0)
			_, _ = c.socket.Write(frame)
		}()
		c.wantNothing()
		if n := len(d.replica.pending()); n != 2 {
			t.Errorf("%d commands under way, want 2", n)
		}
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		if r := c.recv(); r.Xid != 2 || r.Err != 0 {
			t.Errorf("closeSession answers %+v", r)
		}
		c.wantClosed()
	})
}

// multi builds the body of a multi from headers and bodies in turn.
func multi(parts ...body) body {
	end := jute.MultiEnd()
	return append(many(parts), &end)
}

func op(code jute.OpCode) *jute.MultiHeader { return &jute.MultiHeader{Type: code, Err: -1} }

func TestMultiSuccess(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		ops := multi(
			op(jute.OpCreate), create("/m", ""),
			op(jute.OpCreate2), create("/m/a", ""),
			op(jute.OpCreateContainer), &jute.CreateRequest{Path: "/m/c", ACL: open, Flags: command.FlagContainer},
			op(jute.OpCreate), &jute.CreateRequest{Path: "/m/d", ACL: open, Flags: command.FlagContainer},
			op(jute.OpSetData), set("/m", "x"),
			op(jute.OpCheck), &jute.PathVersionRequest{Path: "/m", Version: 1},
			op(jute.OpDelete), &jute.PathVersionRequest{Path: "/m/a", Version: 0},
		)
		r := c.want(0, jute.OpMulti, ops)
		types := []jute.OpCode{1, 15, 15, 15, 5, 13, 2} // Whatever makes a Stat comes back as create2.
		var reader jute.Reader
		reader.Reset(r.body)
		for i, want := range types {
			var h jute.MultiHeader
			if h.Decode(&reader); h != (jute.MultiHeader{Type: want}) {
				t.Fatalf("element %d has header %+v, want type %d", i, h, want)
			}
			switch want {
			case jute.OpCreate:
				new(jute.CreateResponse).Decode(&reader)
			case jute.OpCreate2:
				new(jute.Create2Response).Decode(&reader)
			case jute.OpSetData:
				new(jute.Stat).Decode(&reader)
			}
		}
		var end jute.MultiHeader
		if end.Decode(&reader); end != jute.MultiEnd() || reader.Err() != nil || reader.Remaining() != 0 {
			t.Errorf("multi ends with %+v, %v, %d bytes left", end, reader.Err(), reader.Remaining())
		}
		empty := jute.MultiEnd()
		if r := c.want(0, jute.OpMulti, multi()); string(r.body) != string(empty.Append(nil)) {
			t.Errorf("empty multi answers %x", r.body)
		}
	})
}

// A failed multi has no error in its header, but one for each operation: 0 before the culprit, its
// own, and RUNTIMEINCONSISTENCY behind it. It uses up a zxid.
func TestMultiFailure(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		before := c.want(0, jute.OpCreate, create("/there", "")).Zxid
		r := c.want(0, jute.OpMulti, multi(
			op(jute.OpCreate), create("/m", ""),
			op(jute.OpCreate), create("/there", ""),
			op(jute.OpDelete), &jute.PathVersionRequest{Path: "/m"},
			op(jute.OpCheck), &jute.PathVersionRequest{Path: "/m"},
		))
		if r.Zxid != before+1 {
			t.Errorf("zxid %#x after %#x", r.Zxid, before)
		}
		want := many{}
		for _, code := range []jute.ErrorCode{0, jute.CodeNodeExists, -2, -2} {
			want = append(want, &jute.MultiHeader{Type: -1, Err: code}, &jute.ErrorResponse{Err: code})
		}
		end := jute.MultiEnd()
		if diff := cmp.Diff(append(want, &end).Append(nil), r.body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		c.want(jute.CodeNoNode, jute.OpExists, get("/m"))
	})
}

// What ZooKeeper cannot decode in a multi makes the whole request a marshalling error.
func TestMultiThatCannotBeDecoded(t *testing.T) {
	flags := func(code jute.OpCode, f int32) body {
		r := jute.CreateRequest{Path: "/x", ACL: open, Flags: f}
		if code == jute.OpCreateTTL {
			return multi(op(code), &jute.CreateTTLRequest{CreateRequest: r, TTL: 5})
		}
		return multi(op(code), &r)
	}
	cases := []struct {
		name string
		op   jute.OpCode
		body body
	}{
		{"unknown operation", jute.OpMulti, multi(op(jute.OpSetACL), raw{})},
		{"read among writes", jute.OpMulti, multi(op(jute.OpCreate), create("/x", ""), op(jute.OpGetData), get("/"))},
		{"write among reads", jute.OpMultiRead, multi(op(jute.OpGetData), get("/"), op(jute.OpCreate), create("/x", ""))},
		{"create flags that are none", jute.OpMulti, flags(jute.OpCreate, 7)},
		{"negative create flags", jute.OpMulti, flags(jute.OpCreate2, -1)},
		{"TTL flags without a TTL", jute.OpMulti, flags(jute.OpCreateContainer, 5)},
		{"no end", jute.OpMulti, many{op(jute.OpCreate), create("/x", "")}},
		{"nothing", jute.OpMulti, nil},
		{"nothing to read", jute.OpMultiRead, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				c := d.login()
				if r := c.want(jute.CodeMarshallingError, tc.op, tc.body); len(r.body) != 0 {
					t.Errorf("body %x", r.body)
				}
				c.want(jute.CodeNoNode, jute.OpExists, get("/x")) // The connection lives on.
			})
		})
	}
}

func TestMultiCreateReplies(t *testing.T) {
	const garbled = jute.OpCode(0)
	// By flags: 0 to 3 plain, 4 container, 5 and 6 TTL, 7 and -1 nothing.
	want := map[jute.OpCode][9]jute.OpCode{
		jute.OpCreate:          {1, 1, 1, 1, 15, garbled, garbled, garbled, garbled},
		jute.OpCreate2:         {15, 15, 15, 15, 15, garbled, garbled, garbled, garbled},
		jute.OpCreateContainer: {15, 15, 15, 15, 15, garbled, garbled, garbled, garbled},
		jute.OpCreateTTL:       {1, 1, 1, 1, 15, 15, 15, 1, 1},
	}
	for code, replies := range want {
		for i, flags := range []int32{0, 1, 2, 3, 4, 5, 6, 7, -1} {
			got, err := multiCreateReply(code, flags)
			if got != replies[i] || (err != nil) != (replies[i] == garbled) {
				t.Errorf("opcode %d with flags %d: type %d, error %v, want type %d", code, flags, got, err, replies[i])
			}
		}
	}
}

func TestMultiRead(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpCreate, create("/a", "x"))
		r := c.want(0, jute.OpMultiRead, multi(op(jute.OpGetData), get("/a"), op(jute.OpGetData), get("/none"), op(jute.OpGetChildren), get("/a")))
		var reader jute.Reader
		reader.Reset(r.body)
		var h jute.MultiHeader
		var data jute.GetDataResponse
		if h.Decode(&reader); h != (jute.MultiHeader{Type: jute.OpGetData}) {
			t.Errorf("first header %+v", h)
		}
		if data.Decode(&reader); string(data.Data) != "x" || data.Stat.Czxid == 0 {
			t.Errorf("first result %+v", data)
		}
		var failure jute.ErrorResponse
		h.Decode(&reader)
		if failure.Decode(&reader); h != (jute.MultiHeader{Type: -1, Err: jute.CodeNoNode}) || failure.Err != jute.CodeNoNode {
			t.Errorf("second result %+v %+v", h, failure)
		}
		var names jute.ChildrenResponse
		h.Decode(&reader)
		if names.Decode(&reader); h != (jute.MultiHeader{Type: jute.OpGetChildren}) || names.Children == nil {
			t.Errorf("third result %+v %+v", h, names)
		}
		if h.Decode(&reader); h != jute.MultiEnd() || reader.Remaining() != 0 {
			t.Errorf("end %+v", h)
		}
	})
}

// Clients take a null vector for an error; a node without children has an empty one.
func TestNoChildrenAreNotNull(t *testing.T) {
	for _, code := range []jute.OpCode{jute.OpGetChildren, jute.OpGetChildren2, jute.OpGetEphemerals} {
		b := appendSeen(nil, &item{op: code}, &look{})
		if got := b[:4]; string(got) != "\x00\x00\x00\x00" {
			t.Errorf("opcode %d: the vector begins with %x", code, got)
		}
	}
}

// Watches of a client that has lost its connection are taken; there is no reply but the header.
func TestSetWatchesIsTaken(t *testing.T) {
	inside(t, Options{}, func(d *door) {
		c := d.login()
		m := jute.SetWatches{RelativeZxid: 1 << 50, Data: []string{"/"}, Exist: []string{}, Child: []string{"/"}}
		for _, code := range []jute.OpCode{jute.OpSetWatches, jute.OpSetWatches2} {
			c.sendAs(jute.XidSetWatches, code, raw(m.Append(nil, code)))
			if r := c.recv(); r.Xid != jute.XidSetWatches || r.Err != 0 || len(r.body) != 0 {
				t.Errorf("opcode %d answers %+v", code, r)
			}
		}
		c.want(jute.CodeMarshallingError, jute.OpSetWatches2, raw(m.Append(nil, jute.OpSetWatches)))
	})
}

func TestAuthentication(t *testing.T) {
	sum := sha1.Sum([]byte("ann:secret"))
	ann := "ann:" + base64.StdEncoding.EncodeToString(sum[:])
	inside(t, Options{}, func(d *door) {
		c, other := d.login(), d.login()
		for range 2 { // A repeat changes nothing.
			c.sendAs(jute.XidAuth, jute.OpAuth, &jute.AuthPacket{Scheme: "digest", Auth: []byte("ann:secret")})
			if r := c.recv(); r.ReplyHeader != (jute.ReplyHeader{Xid: jute.XidAuth}) || len(r.body) != 0 {
				t.Errorf("auth answers %+v", r)
			}
		}
		r := c.want(0, jute.OpWhoAmI, nil)
		var reader jute.Reader
		reader.Reset(r.body)
		var who jute.ClientInfo
		if n := reader.Count(8); n != 1 {
			t.Fatalf("%d identities, want 1", n)
		}
		if who.Decode(&reader); who != (jute.ClientInfo{Scheme: "digest", User: "ann"}) {
			t.Errorf("identity %+v", who)
		}
		c.want(0, jute.OpCreate, &jute.CreateRequest{Path: "/mine", ACL: []jute.ACL{{Perms: 31, Scheme: "digest", ID: ann}}})
		c.want(0, jute.OpGetData, get("/mine"))
		other.want(jute.CodeNoAuth, jute.OpGetData, get("/mine"))
		other.want(jute.CodeNoAuth, jute.OpSetData, set("/mine", ""))
		if r := c.want(0, jute.OpSASL, &jute.SASLToken{Token: []byte("x")}); r.Zxid != 0 || string(r.body) != "\xff\xff\xff\xff" {
			t.Errorf("sasl answers %+v, want a null token", r)
		}
	})
}

// TestDigestOfBytesThatAreNoText: the digest is that of what Java reads, not of the bytes.
func TestDigestOfBytesThatAreNoText(t *testing.T) {
	want := digestIdentity([]byte("\u00e9:\ufffd\ufffd"))
	if got := digestIdentity([]byte("\u00e9:\xff\xff")); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A request is made by whoever the client was when it sent it.
func TestIdentityIsThatOfTheSubmission(t *testing.T) {
	sum := sha1.Sum([]byte("u:p"))
	id := "u:" + base64.StdEncoding.EncodeToString(sum[:])
	inside(t, Options{}, func(d *door) {
		c := d.login()
		d.replica.do(command.Caller{}, &command.Create{Path: "/n", TTL: command.NoTTL, ACL: []command.ACL{{Perms: 31, Scheme: "digest", ID: id}}})
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/x", ""))
		c.send(jute.OpGetData, get("/n"))
		c.send(jute.OpSetData, set("/n", ""))
		c.sendAs(jute.XidAuth, jute.OpAuth, &jute.AuthPacket{Scheme: "digest", Auth: []byte("u:p")})
		c.send(jute.OpSetData, set("/n", ""))
		c.send(jute.OpGetData, get("/n"))
		c.wantNothing()
		d.replica.set(func() { d.replica.held = false })
		for i, want := range []jute.ErrorCode{0, jute.CodeNoAuth, jute.CodeNoAuth, 0, 0, 0} {
			if r := c.recv(); r.Err != want {
				t.Errorf("reply %d has error %d, want %d", i, r.Err, want)
			}
		}
	})
}

func TestRefusedAuthentication(t *testing.T) {
	cases := map[string]*jute.AuthPacket{
		"unknown scheme": {Scheme: "kerberos", Auth: []byte("x")},
		"world":          {Scheme: "world", Auth: []byte("anyone")},
		"super":          {Scheme: "super", Auth: []byte("x")},
		"digest of null": {Scheme: "digest"},
	}
	for name, packet := range cases {
		t.Run(name, func(t *testing.T) {
			inside(t, Options{}, func(d *door) {
				c := d.login()
				c.sendAs(jute.XidAuth, jute.OpAuth, packet)
				if r := c.recv(); r.ReplyHeader != (jute.ReplyHeader{Xid: jute.XidAuth, Err: jute.CodeAuthFailed}) {
					t.Errorf("answer %+v", r)
				}
				c.wantClosed()
			})
		})
	}
}

func TestIdentitiesAreBounded(t *testing.T) {
	var ids []command.Identity
	ok := true
	for i := 0; ok; i++ {
		ids, ok = authenticate(ids, &jute.AuthPacket{Scheme: "digest", Auth: []byte{byte(i)}}, "")
	}
	if len(ids) != maxIdentities {
		t.Errorf("%d identities, want at most %d", len(ids), maxIdentities)
	}
}

// Every code has a number for clients, or ends the connection; none is answered with success.
func TestEveryCodeHasAnAnswer(t *testing.T) {
	for c := state.OK + 1; c.String() != "unknown code"; c++ {
		code, err := wireCode(c)
		if err == nil && code == jute.CodeOK {
			t.Errorf("%v is answered with success", c)
		}
	}
}
