"""What users of kazoo do, against the servers that are named as NAME=HOST:PORT. Prints "ok NAME SCENARIO" or
"FAIL NAME SCENARIO: why" for each."""

import logging
import sys
import threading
import time
import traceback

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoAuthError, NodeExistsError, NoNodeError, NotEmptyError, RolledBackError
from kazoo.recipe.barrier import DoubleBarrier
from kazoo.recipe.cache import TreeCache
from kazoo.recipe.lease import NonBlockingLease
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.security import make_digest_acl

logging.disable(logging.CRITICAL)
PATIENCE = 20


def eventually(what, condition):
    end = time.time() + PATIENCE
    while not condition():
        assert time.time() < end, what
        time.sleep(0.01)


def raises(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError("no " + error.__name__)


class Scenarios:
    def __init__(self, hosts):
        self.hosts = hosts
        self.open = []

    def client(self, **kwargs):
        c = KazooClient(hosts=self.hosts, timeout=10, **kwargs)
        c.start(timeout=PATIENCE)
        self.open.append(c)
        return c

    def close(self):
        for c in self.open:
            c.stop()
            c.close()
        self.open = []

    def everyday(self):
        c = self.client()
        c.ensure_path("/kazoo/everyday")
        assert c.create("/kazoo/everyday/n", b"one") == "/kazoo/everyday/n"
        raises(NodeExistsError, c.create, "/kazoo/everyday/n")
        data, stat = c.get("/kazoo/everyday/n")
        assert (data, stat.version, stat.dataLength) == (b"one", 0, 3), (data, stat)
        assert c.set("/kazoo/everyday/n", b"two", version=0).version == 1
        raises(BadVersionError, c.set, "/kazoo/everyday/n", b"x", version=0)
        assert c.exists("/kazoo/none") is None
        raises(NoNodeError, c.get, "/kazoo/none")
        raises(NotEmptyError, c.delete, "/kazoo/everyday")
        path, stat = c.create("/kazoo/everyday/deep/deeper/x", makepath=True, include_data=True)
        assert path == "/kazoo/everyday/deep/deeper/x" and stat.czxid == stat.mzxid
        assert c.get_children("/kazoo/everyday") == ["n", "deep"] or set(c.get_children("/kazoo/everyday")) == {"n", "deep"}
        names, stat = c.get_children("/kazoo/everyday", include_data=True)
        assert stat.numChildren == 2 and len(names) == 2
        assert c.sync("/kazoo") == "/kazoo"
        assert c.server_version()[:2] == (3, 9), c.server_version()
        c.delete("/kazoo/everyday", recursive=True)
        assert c.exists("/kazoo/everyday") is None

    def sequences(self):
        c = self.client()
        c.ensure_path("/kazoo/seq")
        made = [c.create("/kazoo/seq/n-", sequence=True) for _ in range(3)]
        assert made == ["/kazoo/seq/n-%010d" % i for i in range(3)], made

    def ephemerals(self):
        c, other = self.client(), self.client()
        other.create("/kazoo/eph", b"", ephemeral=True, makepath=True)
        assert c.get("/kazoo/eph")[1].ephemeralOwner == other.client_id[0]
        other.stop()
        assert c.exists("/kazoo/eph") is None

    def transactions(self):
        c = self.client()
        c.ensure_path("/kazoo/txn")
        t = c.transaction()
        t.create("/kazoo/txn/a", b"1")
        t.set_data("/kazoo/txn/a", b"2")
        t.check("/kazoo/txn/a", version=1)
        results = t.commit()
        assert results[0] == "/kazoo/txn/a" and results[1].version == 1 and results[2] is True, results
        t = c.transaction()
        t.delete("/kazoo/txn/a")
        t.check("/kazoo/txn/none", version=0)
        results = t.commit()
        assert isinstance(results[0], RolledBackError) and isinstance(results[1], NoNodeError), results
        assert c.exists("/kazoo/txn/a")

    def access(self):
        c, other = self.client(auth_data=[("digest", "ann:secret")]), self.client()
        c.create("/kazoo/private", b"x", acl=[make_digest_acl("ann", "secret", all=True)], makepath=True)
        raises(NoAuthError, other.get, "/kazoo/private")
        other.add_auth("digest", "ann:secret")
        assert other.get("/kazoo/private")[0] == b"x"
        acl, _ = c.get_acls("/kazoo/private")
        assert acl[0].id.scheme == "digest" and acl[0].id.id.startswith("ann:")

    def watches(self):
        c, other = self.client(), self.client()
        c.ensure_path("/kazoo/watch")
        seen = []
        assert c.exists("/kazoo/watch/n", watch=lambda e: seen.append((e.type, e.path))) is None
        c.get_children("/kazoo/watch", watch=lambda e: seen.append((e.type, e.path)))
        other.create("/kazoo/watch/n", b"0")
        eventually("two events", lambda: len(seen) == 2)
        assert set(seen) == {("CREATED", "/kazoo/watch/n"), ("CHILD", "/kazoo/watch")}, seen
        values, children = [], []
        DataWatch(c, "/kazoo/watch/n", lambda data, stat: values.append(data))
        ChildrenWatch(c, "/kazoo/watch", lambda names: children.append(sorted(names)))
        for i in (b"1", b"2"):
            other.set("/kazoo/watch/n", i)
            eventually("the value %s" % i, lambda: values[-1] == i)
        other.create("/kazoo/watch/m")
        eventually("a child", lambda: children[-1] == ["m", "n"])
        other.delete("/kazoo/watch/n")
        eventually("the end", lambda: values[-1] is None and children[-1] == ["m"])

    def reconnection(self):
        c, other = self.client(), self.client()
        c.create("/kazoo/stays", b"0", ephemeral=True, makepath=True)
        values, states = [], []
        c.add_listener(lambda s: states.append(s) and None)
        DataWatch(c, "/kazoo/stays", lambda data, stat: values.append(data))
        before = c.client_id[0]
        c._connection._socket.shutdown(2)
        eventually("the connection is lost and back", lambda: states[-1:] == ["CONNECTED"])
        assert c.client_id[0] == before
        other.set("/kazoo/stays", b"1")
        eventually("the watch works on", lambda: values[-1] == b"1")

    def contend(self, make, body):
        """Lets four clients do body one after the other, and tells how many were in it at once at most."""
        inside, most, done = [], [0], []

        def work(n):
            c = self.client()
            with make(c, n):
                inside.append(n)
                most[0] = max(most[0], len(inside))
                body()
                inside.remove(n)
            done.append(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join(PATIENCE) for t in threads]
        assert len(done) == 4, done
        return most[0]

    def lock(self):
        assert self.contend(lambda c, n: c.Lock("/kazoo/lock", str(n)), lambda: time.sleep(0.02)) == 1
        a, b = self.client(), self.client()
        held = a.Lock("/kazoo/lock", "a")
        assert held.acquire()
        assert not b.Lock("/kazoo/lock", "b").acquire(blocking=False)
        assert a.Lock("/kazoo/lock").contenders() == ["a"]
        a.stop()
        assert b.Lock("/kazoo/lock", "b").acquire(timeout=PATIENCE)

    def semaphore(self):
        assert self.contend(lambda c, n: c.Semaphore("/kazoo/semaphore", max_leases=2), lambda: time.sleep(0.05)) <= 2

    def read_write_lock(self):
        a, b = self.client(), self.client()
        with a.ReadLock("/kazoo/rw", "a"):
            assert b.ReadLock("/kazoo/rw", "b").acquire(timeout=PATIENCE)
            assert not self.client().WriteLock("/kazoo/rw", "w").acquire(blocking=False)

    def election(self):
        led = []
        done = threading.Event()

        def lead(n):
            led.append(n)
            if len(led) == 3:
                done.set()

        for n in range(3):
            election = self.client().Election("/kazoo/election", str(n))
            threading.Thread(target=election.run, args=(lead, n), daemon=True).start()
        assert done.wait(PATIENCE) and sorted(led) == [0, 1, 2], led

    def queue(self):
        c = self.client()
        q = c.Queue("/kazoo/queue")
        q.put(b"late", priority=200)
        q.put(b"early", priority=1)
        assert len(q) == 2 and q.get() == b"early" and q.get() == b"late" and q.get() is None

    def locking_queue(self):
        a, b = self.client().LockingQueue("/kazoo/lq"), self.client().LockingQueue("/kazoo/lq")
        a.put_all([b"1", b"2"])
        assert a.get(PATIENCE) == b"1" and b.get(PATIENCE) == b"2"
        assert a.consume() and b.consume() and len(a) == 0

    def barrier(self):
        c = self.client()
        barrier = c.Barrier("/kazoo/barrier")
        barrier.create()
        assert not barrier.wait(timeout=0.05)
        threading.Timer(0.05, self.client().Barrier("/kazoo/barrier").remove).start()
        assert barrier.wait(timeout=PATIENCE)

    def double_barrier(self):
        entered, left = [], []

        def work(n):
            barrier = DoubleBarrier(self.client(), "/kazoo/double", 3, str(n))
            barrier.enter()
            entered.append(n)
            barrier.leave()
            left.append(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        [t.start() for t in threads]
        [t.join(PATIENCE) for t in threads]
        assert len(entered) == len(left) == 3

    def party(self):
        a, b = self.client(), self.client()
        first, second = a.Party("/kazoo/party", "ann"), b.Party("/kazoo/party", "bob")
        first.join()
        second.join()
        assert sorted(first) == ["ann", "bob"] and len(second) == 2
        b.stop()
        assert list(first) == ["ann"]
        shallow = a.ShallowParty("/kazoo/shallow", "ann")
        shallow.join()
        assert list(shallow) == ["ann"]

    def counter(self):
        counters = [self.client().Counter("/kazoo/counter") for _ in range(3)]

        def add(counter):
            for _ in range(10):
                counter += 1

        threads = [threading.Thread(target=add, args=(c,)) for c in counters]
        [t.start() for t in threads]
        [t.join(PATIENCE) for t in threads]
        assert counters[0].value == 30, counters[0].value

    def lease(self):
        import datetime
        a, b = self.client(), self.client()
        minute = datetime.timedelta(minutes=1)
        assert NonBlockingLease(a, "/kazoo/lease", minute, identifier="a")
        assert not NonBlockingLease(b, "/kazoo/lease", minute, identifier="b")

    def tree_cache(self):
        c, other = self.client(), self.client()
        c.ensure_path("/kazoo/cache/a")
        cache = TreeCache(c, "/kazoo/cache")
        cache.start()
        eventually("the tree", lambda: cache.get_children("/kazoo/cache") == frozenset(["a"]))
        other.create("/kazoo/cache/a/b", b"1")
        other.set("/kazoo/cache/a", b"2")
        eventually("changes", lambda: cache.get_data("/kazoo/cache/a/b") is not None and cache.get_data("/kazoo/cache/a").data == b"2")
        other.delete("/kazoo/cache/a", recursive=True)
        eventually("the end", lambda: cache.get_children("/kazoo/cache") == frozenset())
        cache.close()

    def partitioner(self):
        sets = [self.client().SetPartitioner("/kazoo/partition", set=("1", "2", "3"), identifier=str(n), time_boundary=0.2) for n in range(2)]
        end = time.time() + PATIENCE
        while not all(s.acquired for s in sets):
            assert time.time() < end
            for s in sets:
                if s.release:
                    s.release_set()
                elif s.allocating:
                    s.wait_for_acquire(0.05)
        parts = [list(s) for s in sets]
        assert sorted(parts[0] + parts[1]) == ["1", "2", "3"], parts
        for s in sets:
            s.finish()


def main():
    failed = False
    names = [n for n, f in vars(Scenarios).items() if callable(f) and not n.startswith("_") and n not in ("client", "close", "contend")]
    for server in sys.argv[1:]:
        server, hosts = server.split("=")
        for name in names:
            s = Scenarios(hosts)
            try:
                getattr(s, name)()
                print("ok", server, name, flush=True)
            except Exception:
                failed = True
                print("FAIL", server, name + ":", traceback.format_exc().replace("\n", " | "), flush=True)
            finally:
                s.close()
    sys.exit(failed)


main()
