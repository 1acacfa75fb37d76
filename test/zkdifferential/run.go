package zkdifferential

import (
	"fmt"
	"time"
)

// server is one of the two servers, with a client of its own that prepares it, asks it where it is, and cleans up.
type server struct {
	name    string
	address string
	control client
}

// trace is what one server answered to a script.
type trace struct {
	// begin is the zxid that the script began at.
	begin int64
	steps []stepTrace
	// from and to are when it ran.
	from, to time.Time
}

// stepTrace is what one server answered to one step.
type stepTrace struct {
	// got is what came on each connection, in order. On a steal, what came on the old connection stands in old.
	got [slots][]message
	old []message
	// end is the zxid after the step.
	end int64
}

// run carries out a script at one server.
type run struct {
	*server
	clients [slots]client
	trace   trace
	expired int
}

// ping is what is asked between two steps.
var ping = []request{{op: opPing}}

// do carries out a script. An error means that the comparison is at its end: the server is gone, or does not answer.
func (s *server) do(sc script) (*trace, error) {
	r := &run{server: s}
	for i := range r.clients {
		r.clients[i].address = s.address
	}
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("%s: prepare: %w", s.name, err)
	}
	r.trace.from = time.Now()
	for i := range sc {
		got, err := r.step(&sc[i])
		r.trace.steps = append(r.trace.steps, got)
		if err != nil {
			return &r.trace, fmt.Errorf("%s: step %d: %w", s.name, i, err)
		}
	}
	r.trace.to = time.Now()
	if err := r.cleanUp(); err != nil {
		return &r.trace, fmt.Errorf("%s: clean up: %w", s.name, err)
	}
	return &r.trace, nil
}

// openACL lets everybody do everything.
var openACL = []entry{{31, "world", "anyone"}}

// prepare opens the control session if there is none, and makes the folders of the parallel steps.
func (r *run) prepare() error {
	if !r.control.live() {
		r.control = client{address: r.address}
		if err := r.control.connect(0, make([]byte, 16), &step{timeout: 40_000}); err != nil {
			return err
		}
		if err := r.ask(request{op: opAuth, scheme: "digest", data: []byte(cleaner)}); err != nil {
			return err
		}
	}
	var folders []request
	for i := range expireSlot {
		folders = append(folders, request{op: opCreate, path: fmt.Sprintf("/p%d", i), acl: openACL})
	}
	if err := r.ask(append(folders, ping...)...); err != nil {
		return err
	}
	r.trace.begin = r.control.seen
	return nil
}

// ask lets the control session do something that must succeed.
func (r *run) ask(batch ...request) error {
	c := &r.control
	c.got = nil
	c.send(c.encode(batch))
	if err := c.collect(batch); err != nil {
		return err
	}
	for _, m := range c.got {
		if m.kind != messageReply {
			return fmt.Errorf("the control session was cut off")
		}
		if code := replyCode(m.frame); code != 0 {
			return fmt.Errorf("%s was refused with %d", m.request, code)
		}
	}
	return nil
}

// replyCode is the error in the header of a reply.
func replyCode(frame []byte) int32 {
	s := scanner{rest: frame}
	s.int()
	s.long()
	return s.int()
}

// step carries out one step and then asks every connection for what is on its way.
func (r *run) step(st *step) (stepTrace, error) {
	var out stepTrace
	err := r.act(st, &out)
	if err == nil {
		err = r.settle()
	}
	for i := range r.clients {
		out.got[i] = r.clients[i].take()
	}
	out.end = r.control.seen
	return out, err
}

func (r *run) act(st *step, out *stepTrace) error {
	c := &r.clients[st.slot]
	switch st.kind {
	case stepBatch:
		if !c.live() {
			return nil
		}
		c.send(c.encode(st.batch))
		return c.collect(st.batch)
	case stepParallel:
		return r.parallel(st)
	case stepOpen:
		if c.live() || c.session != 0 && !c.closed {
			return nil
		}
		return c.connect(0, make([]byte, 16), st)
	case stepAttach:
		return r.attach(st, out)
	case stepDrop:
		if st.slot != expireSlot {
			c.drop()
		}
		return nil
	}
	return r.expire(c)
}

