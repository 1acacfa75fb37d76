package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

// goClient is a user of go-zookeeper at one server.
type goClient struct {
	*testing.T
	address string
}

// quiet drops what go-zookeeper logs.
type quiet struct{}

// Printf implements zk.Logger.
func (quiet) Printf(string, ...any) {}

// connect opens a session.
func (g goClient) connect() *zk.Conn {
	g.Helper()
	c, events, err := zk.Connect([]string{g.address}, 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(c.Close)
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return c
			}
		case <-time.After(20 * time.Second):
			g.Fatal("no session")
		}
	}
}

// must fails the test if a call did.
func (g goClient) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// refused wants a call to be refused.
func (g goClient) refused(err, want error) {
	g.Helper()
	if !errors.Is(err, want) {
		g.Errorf("got %v, want %v", err, want)
	}
}

// event waits for one event.
func (g goClient) event(events <-chan zk.Event, typ zk.EventType, path string) {
	g.Helper()
	select {
	case e := <-events:
		if e.Type != typ || e.Path != path {
			g.Errorf("got %v of %s, want %v of %s", e.Type, e.Path, typ, path)
		}
	case <-time.After(20 * time.Second):
		g.Fatalf("no %v of %s", typ, path)
	}
}

var openToAll = zk.WorldACL(zk.PermAll)

// TestZKClientGo runs go-zookeeper's everyday operations and its lock.
func TestZKClientGo(t *testing.T) {
	scenarios := map[string]func(g goClient){
		"everyday": goClient.everyday, "multi": goClient.multi, "access": goClient.access, "watches": goClient.watches,
		"ephemerals": goClient.ephemerals, "lock": goClient.lock, "words": goClient.words,
	}
	for _, server := range servers(t) {
		name, address, _ := strings.Cut(server, "=")
		for scenario, run := range scenarios {
			t.Run(name+"/"+scenario, func(t *testing.T) { run(goClient{t, address}) })
		}
	}
	if !t.Failed() {
		t.Logf("go-zookeeper: %d scenarios, the same at ZooKeeper and at okapi", len(scenarios))
	}
}

func (g goClient) everyday() {
	c := g.connect()
	_, err := c.Create("/go", nil, 0, openToAll)
	g.must(err)
	path, err := c.Create("/go/s-", []byte("one"), zk.FlagSequence, openToAll)
	g.must(err)
	if path != "/go/s-0000000000" {
		g.Errorf("created %s", path)
	}
	_, err = c.Create(path, nil, 0, openToAll)
	g.refused(err, zk.ErrNodeExists)
	data, stat, err := c.Get(path)
	g.must(err)
	if string(data) != "one" || stat.Version != 0 || stat.Czxid != stat.Pzxid {
		g.Errorf("read %q, %+v", data, stat)
	}
	_, err = c.Set(path, []byte("two"), 7)
	g.refused(err, zk.ErrBadVersion)
	stat, err = c.Set(path, []byte("two"), 0)
	g.must(err)
	if stat.Version != 1 {
		g.Errorf("after a set the stat is %+v", stat)
	}
	_, err = c.CreateContainer("/go/c", nil, zk.FlagContainer, openToAll)
	g.must(err)
	_, err = c.CreateTTL("/go/t", nil, zk.FlagTTL, openToAll, 100*time.Second)
	g.must(err)
	names, stat, err := c.Children("/go")
	g.must(err)
	slices.Sort(names)
	if fmt.Sprint(names) != "[c s-0000000000 t]" || stat.NumChildren != 3 {
		g.Errorf("children %v, %+v", names, stat)
	}
	there, _, err := c.Exists("/go/none")
	g.must(err)
	if there {
		g.Error("/go/none is there")
	}
	g.refused(c.Delete("/go", -1), zk.ErrNotEmpty)
	g.must(c.Delete(path, 1))
	_, err = c.Sync("/go")
	g.must(err)
}

