package mvcc

// sums are the sizes of what a space holds, functions of what was written and of the floor alone. See the package comment,
// Reclaiming.
type sums[R any] struct {
	size     func(key string, r *R) int64
	live     int64 // bytes of the newest versions that are no tombstones
	liveKeys int
	freeable int64 // sum of the amounts of all entries ever logged; see amount
	freed    int64 // the part of it that is below the floor
}

// add takes a version into account that has become the newest of its key.
func (s *sums[R]) add(v *Version[R]) {
	s.freeable += s.amount(v)
	s.countLive(v, 1)
}

// takeBack is the reverse of add.
func (s *sums[R]) takeBack(v *Version[R]) {
	s.freeable -= s.amount(v)
	s.countLive(v, -1)
}

// countLive adds (sign 1) or takes back (sign -1) what v, as the newest version of its key, changes in the sum of
// live keys.
func (s *sums[R]) countLive(v *Version[R], sign int) {
	if p := v.prev.Live(); p != nil {
		s.live -= int64(sign) * s.size(p.key, &p.Record)
		s.liveKeys -= sign
	}
	if !v.Deleted() {
		s.live += int64(sign) * s.size(v.key, &v.Record)
		s.liveKeys += sign
	}
}

// amount is the history that goes when v falls below the floor, in bytes: its predecessor, which only readers
// before v needed, and v itself if it is a tombstone.
func (s *sums[R]) amount(v *Version[R]) int64 {
	var n int64
	if p := v.prev.Live(); p != nil {
		n = s.size(p.key, &p.Record)
	}
	if v.Deleted() {
		n += s.size(v.key, &v.Record)
	}
	return n
}
