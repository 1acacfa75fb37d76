package zk

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// word sends a four-letter word and returns all that comes back.
func (d *door) word(word string) string {
	d.t.Helper()
	c := d.dialMute()
	go func() { _, _ = c.socket.Write([]byte(word)) }()
	answer, err := io.ReadAll(c.socket)
	if err != nil {
		d.t.Fatalf("%s: %v", word, err)
	}
	synctest.Wait() // until the connection is no longer counted
	return string(answer)
}

// wantWord insists on the answer to a word.
func (d *door) wantWord(word, want string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.word(word)); diff != "" {
		d.t.Errorf("%s: %s", word, diff)
	}
}

// host is a host with fixed figures.
type host struct{}

func (host) Folders() (snapshots, log string) { return "/data/snap", "/data/wal" }
func (host) Sizes() (snapshots, log int64)    { return 1000, 64 << 20 }
func (host) Descriptors() (open, most int64)  { return 12, 1024 }
func (host) Environment() (pairs [][2]string) {
	return [][2]string{{"host.name", "h"}, {"os.name", "Linux"}}
}
func everyWord() Options                       { return Options{FourLetterWords: []string{AllWords}, Host: host{}} }
func (d *door) setRole(role Role)              { d.replica.set(func() { d.replica.role = role }) }
func (d *door) pass(t time.Duration)           { time.Sleep(t); synctest.Wait() } // in the bubble's time
func (c *client) watch(op jute.OpCode, m body) { c.t.Helper(); c.call(op, m) }

func TestWhitelist(t *testing.T) {
	off := func(word string) string { return word + " is not executed because it is not in the whitelist.\n" }
	inside(t, Options{}, func(d *door) {
		for word, want := range map[string]string{
			"ruok": "imok", "isro": "rw", "ruok\n": "imok", "RUOK": "", "what": "",
			"stat": off("stat"), "mntr": off("mntr"), "hash": off("hash"), "stmk": off("stmk"), "gtmk": off("gtmk"), "lead": off("lead"),
		} {
			d.wantWord(word, want)
		}
		if got := d.word("srvr"); !strings.HasPrefix(got, "Zookeeper version: 3.9.4-okapi, built on 01/02/2026 03:04 UTC\n") {
			t.Errorf("srvr answers %q", got)
		}
	})
	inside(t, Options{FourLetterWords: []string{"mntr"}}, func(d *door) {
		d.wantWord("ruok", off("ruok"))
		for _, word := range []string{"mntr", "srvr"} { // srvr is on every list
			if d.word(word) == off(word) {
				t.Errorf("%s is not answered", word)
			}
		}
	})
	inside(t, everyWord(), func(d *door) {
		for word, w := range words {
			if got := d.word(word) == off(word); got != (w.answer == nil) {
				t.Errorf("%s: off the list of all words: %v", word, got)
			}
		}
	})
}

func TestWordsWithoutALeader(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		d.setRole(RoleNone)
		for word, w := range words {
			switch want := "This ZooKeeper instance is not currently serving requests\n"; {
			case w.answer == nil:
			case word == "ruok":
				d.wantWord(word, "imok")
			case word == "isro":
				d.wantWord(word, "null")
			case word == "envi":
				d.wantWord(word, "Environment:\nzookeeper.version=3.9.4-okapi, built on 01/02/2026 03:04 UTC\nhost.name=h\nos.name=Linux\n")
			default:
				d.wantWord(word, want)
			}
		}
	})
}

func TestServerWords(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		c := d.login()
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/n", ""))
		d.pass(5 * time.Millisecond)
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		srvr := func(received, sent int, latencies string) string {
			return fmt.Sprintf(`Zookeeper version: 3.9.4-okapi, built on 01/02/2026 03:04 UTC
Latency min/avg/max: %s
Received: %d
Sent: %d
Connections: 2
Outstanding: 0
Zxid: 0x100000002
Mode: standalone
Node count: 6
`, latencies, received, sent)
		}
		synctest.Wait()
		d.wantWord("srvr", srvr(3, 2, "0/2.5/5"))
		d.wantWord("srst", "Server stats reset.\n")
		d.wantWord("srvr", srvr(1, 1, "0/0.0/0")) // The answer before was sent after the reset.
		d.setRole(RoleLeader)
		if got := d.word("srvr"); !strings.Contains(got, "Mode: leader\nNode count: 6\nProposal sizes last/min/max: 3/2/9\n") {
			t.Errorf("srvr of a leader answers\n%s", got)
		}
		conf := `clientPort=-1
secureClientPort=-1
dataDir=/data/snap
dataDirSize=1000
dataLogDir=/data/wal
dataLogSize=67108864
tickTime=2000
maxClientCnxns=60
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=7
`
		d.wantWord("conf", conf+"peerType=0\n")
		d.setRole(RoleObserver)
		d.wantWord("conf", conf+"peerType=1\n")
		d.setRole(RoleStandalone)
		d.wantWord("conf", conf)
		d.wantWord("dirs", "datadir_size: 1000\nlogdir_size: 67108864\n")
	})
}

