package sim

import (
	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/replica"
)

// service proves that the cluster serves again once nothing harms it: every member takes writes, reads and questions about leases, and
// has applied all that there is.
type service struct {
	world  *World
	probes map[uint64]int
}

func newService(w *World) service { return service{world: w, probes: map[uint64]int{}} }

// probe asks every member for a write, a read and about a lease that is not there; all must succeed before the run ends.
func (s *service) probe() {
	w := s.world
	for _, n := range w.current() {
		if !n.up {
			w.fail("member %d is down although nothing harms it", n.id)
			return
		}
		n.propose(command.Caller{Protocol: command.Etcd}, &command.Put{Key: "probe"}, func(r state.Result, err error) {
			if err == nil && r.Code == state.OK {
				s.probes[n.id] |= 1
			}
		})
		n.readIndex(func(err error) {
			if err == nil {
				s.probes[n.id] |= 2
			}
		})
		n.inquiries.ask(1, true, func(a replica.Answer, err error) {
			if err == nil && !a.Known {
				s.probes[n.id] |= 4
			}
		})
	}
}

// end checks that every member has answered and has caught up.
func (s *service) end() {
	w := s.world
	for _, n := range w.current() {
		if s.probes[n.id] != 7 && w.cfg.Bug != LocalKeepAlive {
			w.fail("member %d does not serve after the faults have ended (probe %d)", n.id, s.probes[n.id])
		}
		if n.up && n.applied != w.check.log.last {
			w.fail("member %d has applied %d of %d entries after the faults have ended", n.id, n.applied, w.check.log.last)
		}
	}
}
