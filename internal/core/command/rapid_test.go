package command

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func anyString() *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) })
}

// anyBytes draws nil, empty and other slices.
func anyBytes() *rapid.Generator[[]byte] {
	return rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOfN(rapid.Byte(), 0, 300))
}

// orNil turns an empty slice into nil, the form in which lists are decoded.
func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func anyInt32() *rapid.Generator[int32] { return rapid.Int32() }

func anyACL(t *rapid.T) []ACL {
	return orNil(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ACL {
		return ACL{Permission(anyInt32().Draw(t, "perms")), anyString().Draw(t, "scheme"), anyString().Draw(t, "id")}
	}), 0, 3).Draw(t, "acl"))
}

func anyCompare(t *rapid.T) Compare {
	return Compare{
		Key: anyString().Draw(t, "key"), End: anyString().Draw(t, "end"),
		Target: CompareTarget(anyInt32().Draw(t, "target")), Result: CompareResult(anyInt32().Draw(t, "result")),
		Number: rapid.Int64().Draw(t, "number"), Value: anyBytes().Draw(t, "value"),
	}
}

func anyPassword(t *rapid.T) (p [PasswordSize]byte) {
	copy(p[:], rapid.SliceOfN(rapid.Byte(), PasswordSize, PasswordSize).Draw(t, "password"))
	return p
}

func anyOps(t *rapid.T, where place, depth int) []Command {
	var allowed []Kind
	for _, k := range kinds() {
		if where.allows(k) && (k != KindTxn || depth < 3) {
			allowed = append(allowed, k)
		}
	}
	return orNil(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Command {
		return anyCommand(t, rapid.SampledFrom(allowed).Draw(t, "kind"), depth)
	}), 0, 3).Draw(t, "ops"))
}

func anyCommand(t *rapid.T, k Kind, depth int) Command {
	str := func(what string) string { return anyString().Draw(t, what) }
	i64 := func(what string) int64 { return rapid.Int64().Draw(t, what) }
	u64 := func(what string) uint64 { return rapid.Uint64().Draw(t, what) }
	i32 := func(what string) int32 { return anyInt32().Draw(t, what) }
	data := func(what string) []byte { return anyBytes().Draw(t, what) }
	yes := func(what string) bool { return rapid.Bool().Draw(t, what) }
	switch k {
	case KindPut:
		return &Put{str("key"), data("value"), i64("lease"), yes("prev"), yes("ignore value"), yes("ignore lease")}
	case KindRange:
		c := &Range{Key: str("key"), End: str("end"), KeysOnly: yes("keys"), CountOnly: yes("count")}
		if yes("rest") {
			c.Limit, c.Revision = i64("limit"), i64("revision")
			c.SortOrder, c.SortTarget = SortOrder(i32("order")), SortTarget(i32("target"))
			c.MinModRevision, c.MaxModRevision = i64("min mod"), i64("max mod")
			c.MinCreateRevision, c.MaxCreateRevision = i64("min create"), i64("max create")
		}
		return c
	case KindDeleteRange:
		return &DeleteRange{str("key"), str("end"), yes("prev")}
	case KindTxn:
		cmps := orNil(rapid.SliceOfN(rapid.Custom(anyCompare), 0, 3).Draw(t, "compares"))
		return &Txn{cmps, anyOps(t, inTxn, depth+1), anyOps(t, inTxn, depth+1)}
	case KindCompact:
		return &Compact{i64("revision")}
	case KindLeaseGrant:
		return &LeaseGrant{i64("id"), i64("ttl")}
	case KindLeaseRevoke:
		return &LeaseRevoke{i64("id")}
	case KindAlarm:
		return &Alarm{AlarmAction(i32("action")), u64("member"), AlarmType(i32("alarm"))}
	case KindCreate:
		return &Create{str("path"), data("data"), anyACL(t), i32("flags"), i64("ttl")}
	case KindDelete:
		return &Delete{str("path"), i32("version")}
	case KindSetData:
		return &SetData{str("path"), data("data"), i32("version")}
	case KindSetACL:
		return &SetACL{str("path"), anyACL(t), i32("version")}
	case KindCheck:
		return &Check{str("path"), i32("version")}
	case KindMulti:
		return &Multi{anyOps(t, inMulti, depth)}
	case KindOpenSession:
		return &OpenSession{i64("id"), anyPassword(t), i32("timeout")}
	case KindAttachSession:
		return &AttachSession{i64("id"), anyPassword(t), i32("timeout")}
	case KindCloseSession:
		return &CloseSession{}
	case KindBootstrap:
		return &Bootstrap{Settings{
			str("prefix"), i64("history"), i64("quota"), i64("tree quota"), yes("types"), yes("enforce"), yes("skip"),
		}}
	case KindExpire:
		return &Expire{i64("id"), u64("generation"), u64("term")}
	case KindReap:
		return &Reap{str("path"), i64("czxid")}
	case KindPublishMember:
		return &PublishMember{u64("member"), str("name"), orNil(rapid.SliceOfN(anyString(), 0, 3).Draw(t, "urls"))}
	case KindChangeMembers:
		changes := orNil(rapid.SliceOfN(rapid.Custom(anyMemberChange), 0, 3).Draw(t, "changes"))
		return &ChangeMembers{changes, Verdict(rapid.Byte().Draw(t, "verdict")), u64("behind")}
	case KindSetLevel:
		return &SetLevel{u64("level")}
	}
	t.Fatalf("no generator for kind %v", k)
	return nil
}

