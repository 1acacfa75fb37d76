package command

// sample is one command of the golden files and of the fuzz corpus.
type sample struct {
	name string
	cmd  Command
}

func password(first byte) (p [PasswordSize]byte) {
	for i := range p {
		p[i] = first + byte(i)
	}
	return p
}

// kindSamples has at least one sample for each kind, with every field set in one of them. Kinds
// that stand only inside another are given by themselves here and wrapped by place.
func kindSamples() map[Kind][]sample {
	open := []ACL{{PermAll, "world", "anyone"}}
	return map[Kind][]sample{
		KindPut: {
			{"plain", &Put{Key: "k", Value: []byte("v")}},
			{"all", &Put{Key: "key\x00\xff", Value: []byte{0, 255}, Lease: -2, PrevKV: true, IgnoreValue: true, IgnoreLease: true}},
			{"empty value", &Put{Key: "k", Value: []byte{}}},
			{"nil value", &Put{Key: "k", Lease: 0x1122334455667788}},
		},
		KindRange: {
			{"plain", &Range{Key: "a", End: "b", KeysOnly: true}},
			{"all", &Range{
				Key: "a", End: "\x00", Limit: 500, Revision: -1, SortOrder: SortDescending, SortTarget: SortByValue,
				CountOnly: true, MinModRevision: 1, MaxModRevision: 2, MinCreateRevision: 3, MaxCreateRevision: 1 << 40,
			}},
		},
		KindDeleteRange: {
			{"one", &DeleteRange{Key: "a"}},
			{"range", &DeleteRange{Key: "a", End: "b", PrevKV: true}},
		},
		KindTxn: {
			{"empty", &Txn{}},
			{"all", &Txn{
				Compares: []Compare{
					{Key: "a", Target: CompareValue, Result: CompareNotEqual, Value: []byte{}},
					{Key: "a", End: "b", Target: CompareLease, Result: 99, Number: -5},
				},
				Success: []Command{&Put{Key: "a", Value: []byte("1")}, &Txn{Failure: []Command{&DeleteRange{Key: "x"}}}},
				Failure: []Command{&Range{Key: "a"}},
			}},
		},
		KindCompact:     {{"all", &Compact{Revision: 1000}}},
		KindLeaseGrant:  {{"all", &LeaseGrant{ID: 0x694d7a1b2c3d4e5f, TTL: 60}}},
		KindLeaseRevoke: {{"all", &LeaseRevoke{ID: 7}}},
		KindAlarm:       {{"all", &Alarm{Action: AlarmDeactivate, Member: 0x8e9e05c52164694d, Alarm: AlarmNoSpace}}},
		KindCreate: {
			{"all", &Create{Path: "/a/b-", Data: []byte("data"), ACL: open, Flags: FlagEphemeralSequential, TTL: NoTTL}},
			{"null data", &Create{Path: "/a", ACL: []ACL{{1, "digest", "ann:x="}, {-1, "", ""}}, Flags: FlagTTL, TTL: 30000}},
			{"no acl", &Create{Path: "", Data: []byte{}, Flags: -1}},
		},
		KindDelete: {{"all", &Delete{Path: "/a", Version: AnyVersion}}},
		KindSetData: {
			{"all", &SetData{Path: "/a", Data: []byte("x"), Version: 1<<31 - 1}},
			{"null data", &SetData{Path: "/a", Version: -1 << 31}},
		},
		KindSetACL: {{"all", &SetACL{Path: "/a", ACL: open, Version: 3}}},
		KindCheck:  {{"all", &Check{Path: "/a", Version: 5}}},
		KindMulti: {
			{"empty", &Multi{}},
			{"all", &Multi{Ops: []Command{
				&Create{Path: "/a", ACL: open, TTL: NoTTL}, &Delete{Path: "/b"}, &SetData{Path: "/c"}, &Check{Path: "/d"},
			}}},
		},
		KindOpenSession:   {{"all", &OpenSession{ID: 0x100000000000001, Password: password(0), Timeout: 30000}}},
		KindAttachSession: {{"all", &AttachSession{ID: -1, Password: password(240), Timeout: -1}}},
		KindCloseSession:  {{"all", &CloseSession{}}},
		KindBootstrap: {{"all", &Bootstrap{Settings: Settings{
			TreePrefix: "/zk", TreeHistory: 600000, QuotaBytes: 2 << 30, TreeQuotaBytes: 1 << 30,
			ExtendedTypes: true, EnforceQuota: true, SkipACL: true,
		}}}},
		KindExpire: {{"all", &Expire{ID: 9, Generation: 3, Term: 12}}},
		KindReap:   {{"all", &Reap{Path: "/c", Czxid: 0x200000001}}},
		KindPublishMember: {
			{"all", &PublishMember{ID: 0x8e9e05c52164694d, Name: "n1", ClientURLs: []string{"http://10.0.0.1:2379", "http://n1:2379"}}},
			{"nothing to say", &PublishMember{ID: 1}},
		},
		KindChangeMembers: {
			{"replace", &ChangeMembers{Changes: []MemberChange{
				{Action: RemoveMember, ID: 0x8e9e05c52164694d},
				{Action: AddMember, ID: 5, Role: Observer, PeerURLs: []string{"http://10.0.0.5:2380", "http://n5:2380"}},
			}, Verdict: Proceed}},
			{"refused", &ChangeMembers{Changes: []MemberChange{{Action: SetRole, ID: 7}}, Verdict: NotCaughtUp, Behind: 1 << 40}},
			{"nothing", &ChangeMembers{}},
		},
		KindSetLevel: {{"all", &SetLevel{Level: 2}}},
	}
}

// kinds are the kinds in order.
func kinds() []Kind {
	var list []Kind
	for k := range len(kindNames) {
		if kindNames[k] != "" {
			list = append(list, Kind(k))
		}
	}
	return list
}

// proposalOf puts a command where it may stand and adds an id.
func proposalOf(c Command) Proposal {
	switch {
	case atTop.allows(c.Kind()):
	case inTxn.allows(c.Kind()):
		c = &Txn{Success: []Command{c}}
	default:
		c = &Multi{Ops: []Command{c}}
	}
	return Proposal{ID: ID{Member: 0x0102030405060708, Number: 300}, Command: c}
}

// callerSamples are the shapes of callers.
func callerSamples() []Caller {
	return []Caller{
		{},
		{Protocol: Etcd, User: "ann", AuthRevision: 17},
		{Protocol: Etcd, AuthRevision: 1},
		{
			Protocol: ZooKeeper, Identities: []Identity{{"ip", "10.1.2.3"}, {"digest", "ann:x="}},
			Session: 0x100000000000001, Generation: 2, Sequence: 1 << 33,
		},
		{Protocol: ZooKeeper, Session: -1},
	}
}

func batchSample() Batch {
	b := Batch{Time: 1700000000123}
	for i, c := range callerSamples() {
		p := proposalOf(&Put{Key: "k", Value: []byte{byte(i)}})
		p.Caller = c
		p.ID.Number = uint64(i)
		b.Proposals = append(b.Proposals, p)
	}
	return b
}
