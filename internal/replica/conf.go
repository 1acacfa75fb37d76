package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// changeConf decodes a configuration change and keeps the configuration as of this entry, which a
// snapshot taken here must carry.
func (a *Applier) changeConf(e *raftpb.Entry, done *Applied) error {
	change, err := decodeConfChange(e)
	if err != nil {
		return err
	}
	conf, err := nextConf(a.conf, change, e.GetIndex())
	if err != nil {
		return err
	}
	a.conf = conf
	done.Changes = append(done.Changes, change)
	return nil
}

func decodeConfChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if e.GetType() == raftpb.EntryConfChange {
		cc := new(raftpb.ConfChange)
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return nil, fmt.Errorf("decode configuration change: %w", err)
		}
		return cc.AsV2(), nil
	}
	cc := new(raftpb.ConfChangeV2)
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, fmt.Errorf("decode configuration change: %w", err)
	}
	return cc, nil
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