func TestConnectionWords(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		const est = 946684800000 // the beginning of time in the bubble, in milliseconds
		c := d.login()
		idle := d.login()
		d.pass(time.Second)
		d.replica.set(func() { d.replica.held = true })
		c.send(jute.OpCreate, create("/n", ""))
		c.send(jute.OpExists, get("/n"))
		d.pass(7 * time.Millisecond)
		line := func(c *client, figures string) string {
			return strings.ReplaceAll(figures, "SID", fmt.Sprintf("sid=0x%x", uint64(c.session))) + "\n"
		}
		own := " null[0](queued=0,recved=1,sent=0"
		waiting := " null[1](queued=2,recved=3,sent=1"
		session := ",SID,lop=SESS,est=946684800000,to=10000,lcxid=0x0,lzxid=0x10000000%d,lresp=946684800000,llat=0,minlat=0,avglat=0,maxlat=0)"
		d.wantWord("cons", line(c, waiting+fmt.Sprintf(session, 1))+line(idle, " null[1](queued=0,recved=1,sent=1"+fmt.Sprintf(session, 2))+own+")\n\n")
		d.replica.set(func() { d.replica.held = false })
		c.recv()
		c.recv()
		c.sendAs(jute.XidPing, jute.OpPing, nil)
		c.recv()
		synctest.Wait()
		done := fmt.Sprintf(" null[1](queued=0,recved=4,sent=4,SID,lop=PING,est=%d,to=10000,lcxid=0x2,lzxid=0x100000003,lresp=%d,llat=0,minlat=0,avglat=3,maxlat=7)", est, est+1007)
		d.wantWord("cons", line(c, done)+line(idle, " null[1](queued=0,recved=1,sent=1"+fmt.Sprintf(session, 2))+own+")\n\n")
		stat := d.word("stat")
		want := "Zookeeper version: 3.9.4-okapi, built on 01/02/2026 03:04 UTC\nClients:\n null[1](queued=0,recved=4,sent=4)\n null[1](queued=0,recved=1,sent=1)\n" + own + ")\n\nLatency min/avg/max: 0/2.8/7\nReceived: 8\nSent: 7\nConnections: 3\n"
		if !strings.HasPrefix(stat, want) {
			t.Errorf("stat: %s", cmp.Diff(want, stat))
		}
		d.wantWord("crst", "Connection stats reset.\n")
		reset := ",SID,lop=NA,est=946684800000,to=10000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)"
		d.wantWord("cons", line(c, " null[1](queued=0,recved=0,sent=0"+reset)+line(idle, " null[1](queued=0,recved=0,sent=0"+reset)+own+")\n\n")
	})
}

// A session that was attached has done nothing yet.
func TestConnectionWordsAfterAnAttach(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		c := d.login()
		_ = c.socket.Close()
		again := d.dial()
		again.login(&jute.ConnectRequest{TimeoutMS: 10_000, SessionID: c.session, Password: c.password})
		got := d.word("cons")
		if want := ",lop=NA,est=946684800000,to=10000,lzxid=0x0,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n"; !strings.Contains(got, want) {
			t.Errorf("cons answers\n%s", got)
		}
	})
}

