package zk

import (
	"fmt"
	"slices"
	"time"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// The four-letter words with which operators ask a server how it is (org.apache.zookeeper.server.command). A connection
// begins with one instead of the length of a frame, gets an answer in plain text and is closed.
//
// An answer may be large: a line for each of ten thousand connections, or each of a million watches. It is therefore
// made in pieces, and a piece is sent before the next one is made. What it tells of is read in steps, so an answer is no
// picture of one moment. How many large ones are made at a time is bounded, and how long the client may take is too.

// word is one that ZooKeeper knows.
type word struct {
	// answer writes the answer. Words without one are always off the whitelist: gtmk and stmk are about a log that this
	// server does not have, hash about digests of another kind.
	answer func(*answer)
	// unserved says that a member without a leader answers it too.
	unserved bool
	// large says that the answer may be.
	large bool
}

// words is the table of them. Four other bytes are the length of a frame.
var words = map[string]word{
	"ruok": {answer: (*answer).ruok, unserved: true},
	"isro": {answer: (*answer).isro, unserved: true},
	"srvr": {answer: (*answer).srvr},
	"srst": {answer: (*answer).srst},
	"mntr": {answer: (*answer).mntr},
	"conf": {answer: (*answer).conf},
	"envi": {answer: (*answer).envi, unserved: true},
	"dirs": {answer: (*answer).dirs},

	"stat": {answer: (*answer).stat, large: true},
	"cons": {answer: (*answer).cons, large: true},
	"crst": {answer: (*answer).crst, large: true},
	"dump": {answer: (*answer).dump, large: true},
	"wchs": {answer: (*answer).wchs},
	"wchc": {answer: (*answer).wchc, large: true},
	"wchp": {answer: (*answer).wchp, large: true},

	"gtmk": {}, "hash": {}, "lead": {}, "stmk": {},
}

// AllWords stands for every word in a whitelist.
const AllWords = "*"

// wordAlways is answered whatever the whitelist says: ZooKeeper's own scripts need it.
const wordAlways = "srvr"

// DefaultWords returns the words that are answered by default: ZooKeeper's own default, which is srvr, and two that tell
// nothing of the data and that probes and clients of every kind send.
func DefaultWords() []string { return []string{wordAlways, "ruok", "isro"} }

// KnowsWord reports whether a four-letter word, or AllWords, may stand in a whitelist.
func KnowsWord(name string) bool {
	_, known := words[name]
	return known || name == AllWords
}

// whitelist turns names into a set of words.
func whitelist(names []string) map[string]bool {
	set := map[string]bool{wordAlways: true}
	for _, name := range names {
		invariant.Assert(KnowsWord(name), "a whitelist has known words", name)
		set[name] = true
	}
	return set
}

// isWord reports whether the first bytes of a connection are a word.
func isWord(first []byte) bool {
	_, known := words[string(first)]
	return known
}

// allows reports whether a word is answered.
func (s *services) allows(name string) bool {
	return words[name].answer != nil && (s.words[name] || s.words[AllWords])
}

// notServing is the answer of a member without a leader.
const notServing = "This ZooKeeper instance is not currently serving requests\n"

const (
	// largeAnswers is how many large answers may be made at a time. It is one because making them takes a processor, which
	// a small machine does not have to spare for more.
	largeAnswers = 1
	// answerPieceBytes is the size of the pieces in which an answer is made and sent.
	answerPieceBytes = 32 << 10
	// answerTime is how long a client may take for its answer, and how long it waits for its turn.
	answerTime = time.Minute
)

// answer is the answer to one word on its way to the client.
type answer struct {
	srv *services
	buf []byte
	// send sends a piece, which it does not keep.
	send func(piece []byte) error
	// err is why nothing more can be sent.
	err error
}

// printf adds text to the answer.
func (a *answer) printf(format string, args ...any) {
	if a.err == nil {
		a.buf = fmt.Appendf(a.buf, format, args...)
		a.spill(answerPieceBytes)
	}
}

// over reports whether the client is gone, so that nobody needs the rest.
func (a *answer) over() bool { return a.err != nil }

// spill sends what there is if it has at least a number of bytes.
func (a *answer) spill(least int) {
	if a.err == nil && len(a.buf) >= least {
		a.err = a.send(a.buf)
		a.buf = a.buf[:0]
	}
}

// answerWord answers the word that the connection began with. It is called by the reader before there is a session, so
// nobody else has anything to send.
func (l *link) answerWord(name string) {
	l.countWord()
	until := l.srv.clock.Now().Add(answerTime)
	a := &answer{srv: l.srv, send: func(piece []byte) error { return l.sendPiece(piece, until) }}
	if a.make(name, l.closed) {
		a.spill(1)
	}
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.conn.finish(errAnswered)
}

// countWord counts the word among the requests.
func (l *link) countWord() {
	l.srv.stats.received.Add(1)
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.conn.account.received++
	l.answering = true
}

// sendPiece sends a part of an answer, which must be taken before a time.
func (l *link) sendPiece(piece []byte, until time.Time) error {
	left := until.Sub(l.srv.clock.Now())
	if left <= 0 {
		return errSlowAnswer
	}
	if err := l.send(piece, min(left, l.srv.limits.handshake)); err != nil {
		return err
	}
	l.srv.stats.sent.Add(1)
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	l.conn.account.sent++
	return nil
}

// make writes the answer to a word, when it is its turn. It reports false if the turn did not come in time, or not before
// the connection was closed.
func (a *answer) make(name string, closed <-chan struct{}) bool {
	w, s := words[name], a.srv
	switch {
	case !s.allows(name):
		a.printf("%s is not executed because it is not in the whitelist.\n", name)
		return true
	case !w.unserved && s.replica.Status().Role == RoleNone:
		a.printf(notServing)
		return true
	case !w.large:
		w.answer(a)
		return true
	}
	timer := s.clock.NewTimer(answerTime)
	defer timer.Stop()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
		w.answer(a)
		return true
	case <-timer.C():
	case <-closed:
	}
	return false
}

// ruok says that the process answers.
func (a *answer) ruok() { a.printf("imok") }

// isro tells clients that look for a member that takes writes.
func (a *answer) isro() {
	if a.srv.replica.Status().Role == RoleNone {
		a.printf("null")
		return
	}
	a.printf("rw")
}

// connections returns the open connections, the oldest first.
func (a *answer) connections() []*link {
	links := a.srv.links()
	slices.SortFunc(links, func(x, y *link) int { return int(x.number - y.number) })
	return links
}
