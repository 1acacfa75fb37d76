import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.data.Stat;

/**
 * What users of Curator do, against the servers that are named as NAME=HOST:PORT. Prints "ok NAME SCENARIO" or "FAIL NAME SCENARIO: why" for
 * each.
 */
public class CuratorScenarios {
    static final int PATIENCE = 20;

    interface Scenario {
        void run() throws Exception;
    }

    final String hosts;
    final List<CuratorFramework> open = new ArrayList<>();

    CuratorScenarios(String hosts) {
        this.hosts = hosts;
    }

    CuratorFramework client() throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.newClient(hosts, 10_000, 10_000, new RetryOneTime(100));
        c.start();
        check(c.blockUntilConnected(PATIENCE, TimeUnit.SECONDS), "connected");
        synchronized (open) {
            open.add(c);
        }
        return c;
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE);
        while (!condition.call()) {
            check(System.nanoTime() < end, "still not: " + what);
            Thread.sleep(10);
        }
    }

    static void refused(Class<? extends KeeperException> with, Scenario s) throws Exception {
        try {
            s.run();
        } catch (KeeperException e) {
            check(with.isInstance(e), "refused with " + e);
            return;
        }
        throw new AssertionError("not refused with " + with);
    }

    void everyday() throws Exception {
        CuratorFramework c = client();
        String path = "/curator/everyday/n";
        check(c.create().creatingParentContainersIfNeeded().forPath(path, "one".getBytes()).equals(path), "path");
        refused(KeeperException.NodeExistsException.class, () -> c.create().forPath(path));
        Stat stat = new Stat();
        check(new String(c.getData().storingStatIn(stat).forPath(path)).equals("one") && stat.getVersion() == 0, "data");
        check(c.setData().withVersion(0).forPath(path, "two".getBytes()).getVersion() == 1, "version");
        refused(KeeperException.BadVersionException.class, () -> c.setData().withVersion(0).forPath(path));
        check(c.checkExists().forPath("/curator/none") == null, "exists");
        check(c.getChildren().forPath("/curator/everyday").equals(Collections.singletonList("n")), "children");
        check(c.create().orSetData().forPath(path, "three".getBytes()).equals(path), "orSetData");
        check(new String(c.getData().forPath(path)).equals("three"), "data after orSetData");
        String own = c.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(path + "/p-");
        check(own.endsWith("p-0000000000") && own.contains("_c_"), own);
        c.create().withTtl(100_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/curator/everyday/ttl");
        check(c.getZookeeperClient().getZooKeeper().getAllChildrenNumber("/curator/everyday") == 3, "all children");
        check(c.getZookeeperClient().getZooKeeper().getEphemerals().equals(Collections.singletonList(own)), "ephemerals");
        check(c.getZookeeperClient().getZooKeeper().whoAmI().get(0).getAuthScheme().equals("ip"), "whoAmI");
        c.sync().forPath("/curator");
        c.delete().guaranteed().deletingChildrenIfNeeded().forPath("/curator/everyday");
        check(c.checkExists().forPath("/curator/everyday") == null, "deleted");
    }

    void transactions() throws Exception {
        CuratorFramework c = client();
        List<CuratorTransactionResult> results = c.transaction().forOperations(
                c.transactionOp().create().forPath("/curator-txn", "1".getBytes()),
                c.transactionOp().setData().forPath("/curator-txn", "2".getBytes()),
                c.transactionOp().check().withVersion(1).forPath("/curator-txn"),
                c.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/curator-txn/s-"));
        check(results.get(3).getResultPath().equals("/curator-txn/s-0000000000"), "sequence");
        refused(KeeperException.NotEmptyException.class,
                () -> c.transaction().forOperations(c.transactionOp().setData().forPath("/curator-txn"), c.transactionOp().delete().forPath("/curator-txn")));
        check(c.checkExists().forPath("/curator-txn").getVersion() == 1, "nothing was done");
    }

    void access() throws Exception {
        CuratorFramework other = client();
        CuratorFramework c = CuratorFrameworkFactory.builder().connectString(hosts).sessionTimeoutMs(10_000).retryPolicy(new RetryOneTime(100))
                .authorization("digest", "ann:secret".getBytes()).build();
        c.start();
        open.add(c);
        c.create().withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath("/curator-acl", "x".getBytes());
        refused(KeeperException.NoAuthException.class, () -> other.getData().forPath("/curator-acl"));
        check(c.getACL().forPath("/curator-acl").get(0).getId().getId().startsWith("ann:"), "list");
    }

    void watches() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        check(c.checkExists().usingWatcher((org.apache.zookeeper.Watcher) events::add).forPath("/curator-watch") == null, "exists");
        other.create().forPath("/curator-watch");
        WatchedEvent e = events.poll(PATIENCE, TimeUnit.SECONDS);
        check(e != null && e.getType() == EventType.NodeCreated, "created: " + e);
        PersistentWatcher persistent = new PersistentWatcher(c, "/curator-watch", true);
        CountDownLatch ready = new CountDownLatch(1);
        persistent.getResetListenable().addListener(ready::countDown);
        persistent.getListenable().addListener(events::add);
        persistent.start();
        check(ready.await(PATIENCE, TimeUnit.SECONDS), "persistent watcher");
        other.create().forPath("/curator-watch/a");
        other.setData().forPath("/curator-watch/a");
        other.delete().forPath("/curator-watch/a");
        List<EventType> types = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            types.add(events.poll(PATIENCE, TimeUnit.SECONDS).getType());
        }
        check(types.equals(Arrays.asList(EventType.NodeCreated, EventType.NodeDataChanged, EventType.NodeDeleted)), types.toString());
        persistent.close();
    }

    /** Lets several clients do something at once, and returns how many were in it at the same time at most. */
    int contend(int clients, String path, Contender contender) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        ExecutorService pool = Executors.newFixedThreadPool(clients);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < clients; i++) {
            CuratorFramework c = client();
            all.add(pool.submit(() -> {
                contender.run(c, path, () -> {
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    Thread.sleep(20);
                    inside.decrementAndGet();
                });
                return null;
            }));
        }
        for (Future<?> f : all) {
            f.get(PATIENCE, TimeUnit.SECONDS);
        }
        pool.shutdown();
        return most.get();
    }

    interface Contender {
        void run(CuratorFramework c, String path, Scenario body) throws Exception;
    }

    void mutex() throws Exception {
        int most = contend(4, "/curator-mutex", (c, path, body) -> {
            InterProcessMutex lock = new InterProcessMutex(c, path);
            for (int i = 0; i < 3; i++) {
                check(lock.acquire(PATIENCE, TimeUnit.SECONDS), "acquired");
                check(lock.acquire(PATIENCE, TimeUnit.SECONDS), "acquired again");
                body.run();
                lock.release();
                lock.release();
            }
        });
        check(most == 1, most + " had the lock");
        InterProcessMutex dead = new InterProcessMutex(client(), "/curator-mutex");
        dead.acquire();
        open.get(open.size() - 1).close();
        InterProcessMutex next = new InterProcessMutex(client(), "/curator-mutex");
        check(next.acquire(PATIENCE, TimeUnit.SECONDS), "acquired after the owner is gone");
        next.release();
    }

    void semaphore() throws Exception {
        int most = contend(4, "/curator-semaphore", (c, path, body) -> {
            InterProcessSemaphoreV2 s = new InterProcessSemaphoreV2(c, path, 2);
            Lease lease = s.acquire(PATIENCE, TimeUnit.SECONDS);
            check(lease != null, "acquired");
            body.run();
            s.returnLease(lease);
        });
        check(most <= 2, most + " had a lease");
    }

    void readWriteLock() throws Exception {
        InterProcessReadWriteLock a = new InterProcessReadWriteLock(client(), "/curator-rw");
        InterProcessReadWriteLock b = new InterProcessReadWriteLock(client(), "/curator-rw");
        check(a.readLock().acquire(PATIENCE, TimeUnit.SECONDS) && b.readLock().acquire(PATIENCE, TimeUnit.SECONDS), "two readers");
        InterProcessReadWriteLock w = new InterProcessReadWriteLock(client(), "/curator-rw");
        check(!w.writeLock().acquire(50, TimeUnit.MILLISECONDS), "no writer beside them");
        a.readLock().release();
        b.readLock().release();
        check(w.writeLock().acquire(PATIENCE, TimeUnit.SECONDS), "a writer after them");
        w.writeLock().release();
    }

    void leaderLatch() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderLatch latch = new LeaderLatch(client(), "/curator-latch", "" + i);
            latch.start();
            latches.add(latch);
            check(latches.get(0).await(PATIENCE, TimeUnit.SECONDS), "the first leads");
        }
        eventually("three take part", () -> latches.get(0).getParticipants().size() == 3);
        latches.get(0).close();
        eventually("another leads", () -> latches.get(1).hasLeadership() != latches.get(2).hasLeadership());
        latches.get(1).close();
        eventually("the last leads", latches.get(2)::hasLeadership);
        latches.get(2).close();
    }

    void leaderSelector() throws Exception {
        CountDownLatch led = new CountDownLatch(3);
        List<LeaderSelector> all = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderSelector s = new LeaderSelector(client(), "/curator-selector", new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework c) {
                    led.countDown();
                }
            });
            s.start();
            all.add(s);
        }
        check(led.await(PATIENCE, TimeUnit.SECONDS), "each led once");
        all.forEach(LeaderSelector::close);
    }

    void barriers() throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(client(), "/curator-barrier");
        barrier.setBarrier();
        check(!barrier.waitOnBarrier(50, TimeUnit.MILLISECONDS), "it holds");
        new DistributedBarrier(client(), "/curator-barrier").removeBarrier();
        check(barrier.waitOnBarrier(PATIENCE, TimeUnit.SECONDS), "it is gone");
        AtomicInteger entered = new AtomicInteger();
        contend(3, "/curator-double", (c, path, body) -> {
            DistributedDoubleBarrier b = new DistributedDoubleBarrier(c, path, 3);
            check(b.enter(PATIENCE, TimeUnit.SECONDS), "entered");
            entered.incrementAndGet();
            check(b.leave(PATIENCE, TimeUnit.SECONDS) && entered.get() == 3, "left together");
        });
    }

    void counters() throws Exception {
        SharedCount a = new SharedCount(client(), "/curator-count", 1);
        SharedCount b = new SharedCount(client(), "/curator-count", 1);
        a.start();
        b.start();
        a.setCount(7);
        eventually("the other sees it", () -> b.getCount() == 7);
        a.close();
        b.close();
        contend(3, "/curator-atomic", (c, path, body) -> {
            DistributedAtomicLong n = new DistributedAtomicLong(c, path, new RetryOneTime(1));
            for (int done = 0; done < 10;) {
                done += n.increment().succeeded() ? 1 : 0;
            }
        });
        check(new DistributedAtomicLong(client(), "/curator-atomic", new RetryOneTime(1)).get().postValue() == 30, "30 increments");
    }

    void curatorCache() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        other.create().creatingParentsIfNeeded().forPath("/curator-cache/a", "1".getBytes());
        List<String> seen = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch ready = new CountDownLatch(1);
        CuratorCache cache = CuratorCache.build(c, "/curator-cache");
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(n -> seen.add("+" + n.getPath())).forChanges((o, n) -> seen.add("=" + n.getPath())).forDeletes(o -> seen.add("-" + o.getPath()))
                .forInitialized(ready::countDown).build());
        cache.start();
        check(ready.await(PATIENCE, TimeUnit.SECONDS), "initialised");
        check(cache.size() == 2 && new String(cache.get("/curator-cache/a").get().getData()).equals("1"), "content");
        seen.clear();
        // The cache reads what it hears of, so each change has to wait for the one before.
        other.create().forPath("/curator-cache/b");
        eventually("a creation", () -> seen.contains("+/curator-cache/b"));
        other.setData().forPath("/curator-cache/a", "2".getBytes());
        eventually("a change", () -> seen.contains("=/curator-cache/a"));
        other.delete().forPath("/curator-cache/b");
        eventually("a deletion", () -> seen.contains("-/curator-cache/b"));
        cache.close();
    }

    void treeCache() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        other.create().creatingParentsIfNeeded().forPath("/curator-tree/a/b", "1".getBytes());
        TreeCache cache = new TreeCache(c, "/curator-tree");
        cache.start();
        eventually("the tree", () -> cache.getCurrentData("/curator-tree/a/b") != null);
        other.setData().forPath("/curator-tree/a/b", "2".getBytes());
        eventually("a change", () -> new String(cache.getCurrentData("/curator-tree/a/b").getData()).equals("2"));
        other.delete().deletingChildrenIfNeeded().forPath("/curator-tree/a");
        eventually("a deletion", () -> cache.getCurrentData("/curator-tree/a") == null);
        cache.close();
    }

    void nodes() throws Exception {
        CuratorFramework c = client();
        PersistentNode node = new PersistentNode(c, CreateMode.EPHEMERAL, false, "/curator-node", "x".getBytes());
        node.start();
        check(node.waitForInitialCreate(PATIENCE, TimeUnit.SECONDS), "created");
        client().delete().forPath("/curator-node");
        eventually("it is there again", () -> c.checkExists().forPath("/curator-node") != null);
        node.close();
        GroupMember a = new GroupMember(client(), "/curator-group", "ann");
        GroupMember b = new GroupMember(client(), "/curator-group", "bob");
        a.start();
        b.start();
        eventually("two members", () -> a.getCurrentMembers().size() == 2);
        b.close();
        eventually("one member", () -> a.getCurrentMembers().keySet().equals(Collections.singleton("ann")));
        a.close();
    }

    void queue() throws Exception {
        SimpleDistributedQueue a = new SimpleDistributedQueue(client(), "/curator-queue");
        SimpleDistributedQueue b = new SimpleDistributedQueue(client(), "/curator-queue");
        for (String s : new String[] {"1", "2", "3"}) {
            check(a.offer(s.getBytes()), "offered");
        }
        check(new String(b.poll()).equals("1") && new String(a.take()).equals("2") && new String(b.remove()).equals("3"), "in order");
        check(b.poll(20, TimeUnit.MILLISECONDS) == null, "empty");
    }

    void reconnection() throws Exception {
        CuratorFramework c = client();
        c.create().withMode(CreateMode.EPHEMERAL).forPath("/curator-stays");
        long session = c.getZookeeperClient().getZooKeeper().getSessionId();
        BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        c.getData().usingWatcher((org.apache.zookeeper.Watcher) e -> {
            if (e.getPath() != null) {
                events.add(e);
            }
        }).forPath("/curator-stays");
        org.apache.zookeeper.ZooKeeper zk = c.getZookeeperClient().getZooKeeper();
        java.lang.reflect.Method drop = zk.getTestable().getClass().getDeclaredMethod("closeSocket");
        drop.setAccessible(true);
        drop.invoke(zk.getTestable());
        client().setData().forPath("/curator-stays", "x".getBytes());
        WatchedEvent e = events.poll(PATIENCE, TimeUnit.SECONDS);
        check(e != null && e.getType() == EventType.NodeDataChanged, "told after the reconnection: " + e);
        check(c.getZookeeperClient().getZooKeeper().getSessionId() == session, "the same session");
    }

    static boolean runAll(String server, String hosts) {
        CuratorScenarios s = new CuratorScenarios(hosts);
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("everyday", s::everyday);
        all.put("transactions", s::transactions);
        all.put("access", s::access);
        all.put("watches", s::watches);
        all.put("mutex", s::mutex);
        all.put("semaphore", s::semaphore);
        all.put("readWriteLock", s::readWriteLock);
        all.put("leaderLatch", s::leaderLatch);
        all.put("leaderSelector", s::leaderSelector);
        all.put("barriers", s::barriers);
        all.put("counters", s::counters);
        all.put("curatorCache", s::curatorCache);
        all.put("treeCache", s::treeCache);
        all.put("nodes", s::nodes);
        all.put("queue", s::queue);
        all.put("reconnection", s::reconnection);
        boolean ok = true;
        for (Map.Entry<String, Scenario> one : all.entrySet()) {
            try {
                one.getValue().run();
                System.out.println("ok " + server + " " + one.getKey());
            } catch (Throwable e) {
                ok = false;
                System.out.println("FAIL " + server + " " + one.getKey() + ": " + e + " " + Arrays.toString(e.getStackTrace()));
            }
            s.open.forEach(CuratorFramework::close);
            s.open.clear();
        }
        return ok;
    }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(args.length);
        List<Future<Boolean>> all = new ArrayList<>();
        for (String arg : args) {
            String[] parts = arg.split("=");
            all.add(pool.submit(() -> runAll(parts[0], parts[1])));
        }
        boolean ok = true;
        for (Future<Boolean> one : all) {
            ok &= one.get();
        }
        System.exit(ok ? 0 : 1);
    }
}