// Notifications are counted among what was sent.
func TestEventsAreCounted(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		d.make("/a", "")
		d.make("/b", "")
		c := d.login()
		for _, path := range []string{"/a", "/b"} {
			c.want(0, jute.OpGetData, watched(path))
		}
		d.must(&command.Multi{Ops: []command.Command{
			&command.SetData{Path: "/a", Version: -1}, &command.SetData{Path: "/b", Version: -1},
		}})
		if got := c.events(); got != "M/a M/b" {
			t.Fatalf("events %s", got)
		}
		again := &jute.SetWatches{Data: []string{"/a", "/none"}, RelativeZxid: 1}
		c.send(jute.OpSetWatches, raw(again.Append(nil, jute.OpSetWatches)))
		if got := c.recv().text(t) + " " + c.recv().text(t); got != "M/a D/none" {
			t.Fatalf("events %s", got)
		}
		c.recv()
		synctest.Wait()
		if got := d.word("stat"); !strings.Contains(got, "Clients:\n null[1](queued=0,recved=4,sent=8)\n") {
			t.Errorf("stat answers\n%s", got)
		}
	})
}

func TestWatchWords(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		d.wantWord("wchs", "0 connections watching 0 paths\nTotal watches:0\n")
		d.wantWord("wchc", "\n")
		d.wantWord("wchp", "\n")
		a, b := d.login(), d.login()
		d.make("/n", "")
		a.watch(jute.OpExists, watched("/z"))
		a.watch(jute.OpGetData, watched("/n"))
		b.watch(jute.OpGetData, watched("/n"))
		b.watch(jute.OpGetChildren, watched("/"))
		b.watch(jute.OpAddWatch, &jute.WatchRequest{Path: "/r", Kind: modePersistentRecursive})
		d.wantWord("wchs", "2 connections watching 3 paths\nTotal watches:4\n")
		d.wantWord("wchc", fmt.Sprintf("0x%x\n\t/n\n\t/z\n0x%x\n\t/n\n\t/r\n\n", a.session, b.session))
		d.wantWord("wchp", fmt.Sprintf("/n\n\t0x%x\n\t0x%x\n/r\n\t0x%x\n/z\n\t0x%x\n\n", a.session, b.session, b.session, a.session))
	})
}

func TestDump(t *testing.T) {
	inside(t, everyWord(), func(d *door) {
		d.pass(500 * time.Millisecond)
		a, b := d.login(), d.login()
		for _, path := range []string{"/b", "/a"} {
			m := create(path, "")
			m.Flags = command.FlagEphemeral
			a.want(0, jute.OpCreate, m)
		}
		for _, cmd := range []command.Command{&command.LeaseGrant{ID: 9, TTL: 60}, &command.Put{Key: "/zk/l", Lease: 9}} {
			if r := d.replica.do(command.Caller{Protocol: command.Etcd}, cmd); r.Code != 0 {
				t.Fatal(r.Code)
			}
		}
		d.pass(5 * time.Second)
		a.sendAs(jute.XidPing, jute.OpPing, nil)
		a.recv()
		d.wantWord("dump", fmt.Sprintf(`SessionTracker dump:
Global Sessions(2):
0x%[1]x	10000ms
0x%[2]x	10000ms
ephemeral nodes dump:
Sessions with Ephemerals (2):
0x9:
	/l
0x%[1]x:
	/a
	/b
Connections dump:
Connections Sets (3)/(3):
1 expire at Sat Jan 01 00:00:12 UTC 2000:
	 null[1](queued=0,recved=1,sent=1,sid=0x%[2]x,lop=SESS,est=946684800500,to=10000,lcxid=0x0,lzxid=0x100000002,lresp=946684800500,llat=0,minlat=0,avglat=0,maxlat=0)
1 expire at Sat Jan 01 00:00:16 UTC 2000:
	 null[0](queued=0,recved=1,sent=0)
1 expire at Sat Jan 01 00:00:18 UTC 2000:
	 null[1](queued=0,recved=4,sent=4,sid=0x%[1]x,lop=PING,est=946684800500,to=10000,lcxid=0x2,lzxid=0x100000005,lresp=946684805500,llat=0,minlat=0,avglat=0,maxlat=0)
`, a.session, b.session))
	})
}

