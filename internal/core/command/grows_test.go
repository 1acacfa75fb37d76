package command

import "testing"

// Each kind is said to grow or not; one that is new must be thought about.
func TestGrows(t *testing.T) {
	grows := map[Kind]bool{
		KindPut: true, KindLeaseGrant: true, KindCreate: true, KindSetData: true, KindSetACL: true,
		KindRange: false, KindDeleteRange: false, KindCompact: false, KindLeaseRevoke: false, KindAlarm: false, KindDelete: false,
		KindCheck: false, KindOpenSession: false, KindAttachSession: false, KindCloseSession: false, KindBootstrap: false,
		KindExpire: false, KindReap: false, KindPublishMember: false, KindChangeMembers: false, KindSetLevel: false,
	}
	for kind, samples := range kindSamples() {
		want, listed := grows[kind]
		if kind == KindTxn || kind == KindMulti {
			continue
		}
		if !listed {
			t.Errorf("%v: nobody has said whether it grows", kind)
		}
		for _, s := range samples {
			if got := Grows(s.cmd); got != want {
				t.Errorf("%v %s: grows %v, want %v", kind, s.name, got, want)
			}
		}
	}
	put, remove := &Put{Key: "a"}, &DeleteRange{Key: "a"}
	for _, c := range []struct {
		name string
		cmd  Command
		want bool
	}{
		{"txn of nothing", &Txn{}, false},
		{"txn that deletes", &Txn{Success: []Command{remove}, Failure: []Command{remove}}, false},
		{"txn that puts", &Txn{Success: []Command{remove, put}}, true},
		{"txn that may put", &Txn{Failure: []Command{put}}, true},
		{"txn in a txn that puts", &Txn{Failure: []Command{&Txn{Success: []Command{put}}}}, true},
		{"multi that deletes", &Multi{Ops: []Command{&Check{}, &Delete{}}}, false},
		{"multi that sets", &Multi{Ops: []Command{&Delete{}, &SetData{}}}, true},
	} {
		if got := Grows(c.cmd); got != c.want {
			t.Errorf("%s: grows %v, want %v", c.name, got, c.want)
		}
	}
}
