package zk

import (
	"fmt"
	"strings"

	"github.com/okapi-kv/okapi/internal/core/state"
)

// fourLetterWords are the words that ZooKeeper knows, each with whether this server answers it. A
// known word that is not answered gets ZooKeeper's line for words off its whitelist; four
// other bytes are the length of a frame.
var fourLetterWords = map[string]bool{
	"isro": true, "ruok": true, "srvr": true,
	"conf": false, "cons": false, "crst": false, "dirs": false, "dump": false, "envi": false,
	"gtmk": false, "hash": false, "lead": false, "mntr": false, "srst": false, "stat": false,
	"stmk": false, "wchc": false, "wchp": false, "wchs": false,
}

// notServing is the answer of a member without a leader.
const notServing = "This ZooKeeper instance is not currently serving requests\n"

// isFourLetterWord reports whether the first bytes of a connection are a word.
func isFourLetterWord(first []byte) bool {
	_, known := fourLetterWords[string(first)]
	return known
}

// answerWord answers the four-letter word that a connection began with, and ends it.
func (c *conn) answerWord(word string) {
	c.out.buf = append(c.out.buf, c.srv.answerWord(word)...)
	c.finish(errAnswered)
}

// answerWord returns the answer to a word.
func (s *services) answerWord(word string) string {
	switch {
	case !fourLetterWords[word]:
		return word + " is not executed because it is not in the whitelist.\n"
	case word == "ruok":
		return "imok"
	case word == "isro":
		return s.isro()
	}
	return s.srvr()
}

// isro tells clients that look for a member that takes writes.
func (s *services) isro() string {
	if s.replica.Status().Role == RoleNone {
		return "null"
	}
	return "rw"
}

// srvr describes the server; tools parse the lines in this order.
func (s *services) srvr() string {
	status := s.replica.Status()
	if status.Role == RoleNone {
		return notServing
	}
	at := s.notifier.position()
	var nodes int
	s.replica.ReadTree(at.seq, at.zxid, func(v state.View) { nodes = v.NodeCount() })
	var b strings.Builder
	fmt.Fprintf(&b, "Zookeeper version: %s\n", s.version)
	fmt.Fprintf(&b, "Latency min/avg/max: %s\n", s.stats.latencies())
	fmt.Fprintf(&b, "Received: %d\n", s.stats.received.Load())
	fmt.Fprintf(&b, "Sent: %d\n", s.stats.sent.Load())
	fmt.Fprintf(&b, "Connections: %d\n", s.stats.connections.Load())
	fmt.Fprintf(&b, "Outstanding: %d\n", s.stats.outstanding.Load())
	fmt.Fprintf(&b, "Zxid: 0x%x\n", uint64(at.zxid))
	fmt.Fprintf(&b, "Mode: %v\n", status.Role)
	fmt.Fprintf(&b, "Node count: %d\n", nodes)
	if status.Role == RoleLeader {
		fmt.Fprintf(&b, "Proposal sizes last/min/max: %d/%d/%d\n",
			status.ProposalBytesLast, status.ProposalBytesMin, status.ProposalBytesMax)
	}
	return b.String()
}
