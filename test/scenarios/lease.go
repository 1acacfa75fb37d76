package scenarios

import (
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func leaseScenarios() []Scenario {
	return []Scenario{
		{Name: "grant and revoke", Run: grantAndRevoke},
		{Name: "time to live", Run: timeToLive},
		{Name: "keep alive", Run: keepAlive},
		{Name: "leases of keys", Run: leasesOfKeys},
		{Name: "expiry", Run: expiry},
	}
}

// longTTL is one, in seconds, that no scenario lives to see the end of.
const longTTL = 1000

func (u *User) grant(ttl int64) clientv3.LeaseID {
	u.Helper()
	response, err := u.Grant(u.Ctx, ttl)
	u.ok(err)
	return response.ID
}

func grantAndRevoke(u *User) {
	response, err := u.Grant(u.Ctx, longTTL)
	u.ok(err)
	u.same("the granted time", response.TTL, longTTL)
	if response.ID <= 0 {
		u.Errorf("the server chose the id %d", response.ID)
	}
	u.put("a", "1", clientv3.WithLease(response.ID))
	u.put("b", "1", clientv3.WithLease(response.ID))
	u.put("c", "1")
	revision := u.get("c").Header.Revision
	revoked, err := u.Revoke(u.Ctx, response.ID)
	u.ok(err)
	u.same("the revision of a revocation", revoked.Header.Revision, revision+1)
	u.same("what is left", u.names(u.get("", clientv3.WithPrefix()).Kvs), "c")
	_, err = u.Revoke(u.Ctx, response.ID)
	u.refused(err, rpctypes.ErrLeaseNotFound)
	_, err = u.Put(u.Ctx, u.key("d"), "1", clientv3.WithLease(response.ID))
	u.refused(err, rpctypes.ErrLeaseNotFound)
	_, err = u.Grant(u.Ctx, 9000000001)
	u.refused(err, rpctypes.ErrLeaseTTLTooLarge)
}

func timeToLive(u *User) {
	id := u.grant(longTTL)
	u.put("b", "1", clientv3.WithLease(id))
	u.put("a", "1", clientv3.WithLease(id))
	response, err := u.TimeToLive(u.Ctx, id, clientv3.WithAttachedKeys())
	u.ok(err)
	u.same("the granted time", response.GrantedTTL, longTTL)
	if response.TTL <= 0 || response.TTL > longTTL {
		u.Errorf("the time that is left is %d s", response.TTL)
	}
	var keys []string
	for _, key := range response.Keys {
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	u.same("the keys of the lease", keys, []string{u.key("a"), u.key("b")})
	response, err = u.TimeToLive(u.Ctx, id)
	u.ok(err)
	u.same("its keys if they are not asked for", len(response.Keys), 0)
	_, err = u.Revoke(u.Ctx, id)
	u.ok(err)
	response, err = u.TimeToLive(u.Ctx, id)
	u.ok(err)
	u.same("the time of a lease that is gone", response.TTL, -1)
}

func keepAlive(u *User) {
	id := u.grant(longTTL)
	once, err := u.KeepAliveOnce(u.Ctx, id)
	u.ok(err)
	u.same("the time after a keep-alive", once.TTL, longTTL)
	alive, err := u.KeepAlive(u.Ctx, id)
	u.ok(err)
	u.same("the lease that is kept", receive(u, "a keep-alive", alive).ID, id)
	_, err = u.Revoke(u.Ctx, id)
	u.ok(err)
	_, err = u.KeepAliveOnce(u.Ctx, id)
	u.refused(err, rpctypes.ErrLeaseNotFound)
}

func leasesOfKeys(u *User) {
	first, second := u.grant(longTTL), u.grant(longTTL)
	u.put("a", "1", clientv3.WithLease(first))
	u.put("a", "2", clientv3.WithLease(second))
	u.same("the lease after a put with another", u.get("a").Kvs[0].Lease, int64(second))
	_, err := u.Revoke(u.Ctx, first)
	u.ok(err)
	u.same("after the first is gone", u.pairs(u.get("a").Kvs), "a=2")
	u.put("a", "3", clientv3.WithIgnoreLease())
	u.same("the lease after a put that ignores it", u.get("a").Kvs[0].Lease, int64(second))
	u.put("a", "4")
	_, err = u.Revoke(u.Ctx, second)
	u.ok(err)
	u.same("after a put without lease", u.pairs(u.get("a").Kvs), "a=4")

	third := u.grant(longTTL)
	listed, err := u.Leases(u.Ctx)
	u.ok(err)
	found := slices.ContainsFunc(listed.Leases, func(l clientv3.LeaseStatus) bool { return l.ID == third })
	u.same("whether the list of leases has the third", found, true)
}

// expiry lets a lease run out: its keys go at once, in one revision.
func expiry(u *User) {
	response, err := u.Grant(u.Ctx, 1)
	u.ok(err)
	if response.TTL < 1 {
		u.Errorf("the granted time is %d s", response.TTL)
	}
	watch := u.Client.Watch(u.Ctx, u.key(""), clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	receive(u, "the watch", watch)
	u.put("a", "1", clientv3.WithLease(response.ID))
	u.put("b", "1", clientv3.WithLease(response.ID))
	gone := receive(u, "the expiry", watch)
	u.same("how many keys go at once", len(gone.Events), 2)
	for _, e := range gone.Events {
		u.same("the kind of event", e.Type, mvccpb.DELETE)
		u.same("its revision", e.Kv.ModRevision, gone.Header.Revision)
	}
	_, err = u.KeepAliveOnce(u.Ctx, response.ID)
	u.refused(err, rpctypes.ErrLeaseNotFound)
	u.same("what is left", fmt.Sprint(u.get("", clientv3.WithPrefix()).Count), "0")
}
