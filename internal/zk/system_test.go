package zk

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// Tests of what ZooKeeper has below /zookeeper, and of the super user, who alone may change some of it.

const rootPassword = "root:secret"

func superOptions() Options {
	sum := sha1.Sum([]byte(rootPassword))
	return Options{SuperDigest: "root:" + base64.StdEncoding.EncodeToString(sum[:])}
}

// auth authenticates with a digest.
func (c *client) auth(userAndPassword string) {
	c.t.Helper()
	c.sendAs(jute.XidAuth, jute.OpAuth, &jute.AuthPacket{Scheme: "digest", Auth: []byte(userAndPassword)})
	if r := c.recv(); r.Err != 0 {
		c.t.Fatalf("auth answers %d", r.Err)
	}
}

// who returns what whoAmI answers, as scheme:user.
func (c *client) who() []string {
	c.t.Helper()
	r := c.want(0, jute.OpWhoAmI, nil)
	var reader jute.Reader
	reader.Reset(r.body)
	var out []string
	for range reader.Count(8) {
		var m jute.ClientInfo
		m.Decode(&reader)
		out = append(out, m.Scheme+":"+m.User)
	}
	return out
}

func TestSuperUser(t *testing.T) {
	closed := []jute.ACL{{Perms: 31, Scheme: "digest", ID: "owner:" + base64.StdEncoding.EncodeToString(make([]byte, 20))}}
	inside(t, superOptions(), func(d *door) {
		owner, other, super := d.login(), d.login(), d.login()
		m := create("/closed", "x")
		m.ACL = closed
		owner.want(0, jute.OpCreate, m)
		for _, password := range []string{"root:wrong", "other:secret", rootPassword + "\n"} {
			other.auth(password)
		}
		other.want(jute.CodeNoAuth, jute.OpGetData, get("/closed"))
		if diff := cmp.Diff([]string{"digest:root", "digest:other", "digest:root"}, other.who()); diff != "" {
			t.Error(diff)
		}
		super.want(jute.CodeNoAuth, jute.OpGetData, get("/closed"))
		for range 2 { // The second time changes nothing.
			super.auth(rootPassword)
			if diff := cmp.Diff([]string{"super:", "digest:root"}, super.who()); diff != "" {
				t.Error(diff)
			}
		}
		super.want(0, jute.OpGetData, get("/closed"))
		super.want(0, jute.OpSetData, set("/closed", "y"))
		super.want(0, jute.OpCreate, create("/closed/child", ""))
		super.want(0, jute.OpSetACL, &jute.SetACLRequest{Path: "/closed", ACL: open, Version: -1})
		other.want(0, jute.OpGetData, get("/closed"))
		// An access list auth names the user by his digest, never as the super user.
		m = create("/mine", "")
		m.ACL = []jute.ACL{{Perms: 31, Scheme: "auth"}}
		super.want(0, jute.OpCreate, m)
		r := super.want(0, jute.OpGetACL, &jute.PathRequest{Path: "/mine"})
		var reader jute.Reader
		reader.Reset(r.body)
		var a jute.ACL
		if n := reader.Count(12); n != 1 {
			t.Fatalf("%d entries", n)
		}
		if a.Decode(&reader); a.Scheme != "digest" || a.ID != superOptions().SuperDigest {
			t.Errorf("entry %+v", a)
		}
	})
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.auth(rootPassword)
		if diff := cmp.Diff([]string{"digest:root"}, c.who()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSuperDigestForm(t *testing.T) {
	for text, want := range map[string]bool{
		superOptions().SuperDigest: true,
		"":                         false, "root": false, "root:": false, "root:secret": false,
		":" + base64.StdEncoding.EncodeToString(make([]byte, 20)):  false,
		"r:" + base64.StdEncoding.EncodeToString(make([]byte, 32)): false,
	} {
		if got := ValidSuperDigest(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// stat returns the Stat of a node.
func (c *client) stat(path string) jute.Stat {
	c.t.Helper()
	var m jute.Stat
	c.want(0, jute.OpExists, get(path)).decode(c.t, &m)
	return m
}

// The nodes that are there from the start (org.apache.zookeeper.server.DataTree, constructor and addConfigNode).
func TestSystemNodes(t *testing.T) {
	inside(t, superOptions(), func(d *door) {
		c := d.login()
		for path, want := range map[string]jute.Stat{
			"/":                 {Cversion: -1, NumChildren: 1},
			"/zookeeper":        {Cversion: -2, NumChildren: 2},
			"/zookeeper/config": {Version: -1, Aversion: -1},
			"/zookeeper/quota":  {},
		} {
			if diff := cmp.Diff(want, c.stat(path)); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
			var data jute.GetDataResponse
			if c.want(0, jute.OpGetData, get(path)).decode(t, &data); data.Data == nil || len(data.Data) != 0 {
				t.Errorf("%s has data %v, want empty data, not null", path, data.Data)
			}
			if path == "/" {
				continue
			}
			c.want(jute.CodeNodeExists, jute.OpCreate, create(path, ""))
			c.want(jute.CodeBadArguments, jute.OpDelete, &jute.PathVersionRequest{Path: path, Version: -1})
		}
		for path, want := range map[string]jute.ACL{
			"/zookeeper":        {Perms: 31, Scheme: "world", ID: "anyone"},
			"/zookeeper/config": {Perms: 1, Scheme: "world", ID: "anyone"},
			"/zookeeper/quota":  {Perms: 31, Scheme: "world", ID: "anyone"},
		} {
			r := c.want(0, jute.OpGetACL, &jute.PathRequest{Path: path})
			var reader jute.Reader
			reader.Reset(r.body)
			var got jute.ACL
			n := reader.Count(12)
			if got.Decode(&reader); n != 1 || got != want {
				t.Errorf("%s has %d entries, the first %+v, want %+v", path, n, got, want)
			}
		}
		// The node with the members is nobody's to write but the super user's; watches on it are like others.
		c.want(jute.CodeNoAuth, jute.OpSetData, set("/zookeeper/config", "x"))
		c.want(jute.CodeNoAuth, jute.OpCreate, create("/zookeeper/config/x", ""))
		c.want(0, jute.OpGetData, watched("/zookeeper/config"))
		super := d.login()
		super.auth(rootPassword)
		super.want(0, jute.OpSetData, set("/zookeeper/config", "server.1"))
		if got := c.events(); got != "M/zookeeper/config" {
			t.Errorf("events %s", got)
		}
		super.want(jute.CodeBadArguments, jute.OpDelete, &jute.PathVersionRequest{Path: "/zookeeper/config", Version: -1})
	})
}

// A quota is two nodes that a client makes; the second is kept up to date without becoming a change.
func TestQuotaNodes(t *testing.T) {
	const limits, stats = "/zookeeper/quota/app/zookeeper_limits", "/zookeeper/quota/app/zookeeper_stats"
	inside(t, Options{}, func(d *door) {
		c := d.login()
		c.want(0, jute.OpCreate, create("/app", "12345"))
		c.want(0, jute.OpCreate, create("/app/child", "123"))
		c.want(0, jute.OpCreate, create("/zookeeper/quota/app", ""))
		c.want(0, jute.OpCreate, create(limits, "count=10,bytes=100=;byteHardLimit=-1;countHardLimit=-1"))
		c.want(0, jute.OpCreate, create(stats, "count=0,bytes=0"))
		usage := func(count, bytes int) {
			t.Helper()
			if got, want := c.want(0, jute.OpGetData, watched(stats)).data(t), fmt.Sprintf("count=%d,bytes=%d", count, bytes); got != want {
				t.Errorf("usage is %s, want %s", got, want)
			}
		}
		before := c.stat(stats)
		usage(2, 8)
		c.want(0, jute.OpCreate, create("/app/other", "1"))
		c.want(0, jute.OpSetData, set("/app/child", "12345678"))
		usage(3, 14)
		c.want(0, jute.OpDelete, &jute.PathVersionRequest{Path: "/app/other", Version: -1})
		m := create("/app/e", "12")
		m.Flags = command.FlagEphemeral
		c.want(0, jute.OpCreate, m)
		usage(3, 15)
		c.want(0, jute.OpMulti, multi(op(jute.OpCreate), create("/app/m", "xx"), op(jute.OpDelete), &jute.PathVersionRequest{Path: "/app/e", Version: -1}))
		usage(3, 15)
		after := c.stat(stats)
		before.DataLength = after.DataLength
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("the usage became a change: %s", diff)
		}
		if got := c.events(); got != "" {
			t.Errorf("events %s", got)
		}
		// Soft limits, and hard ones unless they are enforced, refuse nothing.
		for i := range 20 {
			c.want(0, jute.OpCreate, create(fmt.Sprint("/app/n", i), "123456789"))
		}
		usage(23, 195)
	})
}
