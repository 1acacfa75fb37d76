/* What users of the C client (libzookeeper_mt) do, against the servers that are named as NAME=HOST:PORT. Prints "ok NAME SCENARIO" or
 * "FAIL NAME SCENARIO: why" for each. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zookeeper/zookeeper.h>

enum { patience_ms = 20000, events_max = 64 };

static const char *server, *hosts, *why;
static int failed;

#define CHECK(condition)                 \
	do {                             \
		if (!(condition)) {      \
			why = #condition; \
			return;          \
		}                        \
	} while (0)

/* What a watcher has seen. */
struct seen {
	pthread_mutex_t mutex;
	int count, type[events_max];
	char path[events_max][128];
};

static struct seen connected = {PTHREAD_MUTEX_INITIALIZER}, watched = {PTHREAD_MUTEX_INITIALIZER};

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context)
{
	struct seen *s = type == ZOO_SESSION_EVENT ? &connected : context ? context : &watched;
	(void)zh;
	pthread_mutex_lock(&s->mutex);
	if (s->count < events_max && (type != ZOO_SESSION_EVENT || state == ZOO_CONNECTED_STATE)) {
		s->type[s->count] = type;
		snprintf(s->path[s->count], sizeof s->path[0], "%s", path ? path : "");
		s->count++;
	}
	pthread_mutex_unlock(&s->mutex);
}