func anyMemberChange(t *rapid.T) MemberChange {
	return MemberChange{
		MemberAction(rapid.Byte().Draw(t, "action")), rapid.Uint64().Draw(t, "member"), Role(rapid.Byte().Draw(t, "role")),
		orNil(rapid.SliceOfN(anyString(), 0, 3).Draw(t, "urls")),
	}
}

func anyProposal(t *rapid.T) Proposal {
	p := proposalOf(anyCommand(t, rapid.SampledFrom(kinds()).Draw(t, "kind"), 0))
	p.ID = ID{rapid.Uint64().Draw(t, "member"), rapid.Uint64().Draw(t, "number")}
	p.Caller = Caller{
		Protocol: Protocol(rapid.IntRange(0, 2).Draw(t, "protocol")),
		User:     anyString().Draw(t, "user"), AuthRevision: rapid.Uint64().Draw(t, "auth revision"),
		Identities: orNil(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Identity {
			return Identity{anyString().Draw(t, "scheme"), anyString().Draw(t, "id")}
		}), 0, 3).Draw(t, "identities")),
		Session: rapid.Int64().Draw(t, "session"), Generation: rapid.Uint64().Draw(t, "generation"),
		Sequence: rapid.Uint64().Draw(t, "sequence"),
	}
	return p
}

// TestRoundTrip encodes and decodes batches of every kind: they come back as they were, Size bounds
// them, and a proposal has the same bytes by itself as in a batch.
func TestRoundTrip(t *testing.T) {
	var reused Batch
	rapid.Check(t, func(t *rapid.T) {
		want := Batch{
			Time:      rapid.Int64().Draw(t, "time"),
			Proposals: rapid.SliceOfN(rapid.Custom(anyProposal), 0, 4).Draw(t, "proposals"),
		}
		data := AppendBatch(nil, &want)
		if err := DecodeBatch(data, &reused); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Proposals, reused.Proposals[:len(reused.Proposals):len(reused.Proposals)], equateEmptyProposals()); diff != "" || want.Time != reused.Time {
			t.Fatalf("time %d, got %d, proposals (-want +got):\n%s", want.Time, reused.Time, diff)
		}
		for i := range want.Proposals {
			p := &want.Proposals[i]
			one := AppendProposal(nil, p)
			if len(one) > Size(p) {
				t.Fatalf("Size says at most %d bytes, it takes %d: %v", Size(p), len(one), p)
			}
			var got Proposal
			if err := DecodeProposal(one, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(*p, got); diff != "" {
				t.Fatalf("single proposal (-want +got):\n%s", diff)
			}
		}
	})
}

// equateEmptyProposals compares an empty list of proposals with none.
func equateEmptyProposals() cmp.Option {
	return cmp.FilterValues(func(a, b []Proposal) bool { return len(a)+len(b) == 0 }, cmp.Comparer(func(_, _ []Proposal) bool { return true }))
}

// TestDamaged changes bytes of an encoded batch: decoding ends with a result or a known error, never
// with a panic, and a result can be encoded again.
func TestDamaged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batch := Batch{Proposals: rapid.SliceOfN(rapid.Custom(anyProposal), 1, 3).Draw(t, "proposals")}
		data := AppendBatch(nil, &batch)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		checkDecode(t, data)
	})
}

type fataler interface{ Fatalf(string, ...any) }

// checkDecode decodes bytes of any origin.
func checkDecode(t fataler, data []byte) {
	var got, again Batch
	if err := DecodeBatch(data, &got); err != nil {
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrVersion) {
			t.Fatalf("unknown error %v", err)
		}
		return
	}
	if err := DecodeBatch(AppendBatch(nil, &got), &again); err != nil {
		t.Fatalf("decoding what was decoded and encoded: %v", err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Fatalf("second decoding differs (-first +second):\n%s", diff)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	b := batchSample()
	f.Add(AppendBatch(nil, &b))
	for _, list := range kindSamples() {
		for _, s := range list {
			f.Add(AppendBatch(nil, &Batch{Time: math.MaxInt64, Proposals: []Proposal{proposalOf(s.cmd)}}))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkDecode(t, data) })
}