func TestMonitor(t *testing.T) {
	syncs := &telemetry.Summary{}
	syncs.Add(3 * time.Millisecond)
	syncs.Add(4 * time.Millisecond)
	options := everyWord()
	options.LogSyncs = syncs
	inside(t, options, func(d *door) {
		c := d.login()
		m := create("/e", "data")
		m.Flags = command.FlagEphemeral
		c.want(0, jute.OpCreate, m)
		c.want(0, jute.OpGetData, watched("/e"))
		c.want(0, jute.OpGetChildren, watched("/"))
		d.pass(42 * time.Second / 10)
		want := `zk_version	3.9.4-okapi, built on 01/02/2026 03:04 UTC
zk_server_state	standalone
zk_avg_latency	0.0
zk_max_latency	0
zk_min_latency	0
zk_packets_received	5
zk_packets_sent	4
zk_num_alive_connections	2
zk_outstanding_requests	0
zk_connection_rejected	0
zk_auth_failed_count	0
zk_znode_count	6
zk_watch_count	2
zk_ephemerals_count	1
zk_approximate_data_size	SIZE
zk_global_sessions	1
zk_local_sessions	0
zk_open_file_descriptor_count	12
zk_max_file_descriptor_count	1024
zk_uptime	4200
zk_disk_low	0
zk_disk_full	0
`
		latencies := `zk_avg_readlatency	0.0
zk_min_readlatency	0
zk_max_readlatency	0
zk_cnt_readlatency	2
zk_sum_readlatency	0
zk_p50_readlatency	0
zk_p95_readlatency	0
zk_p99_readlatency	0
zk_p999_readlatency	0
zk_avg_updatelatency	0.0
zk_min_updatelatency	0
zk_max_updatelatency	0
zk_cnt_updatelatency	2
zk_sum_updatelatency	0
zk_p50_updatelatency	0
zk_p95_updatelatency	0
zk_p99_updatelatency	0
zk_p999_updatelatency	0
zk_avg_fsynctime	3.5
zk_min_fsynctime	3
zk_max_fsynctime	4
zk_cnt_fsynctime	2
zk_sum_fsynctime	7
`
		got := regexp.MustCompile(`(approximate_data_size\t)[1-9][0-9]*`).ReplaceAllString(d.word("mntr"), "${1}SIZE")
		if diff := cmp.Diff(want+latencies, got); diff != "" {
			t.Error(diff)
		}
		d.setRole(RoleLeader)
		got = d.word("mntr")
		for _, line := range []string{
			"\nzk_server_state\tleader\nzk_peer_state\tleading - broadcast\n",
			"\nzk_learners\t4\nzk_synced_followers\t2\nzk_synced_observers\t1\nzk_quorum_size\t3\n",
		} {
			if !strings.Contains(got, line) {
				t.Errorf("mntr of a leader lacks %q:\n%s", line, got)
			}
		}
		d.setRole(RoleFollower)
		if got = d.word("mntr"); !strings.Contains(got, "\nzk_quorum_size\t3\n") || strings.Contains(got, "synced") {
			t.Errorf("mntr of a follower answers\n%s", got)
		}
	})
}

// What a monitoring agent takes: each line is a name, a tab and a value (Telegraf's input zookeeper).
func TestMonitorIsWhatParsersTake(t *testing.T) {
	line := regexp.MustCompile(`^zk_(\w+)\s+([\w\.\-]+)`)
	inside(t, everyWord(), func(d *door) {
		for l := range strings.Lines(d.word("mntr")) {
			if !line.MatchString(l) {
				t.Errorf("line %q", l)
			}
		}
	})
}

