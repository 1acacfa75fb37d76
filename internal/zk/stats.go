package zk

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/okapi-kv/okapi/internal/telemetry"
	"github.com/okapi-kv/okapi/internal/zk/jute"
)

// stats counts what srvr and mntr show of the whole server. Counters wrap only after centuries.
type stats struct {
	received, sent           atomic.Int64
	outstanding, connections atomic.Int64
	// rejected counts connections that were too many, authFailed refused credentials.
	rejected, authFailed atomic.Int64
	// reads and updates take the time from the receipt of a request to its answer, of requests that are commands and of
	// all others.
	reads, updates telemetry.Summary
}

// answered counts one answer to an item after ns nanoseconds.
func (s *stats) answered(kind itemKind, ns int64) {
	if kind == itemWrite || kind == itemHandshake {
		s.updates.Add(time.Duration(ns))
	} else {
		s.reads.Add(time.Duration(ns))
	}
}

// reset begins again, as srst asks for (org.apache.zookeeper.server.ServerStats.reset).
func (s *stats) reset() {
	s.received.Store(0)
	s.sent.Store(0)
	s.reads.Reset()
	s.updates.Reset()
}

// latencyMin, latencyMax and latencyMean are those of all requests.
func (s *stats) latencyMin() time.Duration {
	switch {
	case s.reads.Count() == 0:
		return s.updates.Min()
	case s.updates.Count() == 0:
		return s.reads.Min()
	}
	return min(s.reads.Min(), s.updates.Min())
}

func (s *stats) latencyMax() time.Duration { return max(s.reads.Max(), s.updates.Max()) }

func (s *stats) latencyMean() string {
	return meanMS(s.reads.Total()+s.updates.Total(), s.reads.Count()+s.updates.Count())
}

// meanMS formats a mean as ZooKeeper does (AvgMinMaxCounter.getAvg): milliseconds with up to four decimals, but at least one.
func meanMS(total time.Duration, count int64) string {
	mean := 0.0
	if count > 0 {
		mean = float64(total) / float64(count) / float64(time.Millisecond)
	}
	text := strings.TrimRight(strconv.FormatFloat(mean, 'f', 4, 64), "0")
	if strings.HasSuffix(text, ".") {
		text += "0"
	}
	return text
}

// account is what cons shows of one connection (org.apache.zookeeper.server.ServerCnxn). It is guarded by the connection's
// mutex, which is held anyway whenever something is counted.
type account struct {
	received, sent int64
	// operation, xid and zxid are those of the last request that was answered; the xid is -1 if there was none, and those of
	// pings and the like do not count.
	operation string
	xid       int32
	zxid      int64
	// atNS is when it was answered, by services.nowNS, and count how many were.
	atNS                             int64
	count                            int64
	last, longest, shortest, totalNS int64
}

// noAccount is how an account begins, and begins again after crst.
func noAccount() account { return account{operation: "NA", xid: -1} }

// resetAccount is what crst leaves: a zxid that no server has.
func resetAccount() account {
	a := noAccount()
	a.zxid = -1
	return a
}

// answered counts one answer, that is at a zxid, to a request that was received at some time and is answered now.
func (a *account) answered(operation string, it *item, zxid, nowNS int64) {
	if it.xid >= 0 {
		a.xid = it.xid
	}
	a.operation, a.zxid, a.atNS = operation, zxid, nowNS
	ns := max(nowNS-it.atNS, 0)
	if a.count == 0 || ns < a.shortest {
		a.shortest = ns
	}
	a.last, a.longest = ns, max(a.longest, ns)
	a.count++
	a.totalNS += ns
}

// operationOf is how cons calls an operation (org.apache.zookeeper.server.FinalRequestProcessor).
func operationOf(op jute.OpCode) string {
	switch op {
	case jute.OpPing:
		return "PING"
	case jute.OpMulti:
		return "MULT"
	case jute.OpMultiRead:
		return "MLTR"
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateTTL, jute.OpCreateContainer:
		return "CREA"
	case jute.OpDelete:
		return "DELE"
	case jute.OpSetData:
		return "SETD"
	case jute.OpSetACL:
		return "SETA"
	case jute.OpCloseSession:
		return "CLOS"
	case jute.OpSync:
		return "SYNC"
	case jute.OpExists:
		return "EXIS"
	case jute.OpGetData:
		return "GETD"
	case jute.OpSetWatches:
		return "SETW"
	case jute.OpSetWatches2:
		return "STW2"
	case jute.OpAddWatch:
		return "ADDW"
	case jute.OpGetACL:
		return "GETA"
	case jute.OpGetChildren, jute.OpGetChildren2:
		return "GETC"
	case jute.OpGetAllChildrenNumber:
		return "GETACN"
	case jute.OpCheckWatches:
		return "CHKW"
	case jute.OpRemoveWatches:
		return "REMW"
	case jute.OpWhoAmI:
		return "HOMI"
	case jute.OpGetEphemerals:
		return "GETE"
	}
	return "NA"
}