func (r *run) parallel(st *step) error {
	var sent [slots]bool
	for i := range st.parts {
		if c := &r.clients[i]; c.live() && len(st.parts[i]) > 0 {
			c.send(c.encode(st.parts[i]))
			sent[i] = true
		}
	}
	for i := range st.parts {
		if sent[i] {
			if err := r.clients[i].collect(st.parts[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// attach connects to a session again. A connection that it still has must end.
func (r *run) attach(st *step, out *stepTrace) error {
	c := &r.clients[st.slot]
	if c.session == 0 {
		return nil
	}
	// ZooKeeper ends the old connection without looking at the password, okapi without looking at the zxid; and if both are to be
	// refused, they differ in what they say first.
	ahead := *st
	if ahead.since == momentAhead && (st.wrong || c.closed) {
		ahead.since = momentZero
	}
	if st = &ahead; st.wrong || st.since == momentAhead {
		c.drop()
	}
	old := *c
	password := append([]byte(nil), c.password...)
	if st.wrong {
		password[3] ^= 1
	}
	if err := c.connect(c.session, password, st); err != nil || old.socket == nil {
		return err
	}
	if c.live() {
		frame, err := old.read()
		old.got = nil
		if err == nil {
			old.got = append(old.got, message{kind: messageEvent, frame: frame})
		}
		err = old.ended(err)
		out.old = old.got
		return err
	}
	// The session was not attached, so its old connection goes on. What the refusal was is known.
	out.old = c.take()
	old.got = nil
	*c = old
	return nil
}

// expireTimeout bounds how long a session may outlive its timeout.
const expireTimeout = 30 * time.Second

// expire drops a connection, and waits until its session is gone.
func (r *run) expire(c *client) error {
	if !c.live() {
		return nil
	}
	r.expired++
	mark := []request{{op: opCreate, path: fmt.Sprintf("/expires-%d", r.expired), acl: openACL, flags: 1}}
	c.send(c.encode(mark))
	if err := c.collect(mark); err != nil || !c.live() {
		return err
	}
	if replyCode(c.got[len(c.got)-1].frame) != 0 {
		return nil // The root has an access list that forbids it; the session lives on.
	}
	c.drop()
	look := []request{{op: opExists, path: mark[0].path}}
	for deadline := time.Now().Add(expireTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		r.control.got = nil
		r.control.send(r.control.encode(look))
		if err := r.control.collect(look); err != nil || !r.control.live() {
			return fmt.Errorf("the control session was cut off: %w", err)
		}
		if replyCode(r.control.got[0].frame) != 0 {
			c.closed = true
			return nil
		}
		for i := range r.clients { // They live on.
			if c := &r.clients[i]; c.live() {
				c.send(c.encode(ping))
				c.sent-- // How often this is done depends on the time.
				n := len(c.got)
				if err := c.collect(ping); err != nil {
					return err
				}
				if len(c.got) > n && c.got[len(c.got)-1].kind == messageReply {
					c.got = c.got[:len(c.got)-1]
				}
			}
		}
	}
	return fmt.Errorf("a session has not expired after %v", expireTimeout)
}

// settle asks every connection for what is on its way to it.
func (r *run) settle() error {
	for i := range r.clients {
		if c := &r.clients[i]; c.live() {
			c.send(c.encode(ping))
		}
	}
	for i := range r.clients {
		if c := &r.clients[i]; c.live() {
			if err := c.collect(ping); err != nil {
				return err
			}
		}
	}
	return r.ask(ping...)
}

// cleanUp ends the sessions and removes what they have left.
func (r *run) cleanUp() error {
	for i := range r.clients {
		c := &r.clients[i]
		if c.session != 0 && !c.live() && !c.closed {
			if err := c.connect(c.session, c.password, &step{timeout: 40_000, since: momentZero}); err != nil {
				return err
			}
		}
		if c.live() {
			last := []request{{op: opClose}}
			c.send(c.encode(last))
			if err := c.collect(last); err != nil {
				return err
			}
			c.drop()
		}
	}
	var doomed []string
	for _, folder := range []string{"/", "/zookeeper", "/zookeeper/quota"} {
		children, err := r.children(folder)
		if err != nil {
			return err
		}
		for _, path := range children {
			if path == "/zookeeper" || path == "/zookeeper/quota" || path == "/zookeeper/config" {
				continue
			}
			doomed = append(doomed, path)
		}
	}
	batch := []request{}
	for i := 0; i < len(doomed); i++ {
		more, err := r.children(doomed[i])
		if err != nil {
			return err
		}
		doomed = append(doomed, more...)
	}
	for i := len(doomed) - 1; i >= 0; i-- {
		batch = append(batch, request{op: opDelete, path: doomed[i], version: -1})
	}
	for _, path := range []string{"/", "/zookeeper", "/zookeeper/quota"} {
		batch = append(batch, request{op: opSetACL, path: path, acl: openACL, version: -1})
	}
	return r.ask(batch...)
}

// children returns the paths of the children of a node.
func (r *run) children(path string) ([]string, error) {
	if err := r.ask(request{op: opGetChildren, path: path}); err != nil {
		return nil, err
	}
	s := scanner{rest: r.control.got[0].frame[16:]}
	var out []string
	for range s.count() {
		name := string(s.bytes())
		if path == "/" {
			out = append(out, "/"+name)
		} else {
			out = append(out, path+"/"+name)
		}
	}
	return out, nil
}

// count adds up what came: the replies by their errors, and the events.
func (t *trace) count(outcomes map[string]int) {
	if t == nil {
		return
	}
	for i := range t.steps {
		for _, got := range t.steps[i].got {
			for j := range got {
				switch m := &got[j]; {
				case m.kind == messageEvent:
					outcomes["events"]++
				case m.kind == messageReply && m.request.op != opPing:
					outcomes[fmt.Sprint(replyCode(m.frame))]++
				}
			}
		}
	}
}