// The shape that the Go client's parser wants of srvr.
func TestSrvrIsWhatParsersTake(t *testing.T) {
	parser := regexp.MustCompile(`(?m:\A^Zookeeper version: ([A-Za-z0-9\.\-]+), built on (\d\d/\d\d/\d\d\d\d \d\d:\d\d [A-Za-z0-9:\+\-]+).*\n` +
		`^Latency min/avg/max: (\d+)/([0-9.]+)/(\d+).*\n^Received: (\d+).*\n^Sent: (\d+).*\n^Connections: (\d+).*\n^Outstanding: (\d+).*\n` +
		`^Zxid: (0x[A-Za-z0-9]+).*\n^Mode: (\w+).*\n^Node count: (\d+))`)
	inside(t, Options{}, func(d *door) {
		if got := d.word("srvr"); !parser.MatchString(got) {
			t.Errorf("srvr answers\n%s", got)
		}
	})
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:2181": "/127.0.0.1:2181", "[::ffff:10.0.0.1]:5": "/10.0.0.1:5",
		"[::1]:2181": "/[0:0:0:0:0:0:0:1]:2181", "[fe80::abcd:0:1%eth0]:1": "/[fe80:0:0:0:0:abcd:0:1]:1",
	} {
		if got := javaAddress(netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
}

func TestLatencies(t *testing.T) {
	var s stats
	check := func(want string) {
		t.Helper()
		if got := fmt.Sprintf("%v/%s/%v", s.latencyMin(), s.latencyMean(), s.latencyMax()); got != want {
			t.Errorf("latencies %s, want %s", got, want)
		}
	}
	check("0s/0.0/0s")
	s.answered(itemWrite, int64(7*time.Millisecond))
	check("7ms/7.0/7ms")
	s.answered(itemRead, int64(2*time.Millisecond))
	s.answered(itemSync, int64(1*time.Millisecond))
	check("1ms/3.3333/7ms")
	s.reset()
	s.answered(itemRead, int64(time.Millisecond/10))
	check("100µs/0.1/100µs")
}

// largeDoor is a door with a client that has many watches, so that the answer to wchc has many pieces.
func largeDoor(t *testing.T, test func(d *door, want string)) {
	inside(t, everyWord(), func(d *door) {
		c := d.dial()
		c.login(&jute.ConnectRequest{TimeoutMS: 40_000})
		var m jute.SetWatches
		var want strings.Builder
		fmt.Fprintf(&want, "0x%x\n", uint64(c.session))
		for i := range 20_000 {
			path := fmt.Sprintf("/a-path-of-some-length-%05d", i)
			m.Persistent = append(m.Persistent, path)
			fmt.Fprintf(&want, "\t%s\n", path)
		}
		c.want(0, jute.OpSetWatches2, raw(m.Append(nil, jute.OpSetWatches2)))
		test(d, want.String()+"\n")
	})
}

func TestLargeAnswer(t *testing.T) {
	largeDoor(t, func(d *door, want string) {
		if got := d.word("wchc"); got != want {
			t.Errorf("the answer has %d bytes, want %d", len(got), len(want))
		}
		if pieces := d.server.srv.stats.sent.Load() - 2; pieces < int64(len(want)/answerPieceBytes) {
			t.Errorf("the answer came in %d pieces", pieces)
		}
	})
}

// ask sends a word and reads nothing.
func (d *door) ask(word string) net.Conn {
	d.t.Helper()
	c := d.dialMute()
	if _, err := c.socket.Write([]byte(word)); err != nil {
		d.t.Fatal(err)
	}
	synctest.Wait()
	return c.socket
}

// Only a few large answers are made at a time, and clients that do not take theirs give way.
func TestLargeAnswersAreBounded(t *testing.T) {
	largeDoor(t, func(d *door, want string) {
		for range largeAnswers {
			d.ask("wchc")
		}
		start, third := time.Now(), d.ask("wchc")
		first := make(chan time.Duration, 1)
		go func() {
			if _, err := third.Read(make([]byte, 1)); err == nil {
				first <- time.Since(start)
			}
			close(first)
		}()
		d.wantWord("ruok", "imok") // What is not large does not wait.
		if waited := <-first; waited != defaultHandshakeTimeout {
			t.Errorf("one more than the bound was begun after %v, want %v", waited, defaultHandshakeTimeout)
		}
	})
}

// A client that takes each piece in time, but is slow, does not keep its turn.
func TestSlowAnswerEnds(t *testing.T) {
	largeDoor(t, func(d *door, want string) {
		start, socket, taken := time.Now(), d.ask("wchc"), 0
		for {
			n, err := io.ReadFull(socket, make([]byte, answerPieceBytes/2))
			if taken += n; err != nil {
				break
			}
			time.Sleep(defaultHandshakeTimeout * 48 / 100)
		}
		synctest.Wait()
		if took := time.Since(start); took < answerTime/2 || took > answerTime+defaultHandshakeTimeout || taken >= len(want) {
			t.Errorf("the answer ended after %v and %d of %d bytes", took, taken, len(want))
		}
		if len(d.server.srv.turns) != 0 {
			t.Error("the turn is still taken")
		}
	})
}

// Who waits for a turn is let go when the server stops.
func TestWaitingForATurnEndsWithTheServer(t *testing.T) {
	largeDoor(t, func(d *door, want string) {
		for range largeAnswers + 1 {
			d.ask("wchc")
		}
		start := time.Now()
		d.stop()
		if err := <-d.stopped; err != nil {
			t.Error(err)
		}
		d.stopped <- nil
		if took := time.Since(start); took > defaultDrainTimeout {
			t.Errorf("stopped after %v", took)
		}
	})
}
