package server

import (
	"strings"

	"github.com/okapi-kv/okapi/internal/core/command"
	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/etcd"
	"github.com/okapi-kv/okapi/internal/telemetry"
)

// count makes what the member counts with.
func (m *member) count() error {
	m.metrics = telemetry.NewMetrics(telemetry.About{
		Version: Version, EtcdVersion: etcd.ServerVersion, ClusterVersion: strings.TrimSuffix(etcd.ClusterVersion, ".0"),
		MemberID: m.identity.MemberID,
	})
	return nil
}

// reading is how the member stands now.
func (m *member) reading() telemetry.Reading {
	s := m.replica.Status()
	self, _ := s.Members.ByID(s.ID)
	r := telemetry.Reading{
		MemberID: s.ID, LeaderID: s.Leader, Learner: self.Role != command.Voter, Committed: s.Commit, Applied: s.Applied,
		LogBytes: m.disk.Log.Written.Load(),
		DiskFree: s.DiskFree, DiskReserve: m.cfg.DiskReserveBytes, DiskLow: s.DiskLow, DiskFull: s.DiskFull,
	}
	m.replica.Store().Read(func(v state.View) {
		settings, _ := v.Settings()
		sizes, counts := v.Sizes(), state.Count(v)
		r.Revision, r.CompactRevision = v.Revision(), v.CompactRevision()
		r.Keys, r.Nodes, r.Leases, r.Sessions = counts.Keys, counts.Nodes, counts.Leases, counts.Sessions
		r.KeyBytes, r.KeyQuota = sizes.Plain, boundOrNone(settings.QuotaBytes)
		r.TreeBytes, r.TreeQuota = sizes.Tree, boundOrNone(settings.TreeQuotaBytes)
		for _, a := range v.Alarms() {
			r.Alarms = append(r.Alarms, telemetry.Alarm{Member: a.Member, Type: alarmName(a.Type)})
		}
	})
	for _, p := range m.transport.Status() {
		r.Peers = append(r.Peers, telemetry.Peer{
			ID: p.ID, Linked: p.Linked, BytesSent: p.BytesSent, BytesReceived: p.BytesReceived,
			SendFailures: p.FramesDropped, ReceiveFailures: p.LinksBroken, Losses: p.LinksLost,
		})
	}
	return r
}

// boundOrNone turns the setting for no bound into the flag for it.
func boundOrNone(setting int64) int64 {
	if setting == 0 {
		return -1
	}
	return setting
}

// alarmName is etcd's name of a type of alarm.
func alarmName(t command.AlarmType) string {
	switch t {
	case command.AlarmNoSpace:
		return "NOSPACE"
	case command.AlarmCorrupt:
		return "CORRUPT"
	default:
		return "NONE"
	}
}
