package scenarios

import (
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func memberScenarios() []Scenario {
	return []Scenario{
		{Name: "status", Run: statusOfMember},
		{Name: "hash of keys", Run: hashOfKeys},
		{Name: "upkeep", Run: upkeep},
		{Name: "members", Run: members},
	}
}

func statusOfMember(u *User) {
	revision := u.put("a", "1")
	status, err := u.Status(u.Ctx, u.endpoint)
	u.ok(err)
	u.same("the revision", status.Header.Revision, revision)
	u.same("who leads", status.Leader, status.Header.MemberId)
	u.same("what is wrong", len(status.Errors), 0)
	if status.Version == "" || status.DbSize <= 0 || status.DbSizeInUse <= 0 || status.RaftIndex == 0 || status.RaftTerm == 0 {
		u.Errorf("the status is %v", status)
	}
	if status.RaftAppliedIndex > status.RaftIndex {
		u.Errorf("index %d is applied, and %d is the last", status.RaftAppliedIndex, status.RaftIndex)
	}
}

func hashOfKeys(u *User) {
	first := u.put("a", "1")
	hash := func(revision int64) *clientv3.HashKVResponse {
		response, err := u.HashKV(u.Ctx, u.endpoint, revision)
		u.ok(err)
		return response
	}
	before := hash(0)
	u.put("a", "2")
	u.same("the hash of a revision, asked later", hash(first).Hash, before.Hash)
	if hash(0).Hash == before.Hash {
		u.Errorf("the hash does not change with the keys")
	}
	if _, err := u.HashKV(u.Ctx, u.endpoint, first+100); err == nil {
		u.Errorf("a future revision has a hash")
	}
}

func upkeep(u *User) {
	alarms, err := u.AlarmList(u.Ctx)
	u.ok(err)
	u.same("alarms", len(alarms.Alarms), 0)
	_, err = u.Defragment(u.Ctx, u.endpoint)
	u.ok(err)
	u.put("a", "1")
	u.same("a key after all that", u.pairs(u.get("a").Kvs), "a=1")
}

func members(u *User) {
	response, err := u.MemberList(u.Ctx)
	u.ok(err)
	u.same("how many members there are", len(response.Members), 1)
	member := response.Members[0]
	u.same("its id", member.ID, response.Header.MemberId)
	u.same("where it serves clients", member.ClientURLs, []string{"http://" + u.endpoint})
	if member.Name == "" || len(member.PeerURLs) != 1 || member.IsLearner {
		u.Errorf("the member is %v", member)
	}
	u.same("the endpoints after a look at the members", func() string {
		u.ok(u.Sync(u.Ctx))
		return fmt.Sprint(u.Endpoints())
	}(), []string{"http://" + u.endpoint})
}
