package state

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/okapi-kv/okapi/internal/core/command"
)

// row is one key as a reader meets it: a plain key, or a znode that is a key.
type row struct {
	key   string // the plain key, or the path
	rev   int64  // mod_revision of a plain key
	value *value // nil for a znode
	node  *znode // nil for a plain key
	gone  bool   // node is what the tombstone of a znode keeps
}

// keyValue makes of a row what etcd clients see. prefix is the mount point of the tree. A lean one has no
// value and no lease.
func (r row) keyValue(prefix string, lean bool) KeyValue {
	var kv KeyValue
	if z := r.node; z != nil {
		kv = KeyValue{
			Key: prefix + r.key, CreateRevision: z.create, ModRevision: z.mod,
			Version: int64(z.version) + 1, Lease: z.owner, Value: z.data,
		}
	} else {
		kv = KeyValue{
			Key: r.key, CreateRevision: r.value.create, ModRevision: r.rev,
			Version: r.value.version, Lease: r.value.lease, Value: r.value.data,
		}
	}
	if lean {
		kv.Value, kv.Lease = nil, 0
	}
	return kv
}

// reading is one walk over the keys of a span on behalf of a caller.
type reading struct {
	view   View
	caller *command.Caller
	seq    uint64 // the moment that is read; that of the view, or earlier
	rev    int64  // the revision asked for; 0 if it is the view's own
	strict bool   // a znode that the caller may not read refuses the walk, rather than being absent

	code    Code
	acl     *accessList // the list asked last, and what it said: neighbours mostly share one
	aclCode Code
}

// each calls fn for each key of a span, in byte order, until fn returns false.
func (rd *reading) each(s span, fn func(row) bool) Code {
	m := rd.view.m
	if !m.mount.coversSpan(s) {
		scan(m.plain, s, rd.seq, rd.view.Yield, func(v *plainVersion) bool {
			return rd.current(m.compacted) && fn(plainRow(v))
		})
		return rd.code
	}
	m.scanNodes(m.mount.paths(s), rd.seq, rd.view.Yield, func(v *treeVersion) bool {
		switch {
		case !rd.current(m.treeHistory.floor):
			return false
		case rd.view.txn && rd.rev == 0 && m.doomed(v.Key()): // what it was in the past can still be read
			return true
		}
		if code := rd.mayRead(v); code != OK {
			if rd.strict {
				rd.code = code
			}
			return !rd.strict
		}
		return fn(treeRow(v))
	})
	return rd.code
}

// current says whether the history that is read is still there: a compaction may have passed while the
// walk yielded. What the view itself shows stays, because it is pinned.
func (rd *reading) current(floor int64) bool {
	if rd.rev != 0 && rd.rev < floor {
		rd.code = Compacted
	}
	return rd.code == OK
}

// mayRead asks the access list of the version that is read and, if that is an old one and the node
// still lives, today's too: who takes the right to read a node away means its past as well.
func (rd *reading) mayRead(v *treeVersion) Code {
	if code := rd.listAllows(v.Record.acl); code != OK || rd.rev == 0 {
		return code
	}
	if today := rd.view.m.tree.Get(v.Key()).At(rd.view.seq); today != nil {
		return rd.listAllows(today.Record.acl)
	}
	return OK
}

// listAllows asks one access list.
func (rd *reading) listAllows(acl *accessList) Code {
	if acl != rd.acl {
		rd.acl, rd.aclCode = acl, rd.view.m.nodeAllows(rd.caller, acl, command.PermRead)
	}
	return rd.aclCode
}

// seqAt returns the sequence number at which a request for a revision reads; 0 or less is the view itself.
func seqAt(v View, rev int64, s span) (uint64, Code) {
	switch {
	case rev > v.revision:
		return 0, FutureRevision
	case rev <= 0 || rev == v.revision:
		return v.seq, OK
	case rev < floorOf(v.m, s):
		return 0, Compacted
	case v.m.mount.coversSpan(s):
		return min(v.seq, v.m.tree.SeqAt(rev)), OK
	default:
		return min(v.seq, v.m.plain.SeqAt(rev)), OK
	}
}

// floorOf returns the lowest revision at which the keys of a span can be read.
func floorOf(m *Machine, s span) int64 {
	if m.mount.coversSpan(s) {
		return m.treeHistory.floor
	}
	return m.compacted
}

