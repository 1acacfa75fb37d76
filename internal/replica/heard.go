package replica

// Heard knows when the leader last was sure to have heard of the client of one session, for the connection of that session. All is in
// ms of this member's monotonic clock. The zero value is for a session that has just been opened or attached here, at most a third of
// its timeout after the client asked for it.
//
// # Idea
//
// A member answers a ping when the session cannot end before the client has had time to ask somebody else. That a report of this member
// was confirmed lately does not say that: a client of whom nothing was heard for long, or a member that was held up, is not in it,
// and the leader may be about to end the session. So of the times at which the client was heard of, one is picked and
// waited for until the leader has confirmed a report that has it; then the next one.
type Heard [2]int64 // the last time that is confirmed, and the one that is waited for

// Again notes that the client is heard of now. The leader has confirmed what this member heard up to confirmed. It reports whether the
// session lives for 5/12 of its timeout from now at least: whether no more than 7/12 have passed since the leader was sure. Clients
// ping at each third of it, or more often.
func (h *Heard) Again(now, confirmed, timeoutMS int64) bool {
	sure, next := &h[0], &h[1]
	if *h == (Heard{}) {
		*sure, *next = now-timeoutMS/3, now
	}
	if confirmed >= *next {
		*sure, *next = *next, now
	}
	return now-*sure <= timeoutMS*7/12
}
