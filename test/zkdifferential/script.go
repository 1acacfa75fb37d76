package zkdifferential

import (
	"fmt"
	"strings"
)

// slots is how many sessions a script has at most. The last one asks for the shortest timeout, and is the only one that may
// expire.
const (
	slots      = 5
	expireSlot = slots - 1
)

// stepKind says what a step does.
type stepKind int

const (
	// stepBatch sends requests on one connection at once and waits for all answers.
	stepBatch stepKind = iota
	// stepParallel does so on several connections at the same time; each works in a folder of its own.
	stepParallel
	// stepOpen opens a session in a slot that has none.
	stepOpen
	// stepAttach connects to the session of a slot again, whether or not it has a connection still, or was closed.
	stepAttach
	// stepDrop closes the connection of a slot without a word.
	stepDrop
	// stepExpire does so and waits until the session is gone.
	stepExpire
)

// step is one step of a script. A step that makes no sense when its turn comes, for lack of a session, is left out: so a script
// stays one when steps are taken out of it.
type step struct {
	kind  stepKind
	slot  int
	batch []request
	// parts are the batches of a stepParallel, by slot.
	parts [slots][]request
	// plain leaves the read-only byte out of the connect request.
	plain bool
	// wrong spoils the password.
	wrong bool
	// since is the last zxid that the client claims to have seen.
	since moment
	// timeout is the session timeout to ask for, in milliseconds.
	timeout int32
}

// script is what is done with both servers.
type script []step

// ops counts the requests of the script.
func (s script) ops() int {
	n := 0
	for i := range s {
		n += len(s[i].batch)
		for _, part := range s[i].parts {
			n += len(part)
		}
	}
	return n
}

// count adds up the requests by kind.
func (s script) count(kinds map[string]int) {
	add := func(batch []request) {
		for i := range batch {
			name, known := opNames[batch[i].op]
			if !known {
				name = "unknown"
			}
			kinds[name]++
		}
	}
	for i := range s {
		add(s[i].batch)
		for _, part := range s[i].parts {
			add(part)
		}
		switch s[i].kind {
		case stepOpen:
			kinds["(open)"]++
		case stepAttach:
			kinds["(attach)"]++
		case stepDrop:
			kinds["(drop)"]++
		case stepExpire:
			kinds["(expire)"]++
		}
	}
}

// String shows one step a line, with its number.
func (s script) String() string {
	var b strings.Builder
	for i := range s {
		fmt.Fprintf(&b, "%3d  %s\n", i, s[i].String())
	}
	return b.String()
}

func (s *step) String() string {
	switch s.kind {
	case stepBatch:
		return fmt.Sprintf("session %d: %s", s.slot, showAll(s.batch))
	case stepParallel:
		var out []string
		for slot, part := range s.parts {
			if len(part) > 0 {
				out = append(out, fmt.Sprintf("session %d: %s", slot, showAll(part)))
			}
		}
		return strings.Join(out, " || ")
	case stepOpen:
		return fmt.Sprintf("session %d: open, timeout=%d plain=%v since=%s", s.slot, s.timeout, s.plain, momentNames[s.since])
	case stepAttach:
		return fmt.Sprintf("session %d: attach, timeout=%d plain=%v since=%s wrong=%v",
			s.slot, s.timeout, s.plain, momentNames[s.since], s.wrong)
	case stepDrop:
		return fmt.Sprintf("session %d: drop the connection", s.slot)
	}
	return fmt.Sprintf("session %d: expire", s.slot)
}

// endsSession reports whether the step ends a session: then its ephemeral nodes go in an order that nobody promises.
func (s *step) endsSession() bool {
	if s.kind == stepExpire {
		return true
	}
	return s.kind == stepBatch && len(s.batch) > 0 && s.batch[len(s.batch)-1].op == opClose
}
