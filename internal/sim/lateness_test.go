package sim

import "testing"

const (
	silentAt = 5 * second
	// silentTime is less than most sessions have, and more than they may last beyond that.
	silentTime = 5 * second / 2
)

// silence makes a follower deaf, or cuts it off, and lets its clients die soon after.
type silence struct {
	deaf bool
	died []*client
}

func (s *silence) script(w *World) {
	w.after(silentAt, func() {
		n := w.nodes[w.leader().id%uint64(len(w.nodes))]
		for at := int64(0); at < silentTime; at += 10 * millisecond {
			w.after(at, func() { s.sever(w, n) }) // again and again, as the nemesis heals
		}
		w.after(600*millisecond, func() { // each has been heard of in that time, and trusts its member still
			for _, c := range w.people {
				if c.at == n {
					c.dead, s.died = true, append(s.died, c)
				}
			}
		})
		w.after(silentTime, w.net.heal)
	})
}

// sever cuts what the member hears, and what it says if it is not just deaf.
func (s *silence) sever(w *World, n *node) {
	for _, other := range w.nodes {
		if other != n {
			w.net.sever(other.id, n.id)
			if !s.deaf {
				w.net.sever(n.id, other.id)
			}
		}
	}
}

// TestSilentMember: the sessions of clients that die at a member which is cut off end in time, which the checks see to, although it
// tells of them when it is back; and a member that tells of them as if it had just heard of them is found out.
func TestSilentMember(t *testing.T) {
	sessions, found := 0, 0
	for seed := uint64(1); seed <= 12; seed++ {
		for _, bug := range []Bug{NoBug, StaleTouch} {
			s := &silence{deaf: seed%2 == 0}
			cfg := calm(seed, 3+2*int(seed/2%2), s.script)
			cfg.FaultTime, cfg.Bug = 14*second, bug
			r := runSeed(t, cfg)
			switch {
			case bug == StaleTouch && r.Err != nil:
				found++
			case bug == NoBug && r.Err != nil:
				t.Errorf("seed %d: %v", seed, r.Err)
			case bug == NoBug:
				sessions += len(s.died)
			}
		}
	}
	if sessions == 0 || found == 0 {
		t.Errorf("%d sessions were left to a silent member; stale touches were found in %d runs", sessions, found)
	}
	t.Logf("%d sessions were left to a silent member; stale touches were found in %d of 12 runs", sessions, found)
}