func (g goClient) multi() {
	c := g.connect()
	results, err := c.Multi(&zk.CreateRequest{Path: "/go-multi", Acl: openToAll}, &zk.SetDataRequest{Path: "/go-multi", Data: []byte("x")},
		&zk.CheckVersionRequest{Path: "/go-multi", Version: 1})
	g.must(err)
	if results[0].String != "/go-multi" || results[1].Stat.Version != 1 {
		g.Errorf("results %+v", results)
	}
	_, err = c.Multi(&zk.DeleteRequest{Path: "/go-multi", Version: 1}, &zk.CheckVersionRequest{Path: "/go-none"})
	g.refused(err, zk.ErrNoNode)
	_, _, err = c.Get("/go-multi")
	g.must(err)
}

func (g goClient) access() {
	c, other := g.connect(), g.connect()
	g.must(c.AddAuth("digest", []byte("ann:secret")))
	_, err := c.Create("/go-acl", nil, 0, zk.AuthACL(zk.PermAll))
	g.must(err)
	_, _, err = other.Get("/go-acl")
	g.refused(err, zk.ErrNoAuth)
	acl, _, err := c.GetACL("/go-acl")
	g.must(err)
	if want := zk.DigestACL(zk.PermAll, "ann", "secret"); fmt.Sprint(acl) != fmt.Sprint(want) {
		g.Errorf("list %v, want %v", acl, want)
	}
	_, err = other.Create("/go-acl2", nil, 0, zk.AuthACL(zk.PermAll))
	g.refused(err, zk.ErrInvalidACL)
}

func (g goClient) watches() {
	c, other := g.connect(), g.connect()
	_, _, exists, err := c.ExistsW("/go-watch")
	g.must(err)
	_, err = other.Create("/go-watch", nil, 0, openToAll)
	g.must(err)
	g.event(exists, zk.EventNodeCreated, "/go-watch")
	_, _, data, err := c.GetW("/go-watch")
	g.must(err)
	_, _, children, err := c.ChildrenW("/go-watch")
	g.must(err)
	_, err = other.Set("/go-watch", []byte("x"), -1)
	g.must(err)
	g.event(data, zk.EventNodeDataChanged, "/go-watch")
	_, err = other.Create("/go-watch/a", nil, 0, openToAll)
	g.must(err)
	g.event(children, zk.EventNodeChildrenChanged, "/go-watch")
	_, _, gone, err := c.GetW("/go-watch/a")
	g.must(err)
	g.must(other.Delete("/go-watch/a", -1))
	g.event(gone, zk.EventNodeDeleted, "/go-watch/a")
}

func (g goClient) ephemerals() {
	c, other := g.connect(), g.connect()
	path, err := other.CreateProtectedEphemeralSequential("/go-e-", nil, openToAll)
	g.must(err)
	there, stat, gone, err := c.ExistsW(path)
	g.must(err)
	if !there || stat.EphemeralOwner != other.SessionID() {
		g.Errorf("there: %v, owner %#x, want %#x", there, stat.EphemeralOwner, other.SessionID())
	}
	other.Close()
	g.event(gone, zk.EventNodeDeleted, path)
}

func (g goClient) lock() {
	var working sync.WaitGroup
	var mu sync.Mutex
	inside, most := 0, 0
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		inside += by
		most = max(most, inside)
	}
	for range 4 {
		lock := zk.NewLock(g.connect(), "/go-lock", openToAll)
		working.Go(func() {
			for range 5 {
				if err := lock.Lock(); err != nil {
					g.Errorf("lock: %v", err)
					return
				}
				count(1)
				count(-1)
				if err := lock.Unlock(); err != nil {
					g.Errorf("unlock: %v", err)
				}
			}
		})
	}
	working.Wait()
	if most != 1 {
		g.Errorf("%d had the lock at once", most)
	}
}

func (g goClient) words() {
	if got := zk.FLWRuok([]string{g.address}, 5*time.Second); !slices.Equal(got, []bool{true}) {
		g.Errorf("ruok: %v", got)
	}
}
