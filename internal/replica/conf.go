package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
)

// decodeChange decodes an entry that changes the configuration. What the state machine is to do goes into batch; an entry
// that leaves a joint configuration has nothing for it.
func decodeChange(e *raftpb.Entry, batch *command.Batch) (*raftpb.ConfChangeV2, error) {
	if e.GetType() != raftpb.EntryConfChangeV2 {
		return nil, fmt.Errorf("decode configuration change: %w: type %v", errConf, e.GetType())
	}
	cc := new(raftpb.ConfChangeV2)
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, fmt.Errorf("decode configuration change: %w", err)
	}
	if len(cc.GetContext()) == 0 {
		return cc, nil
	}
	return cc, command.DecodeBatch(cc.GetContext(), batch)
}

// configure returns the configuration after an entry, of which batch is the state machine's part: that before it if the
// state machine is about to refuse the change. v is the state before the entry.
func (a *Applier) configure(e *raftpb.Entry, cc *raftpb.ConfChangeV2, v state.View, done *Applied) (*raftpb.ConfState, error) {
	done.ConfIndex = e.GetIndex()
	for i := range a.batch.Proposals {
		c, ok := a.batch.Proposals[i].Command.(*command.ChangeMembers)
		if ok && !state.WouldChange(v, c) {
			return a.conf, nil
		}
	}
	conf, err := nextConf(a.conf, cc, e.GetIndex())
	if err != nil {
		return nil, err
	}
	done.Changes = append(done.Changes, cc)
	return conf, nil
}

// nextConf computes the configuration after a change, as raft does.
func nextConf(conf *raftpb.ConfState, cc *raftpb.ConfChangeV2, index uint64) (*raftpb.ConfState, error) {
	changer := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: index}
	cfg, progress, err := confchange.Restore(changer, conf)
	if err != nil {
		return nil, fmt.Errorf("restore configuration: %w", err)
	}
	changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
	switch autoLeave, joint := cc.EnterJoint(); {
	case cc.LeaveJoint():
		cfg, _, err = changer.LeaveJoint()
	case joint:
		cfg, _, err = changer.EnterJoint(autoLeave, cc.GetChanges()...)
	default:
		cfg, _, err = changer.Simple(cc.GetChanges()...)
	}
	if err != nil {
		return nil, fmt.Errorf("change configuration: %w", err)
	}
	changer.Tracker.Config = cfg
	return changer.Tracker.ConfState(), nil
}
