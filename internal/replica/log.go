package replica

import (
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"

	"github.com/okapi-kv/okapi/internal/invariant"
)

// raftLogger passes raft's words on. Raft reports broken invariants through Panic and Fatal.
type raftLogger struct{ log *slog.Logger }

// Debug implements raft.Logger, like the methods below.
func (l raftLogger) Debug(v ...any)            { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Debugf(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }

// Info words are for developers: elections and the like are reported by the Replica itself.
func (l raftLogger) Info(v ...any)            { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Infof(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }

// Warning words are raft's view of ordinary faults.
func (l raftLogger) Warning(v ...any)            { l.log.Debug(fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }

// Error words are rare and worth an operator's look.
func (l raftLogger) Error(v ...any)            { l.log.Error(fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any) { l.log.Error(fmt.Sprintf(f, v...)) }

// Fatal and Panic stop the member.
func (l raftLogger) Fatal(v ...any) { invariant.Assert(false, "raft: "+fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(f string, v ...any) {
	invariant.Assert(false, "raft: "+fmt.Sprintf(f, v...))
}
func (l raftLogger) Panic(v ...any) { invariant.Assert(false, "raft: "+fmt.Sprint(v...)) }
func (l raftLogger) Panicf(f string, v ...any) {
	invariant.Assert(false, "raft: "+fmt.Sprintf(f, v...))
}

// RaftLogger makes raft speak through log: its ordinary words at debug level.
func RaftLogger(log *slog.Logger) raft.Logger { return raftLogger{log} }