// fetch answers a Range whose caller may make it. res is empty; the memory of its KVs is used.
func fetch(v View, c *command.Caller, r *command.Range, res *RangeResult) Code {
	s := spanOf(r.Key, r.End)
	seq, code := seqAt(v, r.Revision, s)
	if code != OK {
		return code
	}
	if s.single && !v.m.inTree(s.from) {
		fetchKey(v.m, r, seq, res)
		return OK
	}
	rd := reading{view: v, caller: c, seq: seq, strict: s.single}
	if r.Revision > 0 && r.Revision != v.revision {
		rd.rev = r.Revision
	}
	keep := keepOf(r)
	lean := r.KeysOnly && r.SortTarget != command.SortByValue
	code = rd.each(s, func(row row) bool {
		res.Count++
		if r.CountOnly || keep > 0 && int64(len(res.KVs)) >= keep {
			return true
		}
		if kv := row.keyValue(v.m.mount.prefix, lean); passes(r, &kv) {
			res.KVs = append(res.KVs, kv)
		}
		return true
	})
	if code != OK {
		return code
	}
	arrange(r, res)
	return OK
}

// fetchKey answers a Range of one plain key, which is the request that servers get most.
func fetchKey(m *Machine, r *command.Range, seq uint64, res *RangeResult) {
	v := m.plain.Get(r.Key).At(seq)
	if v == nil {
		return
	}
	res.Count = 1
	if r.CountOnly {
		return
	}
	kv := plainRow(v).keyValue("", r.KeysOnly && r.SortTarget != command.SortByValue)
	if !passes(r, &kv) {
		return
	}
	if r.KeysOnly {
		kv.Value = nil
	}
	res.KVs = append(res.KVs, kv)
}

// fetchNew is fetch with a result of its own.
func fetchNew(v View, c *command.Caller, r *command.Range) (*RangeResult, Code) {
	res := &RangeResult{}
	if code := fetch(v, c, r, res); code != OK {
		return nil, code
	}
	return res, OK
}

// keepOf returns how many keys, in key order, are worth keeping; 0 is all. One more than the limit tells
// whether there are more. If the result is to be sorted or filtered, all are needed. A sort target
// without a sort order does not count as such, though the result is sorted in the end: etcd then
// sorts what the limit has left.
func keepOf(r *command.Range) int64 {
	plain := r.SortOrder == command.SortNone ||
		r.SortOrder == command.SortAscending && r.SortTarget == command.SortByKey
	filtered := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	if !plain || filtered || r.Limit <= 0 || r.Limit+1 < r.Limit {
		return 0
	}
	return r.Limit + 1
}

// passes applies the bounds on revisions.
func passes(r *command.Range, kv *KeyValue) bool {
	switch {
	case r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision,
		r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision,
		r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision,
		r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision:
		return false
	}
	return true
}

// arrange sorts what was fetched and then cuts it to the limit. Keys that are equal in the target of the sort
// stay in key order: etcd leaves their order open, we may not, since members must agree.
func arrange(r *command.Range, res *RangeResult) {
	order := r.SortOrder
	if order == command.SortNone {
		order = command.SortAscending
	}
	if by := comparison(r.SortTarget); by != nil || order == command.SortDescending {
		slices.SortStableFunc(res.KVs, func(a, b KeyValue) int {
			switch {
			case by == nil: // descending by key, and no two are equal
				return cmp.Compare(b.Key, a.Key)
			case order == command.SortDescending:
				return by(&b, &a)
			default:
				return by(&a, &b)
			}
		})
	}
	if r.Limit > 0 && int64(len(res.KVs)) > r.Limit {
		res.KVs = res.KVs[:r.Limit:r.Limit]
		res.More = true
	}
	if r.KeysOnly {
		for i := range res.KVs {
			res.KVs[i].Value = nil
		}
	}
}

// comparison returns how a sort target orders keys; nil is by key, in which they come anyway.
func comparison(target command.SortTarget) func(a, b *KeyValue) int {
	switch target {
	case command.SortByVersion:
		return func(a, b *KeyValue) int { return cmp.Compare(a.Version, b.Version) }
	case command.SortByCreate:
		return func(a, b *KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) }
	case command.SortByMod:
		return func(a, b *KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) }
	case command.SortByValue:
		return func(a, b *KeyValue) int { return bytes.Compare(a.Value, b.Value) }
	default:
		return nil
	}
}
