package lessor

import "fmt"

// Places counts what the wheel holds, and checks it against the ids.
func (l *Lessor) Places() (places int, err error) {
	stood := map[int64]bool{}
	for tick, ids := range l.wheel {
		if tick <= l.now || len(ids) == 0 {
			return 0, fmt.Errorf("bucket %d with %d places at tick %d", tick, len(ids), l.now)
		}
		places += len(ids)
		for _, id := range ids {
			if e := l.ids[id]; e != nil && e.bucket == tick {
				stood[id] = true
			}
		}
	}
	if len(stood) != l.standing || places != l.standing+l.stale {
		return 0, fmt.Errorf("%d places, %d ids stand; counted are %d standing and %d stale", places, len(stood), l.standing, l.stale)
	}
	for id, e := range l.ids {
		if l.leading && stood[id] == e.frozen || !l.leading && e.bucket != 0 {
			return 0, fmt.Errorf("id %d, frozen %v, stands %v in bucket %d", id, e.frozen, stood[id], e.bucket)
		}
	}
	return places, nil
}
