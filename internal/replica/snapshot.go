package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/okapi-kv/okapi/internal/core/state"
	"github.com/okapi-kv/okapi/internal/snapshot"
	"github.com/okapi-kv/okapi/internal/vfs"
)

// snapshotsKept is how many snapshots stay on disk: the newest, and the one before it.
const snapshotsKept = 2

// encodeConf is the payload of a snapshot: the configuration as of its entry.
func encodeConf(conf *raftpb.ConfState) []byte {
	var b []byte
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetLearners(), conf.GetVotersOutgoing(), conf.GetLearnersNext()} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.BigEndian.AppendUint64(b, id)
		}
	}
	if conf.GetAutoLeave() {
		return append(b, 1)
	}
	return append(b, 0)
}

// errConf says that the payload of a snapshot is no configuration.
var errConf = errors.New("malformed configuration in a snapshot")

func decodeConf(b []byte) (*raftpb.ConfState, error) {
	r := frameReader{rest: b}
	conf := new(raftpb.ConfState)
	for _, ids := range []*[]uint64{&conf.Voters, &conf.Learners, &conf.VotersOutgoing, &conf.LearnersNext} {
		n := r.uvarint()
		if r.bad || n > uint64(len(r.rest))/8 {
			return nil, errConf
		}
		for range n {
			*ids = append(*ids, binary.BigEndian.Uint64(r.rest))
			r.rest = r.rest[8:]
		}
	}
	if len(r.rest) != 1 || r.rest[0] > 1 {
		return nil, errConf
	}
	conf.AutoLeave = proto.Bool(r.rest[0] == 1)
	return conf, nil
}

// WriteSnapshot makes a durable snapshot of the store, which goes on applying meanwhile, and returns what it is
// of.
func WriteSnapshot(fs vfs.FS, dir string, store *Store) (done SnapshotTaken, err error) {
	store.Export(func(v state.View, conf *raftpb.ConfState) (sink state.Sink, finish func(error)) {
		done.Conf = conf
		done.Index, done.Term = v.Index()
		w, cerr := snapshot.Create(fs, dir, snapshot.Meta{Index: done.Index, Term: done.Term, Payload: encodeConf(conf)})
		if cerr != nil {
			err = cerr
			return nil, nil
		}
		return w, func(xerr error) {
			err = xerr
			if err == nil {
				err = w.Commit()
			}
			if err != nil {
				w.Abort()
			}
		}
	})
	if err != nil {
		return done, fmt.Errorf("write snapshot: %w", err)
	}
	return done, snapshot.Purge(fs, dir, snapshotsKept)
}

// ReadSnapshot loads the machine, with the seed that state.Load wants, and the configuration from a snapshot file.
func ReadSnapshot(fs vfs.FS, name string, seed uint64) (*state.Machine, *raftpb.ConfState, error) {
	r, err := snapshot.Open(fs, name)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	conf, err := decodeConf(r.Meta().Payload)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := state.Load(r, seed)
	if err != nil {
		return nil, nil, fmt.Errorf("load %s: %w", name, err)
	}
	if _, _, err := r.Next(); err != io.EOF {
		return nil, nil, fmt.Errorf("load %s: %w after the last record", name, errors.Join(err, errTrailing))
	}
	return m, conf, nil
}

// errTrailing says that a snapshot goes on after its end.
var errTrailing = errors.New("more records")
