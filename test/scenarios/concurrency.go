package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func concurrencyScenarios() []Scenario {
	return []Scenario{
		{Name: "session", Run: sessions},
		{Name: "mutex", Run: mutexes},
		{Name: "mutex of a session that ends", Run: mutexOfEndedSession},
		{Name: "election", Run: elections},
		{Name: "election observed", Run: observedElection},
		{Name: "stm", Run: transfers},
	}
}

// session opens a session with a client of its own.
func (u *User) session() *concurrency.Session {
	u.Helper()
	session, err := concurrency.NewSession(u.dial(), concurrency.WithTTL(60), concurrency.WithContext(u.Ctx))
	u.ok(err)
	return session
}

func sessions(u *User) {
	session := u.session()
	u.put("a", "1", clientv3.WithLease(session.Lease()))
	u.ok(session.Close())
	<-session.Done()
	u.same("what a closed session leaves", u.get("a").Count, 0)
}

func mutexes(u *User) {
	first, second := u.session(), u.session()
	mine, other := concurrency.NewMutex(first, u.key("lock")), concurrency.NewMutex(second, u.key("lock"))
	u.ok(mine.Lock(u.Ctx))
	if err := other.TryLock(u.Ctx); !errors.Is(err, concurrency.ErrLocked) {
		u.Errorf("a second lock: %v", err)
	}
	response, err := u.Txn(u.Ctx).If(mine.IsOwner()).Commit()
	u.ok(err)
	u.same("whether the owner owns the lock", response.Succeeded, true)
	locked := runBeside(func() error { return other.Lock(u.Ctx) })
	u.await("the second to wait", func() bool { return u.get("lock/", clientv3.WithPrefix()).Count == 2 })
	select {
	case err := <-locked:
		u.Fatalf("two hold the lock: %v", err)
	default:
	}
	u.ok(mine.Unlock(u.Ctx))
	u.ok(receive(u, "the lock", locked))
	u.ok(other.Unlock(u.Ctx))
	u.same("what is left of a lock", u.get("lock/", clientv3.WithPrefix()).Count, 0)
}

func mutexOfEndedSession(u *User) {
	first, second := u.session(), u.session()
	u.ok(concurrency.NewMutex(first, u.key("lock")).Lock(u.Ctx))
	locked := runBeside(func() error { return concurrency.NewMutex(second, u.key("lock")).Lock(u.Ctx) })
	u.await("the second to wait", func() bool { return u.get("lock/", clientv3.WithPrefix()).Count == 2 })
	u.ok(first.Close())
	u.ok(receive(u, "the lock of a session that has ended", locked))
}

func elections(u *User) {
	first, second := u.session(), u.session()
	mine, other := concurrency.NewElection(first, u.key("office")), concurrency.NewElection(second, u.key("office"))
	if _, err := mine.Leader(u.Ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		u.Errorf("before the election: %v", err)
	}
	u.ok(mine.Campaign(u.Ctx, "first"))
	elected := runBeside(func() error { return other.Campaign(u.Ctx, "second") })
	leads := func(who string) {
		response, err := mine.Leader(u.Ctx)
		u.ok(err)
		u.same("who leads", string(response.Kvs[0].Value), who)
	}
	u.await("the second to stand", func() bool { return u.get("office/", clientv3.WithPrefix()).Count == 2 })
	leads("first")
	u.ok(mine.Proclaim(u.Ctx, "first again"))
	leads("first again")
	u.ok(mine.Resign(u.Ctx))
	u.ok(receive(u, "the election of the second", elected))
	leads("second")
	if err := mine.Proclaim(u.Ctx, "no"); !errors.Is(err, concurrency.ErrElectionNotLeader) {
		u.Errorf("a proclamation by who has resigned: %v", err)
	}
}

func observedElection(u *User) {
	first, second := u.session(), u.session()
	mine, other := concurrency.NewElection(first, u.key("office")), concurrency.NewElection(second, u.key("office"))
	u.ok(mine.Campaign(u.Ctx, "first"))
	ctx, cancel := context.WithCancel(u.Ctx)
	defer cancel()
	seen := other.Observe(ctx)
	u.same("who is seen to lead", string(receive(u, "the first", seen).Kvs[0].Value), "first")
	u.ok(mine.Proclaim(u.Ctx, "first again"))
	u.same("what is seen proclaimed", string(receive(u, "the proclamation", seen).Kvs[0].Value), "first again")
	u.ok(first.Close())
	u.ok(other.Campaign(u.Ctx, "second"))
	u.same("who is seen then", string(receive(u, "the second", seen).Kvs[0].Value), "second")
}

// runBeside calls f beside the scenario and returns where its result comes. f ends when the scenario's time does.
func runBeside(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() { result <- f() }()
	return result
}

// await repeats a question until the answer is yes.
func (u *User) await(what string, ask func() bool) {
	u.Helper()
	for !ask() {
		if u.Ctx.Err() != nil {
			u.Fatalf("waited in vain for %s", what)
		}
	}
}

// transfers moves amounts between accounts from several sides at once: the sum stays.
func transfers(u *User) {
	const accounts, workers, moves = 4, 3, 20
	for i := range accounts {
		u.put(fmt.Sprint(i), "100")
	}
	var results []<-chan error
	for worker := range workers {
		results = append(results, runBeside(func() error { return u.move(worker, accounts, moves) }))
	}
	for _, result := range results {
		u.ok(receive(u, "the end of a worker", result))
	}
	sum := 0
	for _, kv := range u.get("", clientv3.WithPrefix()).Kvs {
		amount, err := strconv.Atoi(string(kv.Value))
		u.ok(err)
		sum += amount
	}
	u.same("the sum", sum, accounts*100)
}

// move makes the moves of one worker, each worker at a level of isolation of its own.
func (u *User) move(worker, accounts, moves int) error {
	isolation := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads}[worker%3]
	for move := range moves {
		from, to := u.key(fmt.Sprint(move%accounts)), u.key(fmt.Sprint((move+worker+1)%accounts))
		if from == to {
			continue
		}
		_, err := concurrency.NewSTM(u.Client, func(stm concurrency.STM) error { return transfer(stm, from, to) },
			concurrency.WithIsolation(isolation), concurrency.WithAbortContext(u.Ctx))
		if err != nil {
			return fmt.Errorf("move %d of worker %d: %w", move, worker, err)
		}
	}
	return nil
}

func transfer(stm concurrency.STM, from, to string) error {
	a, err := strconv.Atoi(stm.Get(from))
	if err != nil {
		return err
	}
	b, err := strconv.Atoi(stm.Get(to))
	if err != nil {
		return err
	}
	stm.Put(from, fmt.Sprint(a-1))
	stm.Put(to, fmt.Sprint(b+1))
	return nil
}
