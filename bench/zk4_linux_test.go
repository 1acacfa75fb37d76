package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// TestZK4 holds what is promised about many sessions: what an idle one costs, that thousands may end at once, and that none
// is lost when a member is.
func TestZK4(t *testing.T) {
	wanted(t)
	binary := build(t)
	t.Run("idle", func(t *testing.T) { idleTest(t, binary) })
	t.Run("storm", func(t *testing.T) { stormTest(t, binary) })
}

// manyConnections lets all clients of a test come from one address, and be long silent.
var manyConnections = []string{"--zookeeper-max-client-cnxns", "0", "--zookeeper-max-session-timeout", "300000", "--zookeeper-4lw-whitelist", "*"}

const (
	idleSessions     = 10_000
	idleSessionKiB   = 32 // resident, for each
	expiringSessions = 5_000
	expiryTimeout    = 6 * time.Second
)

// idleTest opens 10,000 sessions at one member, and then 5,000 more that all end at once.
func idleTest(t *testing.T, binary string) {
	m := startCluster(t, binary, 1, manyConnections...)[0]
	by := newBystander(t, m)
	_, before := m.memory()
	start := time.Now()
	sessions := openSessions(t, m, idleSessions, 5*time.Minute)
	took := time.Since(start)
	each(t, len(sessions), func(i int) error { return sessions[i].ping() })
	m.settle()
	_, after := m.memory()
	apiece := (after - before) / idleSessions
	t.Logf("zk-4: %d idle sessions on one member: %d KiB resident each (limit %d), opened at %.0f/s", idleSessions, apiece>>10, idleSessionKiB,
		idleSessions/took.Seconds())
	if apiece > idleSessionKiB<<10 {
		t.Errorf("an idle session takes %d KiB, more than %d", apiece>>10, idleSessionKiB)
	}
	start = time.Now()
	cons := len(m.word("cons"))
	t.Logf("zk-4: cons of them: %d KB in %v", cons/1000, time.Since(start).Round(time.Millisecond))
	expiryTest(t, m, by)
	if n, want := m.figure("global_sessions"), int64(idleSessions+1); n != want {
		t.Errorf("%d sessions are left, want %d", n, want)
	}
}

// expiryTest opens sessions with a node each, and leaves them alone at once.
func expiryTest(t *testing.T, m *member, by *bystander) {
	if _, err := by.session.call(jute.OpCreate, &jute.CreateRequest{Path: "/ending", ACL: openACL()}); err != nil {
		t.Fatal(err)
	}
	sessions := openSessions(t, m, expiringSessions, expiryTimeout)
	each(t, len(sessions), func(i int) error { return sessions[i].createEphemeral(fmt.Sprint("/ending/", i)) })
	each(t, len(sessions), func(i int) error { return sessions[i].ping() })
	for _, s := range sessions {
		_ = s.socket.Close()
	}
	left := time.Now()
	looker := openSessions(t, m, 1, 20*time.Second)[0]
	count := func() uint32 {
		body, err := looker.call(jute.OpGetAllChildrenNumber, &jute.PathRequest{Path: "/ending"})
		if err != nil {
			t.Fatal(err)
		}
		return binary.BigEndian.Uint32(body)
	}
	var first time.Duration
	latencies := by.watch(func() {
		for n := count(); n > 0 && !t.Failed(); n = count() {
			if n < expiringSessions && first == 0 {
				first = time.Since(left)
			}
			if time.Since(left) > 10*expiryTimeout {
				t.Fatalf("%d nodes of ended sessions are left after %v", n, 10*expiryTimeout)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	all := time.Since(left)
	t.Logf("zk-4: %d sessions of %v with a node each left alone: the first ended after %v, the last %v later",
		expiringSessions, expiryTimeout, first.Round(time.Millisecond), (all - first).Round(time.Millisecond))
	t.Logf("zk-4: meanwhile %s", latencies)
	_ = looker.socket.Close()
	if _, err := by.session.call(jute.OpDelete, &jute.PathVersionRequest{Path: "/ending", Version: -1}); err != nil {
		t.Fatal(err)
	}
	// The looker's session ends with its timeout; close it properly so that the count is exact.
	again := &session{id: looker.id, password: looker.password, timeout: looker.timeout, zxid: looker.zxid}
	if err := again.open(m.zooKeeper); err != nil {
		t.Fatal(err)
	}
	if _, err := again.call(jute.OpCloseSession, nil); err != nil {
		t.Fatal(err)
	}
}

const (
	stormSessions = 9_000
	stormTimeout  = 20 * time.Second
)

// stormTest kills the leader of three members while 3,000 clients are at each. Those of the killed one go to the others
// with their sessions; none may be lost, nor any node of theirs.
func stormTest(t *testing.T, binary string) {
	members := startCluster(t, binary, 3, manyConnections...)
	root := openSessions(t, members[0], 1, stormTimeout)[0]
	if _, err := root.call(jute.OpCreate, &jute.CreateRequest{Path: "/storm", ACL: openACL()}); err != nil {
		t.Fatal(err)
	}
	var sessions []*session
	for _, m := range members {
		sessions = append(sessions, openSessions(t, m, stormSessions/len(members), stormTimeout)...)
	}
	at := func(i int) int { return i / (stormSessions / len(members)) } // the member of a session
	each(t, len(sessions), func(i int) error { return sessions[i].createEphemeral(fmt.Sprint("/storm/", i)) })
	leader := leaderOf(t, members)
	each(t, len(sessions), func(i int) error { return sessions[i].ping() })
	start := time.Now()
	members[leader].stop()
	var moved, lost atomic.Int64
	var last atomic.Int64
	each(t, len(sessions), func(i int) error {
		if at(i) != leader && sessions[i].ping() == nil {
			return nil // It is where it was.
		}
		_ = sessions[i].socket.Close()
		err := reopen(sessions[i], members, leader, i)
		if errors.Is(err, errExpired) {
			lost.Add(1)
			err = nil
		}
		moved.Add(1)
		last.Store(int64(time.Since(start)))
		return err
	})
	t.Logf("zk-4: the leader of three members is killed with %d of %d sessions: %d had to connect again, the last after %v; %d were lost",
		stormSessions/len(members), stormSessions, moved.Load(), time.Duration(last.Load()).Round(time.Millisecond), lost.Load())
	if lost.Load() > 0 {
		t.Errorf("%d sessions were lost", lost.Load())
	}
	each(t, len(sessions), func(i int) error { return sessions[i].ping() })
	for i, m := range members {
		if i == leader {
			continue
		}
		if n := m.figure("ephemerals_count"); n != stormSessions {
			t.Errorf("member %d has %d nodes of sessions, want %d", i, n, stormSessions)
		}
	}
}

// reopen goes round the members that are left until one takes the session.
func reopen(s *session, members []*member, gone, i int) error {
	deadline := time.Now().Add(stormTimeout)
	for {
		i++
		if m := i % len(members); m != gone {
			err := s.open(members[m].zooKeeper)
			if err == nil || errors.Is(err, errExpired) || time.Now().After(deadline) {
				return err
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func leaderOf(t *testing.T, members []*member) int {
	t.Helper()
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		for i, m := range members {
			if mode := m.mode(); mode == "leader" {
				return i
			}
		}
	}
	t.Fatal("no member says that it leads")
	return 0
}