static int count_of(struct seen *s)
{
	pthread_mutex_lock(&s->mutex);
	int n = s->count;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

static int wait_for(struct seen *s, int n)
{
	for (int ms = 0; ms < patience_ms && count_of(s) < n; ms += 5)
		usleep(5000);
	return count_of(s) >= n;
}

static zhandle_t *open_session(void)
{
	zhandle_t *zh = zookeeper_init(hosts, watcher, 10000, NULL, NULL, 0);
	for (int ms = 0; ms < patience_ms && zoo_state(zh) != ZOO_CONNECTED_STATE; ms += 5)
		usleep(5000);
	return zh;
}

static void everyday(void)
{
	zhandle_t *zh = open_session();
	char buf[64];
	int len = sizeof buf;
	struct Stat stat;
	struct String_vector names;
	CHECK(zoo_create(zh, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZOK);
	CHECK(zoo_create(zh, "/c/n", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, buf, sizeof buf) == ZOK && !strcmp(buf, "/c/n"));
	CHECK(zoo_create(zh, "/c/n", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZNODEEXISTS);
	CHECK(zoo_get(zh, "/c/n", 0, buf, &len, &stat) == ZOK && len == 3 && !memcmp(buf, "one", 3) && stat.version == 0);
	CHECK(zoo_set2(zh, "/c/n", "two!", 4, 0, &stat) == ZOK && stat.version == 1 && stat.dataLength == 4);
	CHECK(zoo_set(zh, "/c/n", "x", 1, 0) == ZBADVERSION);
	CHECK(zoo_set(zh, "/c/n", NULL, -1, 1) == ZOK);
	len = sizeof buf;
	CHECK(zoo_get(zh, "/c/n", 0, buf, &len, &stat) == ZOK && len == -1);
	CHECK(zoo_exists(zh, "/c/none", 0, &stat) == ZNONODE);
	CHECK(zoo_delete(zh, "/c", -1) == ZNOTEMPTY);
	CHECK(zoo_get_children2(zh, "/c", 0, &names, &stat) == ZOK && names.count == 1 && !strcmp(names.data[0], "n") && stat.numChildren == 1);
	deallocate_String_vector(&names);
	CHECK(zoo_create2(zh, "/c/m", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, buf, sizeof buf, &stat) == ZOK);
	CHECK(!strcmp(buf, "/c/m0000000001") && stat.czxid == stat.pzxid);
	CHECK(zoo_create(zh, "/c/k", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0) == ZOK);
	CHECK(zoo_create_ttl(zh, "/c/t", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 100000, NULL, 0) == ZOK);
	CHECK(zoo_exists(zh, "/c/t", 0, &stat) == ZOK && stat.ephemeralOwner == 0);
	CHECK(zookeeper_close(zh) == ZOK);
}

static void ephemerals(void)
{
	zhandle_t *zh = open_session(), *other = open_session();
	struct Stat stat;
	CHECK(zoo_create(other, "/c-e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0) == ZOK);
	CHECK(zoo_exists(zh, "/c-e", 0, &stat) == ZOK && stat.ephemeralOwner == zoo_client_id(other)->client_id);
	CHECK(zoo_create(zh, "/c-e/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZNOCHILDRENFOREPHEMERALS);
	CHECK(zookeeper_close(other) == ZOK);
	CHECK(zoo_exists(zh, "/c-e", 0, &stat) == ZNONODE);
	CHECK(zookeeper_close(zh) == ZOK);
}

static void watches(void)
{
	zhandle_t *zh = open_session(), *other = open_session();
	struct Stat stat;
	struct String_vector names;
	char buf[8];
	int len = sizeof buf;
	watched.count = 0;
	CHECK(zoo_exists(zh, "/c-w", 1, &stat) == ZNONODE);
	CHECK(zoo_create(other, "/c-w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZOK);
	CHECK(wait_for(&watched, 1) && watched.type[0] == ZOO_CREATED_EVENT && !strcmp(watched.path[0], "/c-w"));
	CHECK(zoo_get(zh, "/c-w", 1, buf, &len, &stat) == ZOK && zoo_get_children(zh, "/c-w", 1, &names) == ZOK);
	CHECK(zoo_set(other, "/c-w", "x", 1, -1) == ZOK && wait_for(&watched, 2) && watched.type[1] == ZOO_CHANGED_EVENT);
	CHECK(zoo_create(other, "/c-w/k", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZOK);
	CHECK(wait_for(&watched, 3) && watched.type[2] == ZOO_CHILD_EVENT);
	CHECK(zoo_exists(zh, "/c-w/k", 1, &stat) == ZOK && zoo_delete(other, "/c-w/k", 0) == ZOK);
	CHECK(wait_for(&watched, 4) && watched.type[3] == ZOO_DELETED_EVENT);
	CHECK(zoo_wexists(zh, "/c-w", watcher, &watched, &stat) == ZOK);
	CHECK(zoo_remove_watches(zh, "/c-w", ZWATCHTYPE_DATA, watcher, &watched, 0) == ZOK);
	CHECK(zoo_remove_watches(zh, "/c-w", ZWATCHTYPE_DATA, watcher, &watched, 0) == ZNOWATCHER);
	CHECK(zookeeper_close(zh) == ZOK && zookeeper_close(other) == ZOK);
}

static void transactions(void)
{
	zhandle_t *zh = open_session();
	zoo_op_t ops[3];
	zoo_op_result_t results[3];
	struct Stat stat;
	char path[64];
	zoo_create_op_init(&ops[0], "/c-m", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
	zoo_set_op_init(&ops[1], "/c-m", "x", 1, 0, &stat);
	zoo_check_op_init(&ops[2], "/c-m", 1);
	CHECK(zoo_multi(zh, 3, ops, results) == ZOK && stat.version == 1 && !strcmp(path, "/c-m"));
	zoo_delete_op_init(&ops[0], "/c-m", 1);
	zoo_check_op_init(&ops[1], "/c-none", -1);
	CHECK(zoo_multi(zh, 2, ops, results) == ZNONODE && results[0].err == ZOK && results[1].err == ZNONODE);
	CHECK(zoo_exists(zh, "/c-m", 0, &stat) == ZOK);
	CHECK(zookeeper_close(zh) == ZOK);
}

static int authenticated;

static void on_auth(int rc, const void *data)
{
	(void)data;
	__atomic_store_n(&authenticated, rc == ZOK ? 1 : -1, __ATOMIC_SEQ_CST);
}

static void access_lists(void)
{
	zhandle_t *zh = open_session(), *other = open_session();
	char buf[8];
	int len = sizeof buf;
	struct ACL_vector acl;
	struct Stat stat;
	authenticated = 0;
	CHECK(zoo_add_auth(zh, "digest", "ann:secret", 10, on_auth, NULL) == ZOK);
	for (int ms = 0; ms < patience_ms && !__atomic_load_n(&authenticated, __ATOMIC_SEQ_CST); ms += 5)
		usleep(5000);
	CHECK(authenticated == 1);
	CHECK(zoo_create(zh, "/c-a", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0) == ZOK);
	CHECK(zoo_get(other, "/c-a", 0, buf, &len, &stat) == ZNOAUTH);
	CHECK(zoo_create(other, "/c-b", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0) == ZINVALIDACL);
	CHECK(zoo_get_acl(zh, "/c-a", &acl, &stat) == ZOK && acl.count == 1 && !strncmp(acl.data[0].id.id, "ann:", 4));
	CHECK(zoo_set_acl(zh, "/c-a", 0, &ZOO_OPEN_ACL_UNSAFE) == ZOK);
	CHECK(zoo_get(other, "/c-a", 0, buf, &len, &stat) == ZOK);
	CHECK(zookeeper_close(zh) == ZOK && zookeeper_close(other) == ZOK);
}

/* The lock of ZooKeeper's recipes: whoever has the smallest number has it, the others watch the one before. */
enum { workers = 4 };
static int inside, most;
static pthread_mutex_t inside_mutex = PTHREAD_MUTEX_INITIALIZER;

static int smaller(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void *work(void *result)
{
	zhandle_t *zh = open_session();
	struct seen gone = {PTHREAD_MUTEX_INITIALIZER};
	char mine[64], before[160];
	int held = 0, rc = zoo_create(zh, "/c-l/n-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, mine, sizeof mine);
	while (rc == ZOK && !held) {
		struct String_vector names;
		struct Stat stat;
		int i = 0, known = count_of(&gone);
		rc = zoo_get_children(zh, "/c-l", 0, &names);
		qsort(names.data, names.count, sizeof *names.data, smaller);
		while (i < names.count && strcmp(names.data[i], mine + strlen("/c-l/")))
			i++;
		held = i == 0;
		if (!held) {
			snprintf(before, sizeof before, "/c-l/%s", names.data[i - 1]);
			if (zoo_wexists(zh, before, watcher, &gone, &stat) == ZOK && !wait_for(&gone, known + 1))
				rc = ZOPERATIONTIMEOUT;
		}
		deallocate_String_vector(&names);
	}
	pthread_mutex_lock(&inside_mutex);
	inside++;
	most = inside > most ? inside : most;
	pthread_mutex_unlock(&inside_mutex);
	usleep(20000);
	pthread_mutex_lock(&inside_mutex);
	inside--;
	pthread_mutex_unlock(&inside_mutex);
	*(int *)result = rc;
	zookeeper_close(zh);
	return NULL;
}

static void lock(void)
{
	zhandle_t *zh = open_session();
	pthread_t threads[workers];
	int results[workers], i;
	most = 0;
	CHECK(zoo_create(zh, "/c-l", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0) == ZOK);
	for (i = 0; i < workers; i++)
		pthread_create(&threads[i], NULL, work, &results[i]);
	for (i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < workers; i++)
		CHECK(results[i] == ZOK);
	CHECK(most == 1);
	CHECK(zookeeper_close(zh) == ZOK);
}

static void run(const char *name, void (*scenario)(void))
{
	why = NULL;
	scenario();
	if (why) {
		failed = 1;
		printf("FAIL %s %s: %s\n", server, name, why);
	} else {
		printf("ok %s %s\n", server, name);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	zoo_set_debug_level(0);
	for (int i = 1; i < argc; i++) {
		server = strtok(argv[i], "=");
		hosts = strtok(NULL, "=");
		run("everyday", everyday);
		run("ephemerals", ephemerals);
		run("watches", watches);
		run("transactions", transactions);
		run("access_lists", access_lists);
		run("lock", lock);
	}
	return failed;
}
