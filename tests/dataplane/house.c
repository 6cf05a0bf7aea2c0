// The data plane in one process, for tests: configuration, frames, expectations. See house.h.
#include "house.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mempool.h>

#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/change.h"
#include "ctrl/conf.h"
#include "ctrl/engine.h"
#include "ctrl/loop.h"
#include "ctrl/modules.h"
#include "ctrl/store.h"
#include "dp/pool.h"
#include "dp/snap.h"
#include "dp/switch.h"
#include "dp/inject.h"
#include "dp/worker.h"
#include "ring_port.h"

#define N_FRAMES    64
#define PATIENCE_NS UINT64_C(30000000000) // of a test
#define TICK_US     100000

const uint8_t MAC_A[6] = {2, 0, 0, 0, 0, 0xa}, MAC_B[6] = {2, 0, 0, 0, 0, 0xb},
	      MAC_C[6] = {2, 0, 0, 0, 0, 0xc};
const uint8_t MAC_ALL[6] = {255, 255, 255, 255, 255, 255};

static struct worker *w;
static char dir[64];
static struct frame frames[N_FRAMES], last;
static unsigned next_frame;
static unsigned pool_size;
static uint64_t begun_ns;
static bool makes_rounds; // the test's own thread does

// Start: no test runs yet, so failures are said plainly

static void must(int ret, const struct err *e)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "cannot start the data plane: %s\n", e->text);
	exit(1);
}

static void eal_start(void)
{
	char *argv[] = {"test", "--no-huge", "--no-pci",          "--no-shconf", "--no-telemetry",
			"-m",   "256",       "--log-level=error", "-l",          "0",
			NULL};

	must(rte_eal_init(10, argv), &(struct err){.text = "EAL"});
}

static void dir_remove(void)
{
	char path[96];

	snprintf(path, sizeof(path), "rm -rf %s", dir);
	if (system(path) != 0)
		fprintf(stderr, "cannot remove %s\n", dir);
}

static void house_start(uint16_t n_workers)
{
	struct err e = {0};
	char path[96];

	log_level_set(LOG_LEVEL_WARN);
	eal_start();
	snprintf(dir, sizeof(dir), "%s/evs-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	must(mkdtemp(dir) != NULL ? 0 : -1, &(struct err){.text = "no directory for the state"});
	atexit(dir_remove);
	snprintf(path, sizeof(path), "%s/state.db", dir);
	must(loop_init(&e), &e);
	must(pool_init(128, &e), &e);
	must(snap_init(&e), &e);
	if (n_workers > 0)
		must(workers_start((int[]){0, 1, 0, 1}, n_workers, &e), &e);
	conf_init(modules);
	ring_register();
	must(modules_init(&e), &e);
	must(store_open(path, &e), &e);
	w = aligned_alloc(64, (sizeof(*w) + 63) & ~63ul);
	memset(w, 0, sizeof(*w));
	w->pool = pool_shared();
	w->hash_seed = 1;
	w->hz = 1000000000;
	w->flows_on = true;
	if (inject_init(w) < 0)
		abort();
	makes_rounds = n_workers == 0;
	if (makes_rounds)
		worker_lend(w);
	pool_size = rte_mempool_avail_count(w->pool);
}

// What a test waits for may never happen. In this process check cannot end it, but it can end itself.
void house_turn(void)
{
	loop_turn();
	ck_assert_msg(time_ns() - begun_ns < PATIENCE_NS, "what the test waits for does not happen");
}

static void tick(void *arg)
{
	(void)arg;
}

int house_run(Suite *s, uint16_t n_workers)
{
	SRunner *r = srunner_create(s);

	house_start(n_workers);
	timer_start("house", TICK_US, TICK_US, tick, NULL);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}

const char *house_dir(void)
{
	return dir;
}

void house_setup(void)
{
	begun_ns = time_ns();
	next_frame = 0;
	w->now_s = 1000;
}

// Configuration

struct outcome {
	bool done;
	struct err e;
};

static void change_done(const struct err *e, void *arg)
{
	struct outcome *o = arg;

	o->done = true;
	if (e != NULL)
		o->e = *e;
}

struct edit {
	const char *kind, *name;
	json_t *conf;
	struct outcome o;
};

static void edit_turn(void *arg)
{
	struct edit *d = arg;
	struct change *ch = change_new_quiet(change_done, &d->o);

	if (d->conf != NULL)
		change_put(ch, d->kind, d->name, d->conf);
	else
		change_del(ch, d->kind, d->name);
	if (change_submit(ch, &d->o.e) < 0)
		d->o.done = true;
}

static struct err edit(const char *kind, const char *name, json_t *conf)
{
	struct edit d = {kind, name, conf, {0}};

	engine_queue(edit_turn, &d);
	while (!d.o.done || !engine_is_idle())
		house_turn();
	return d.o.e;
}

static json_t *json_of(const char *text)
{
	char buf[1024];
	json_t *out;

	snprintf(buf, sizeof(buf), "%s", text != NULL ? text : "{}");
	for (char *c = buf; *c; c++)
		if (*c == '\'')
			*c = '"';
	out = json_loads(buf, 0, NULL);
	ck_assert_msg(out != NULL, "bad JSON in test: %s", buf);
	return out;
}

void set(const char *kind, const char *name, const char *text)
{
	struct err e = edit(kind, name, json_of(text));

	ck_assert_msg(e.code == 0, "%s %s: %s", kind, name, e.text);
}

void del(const char *kind, const char *name)
{
	struct err e = edit(kind, name, NULL);

	ck_assert_msg(e.code == 0, "%s %s: %s", kind, name, e.text);
}

struct edits {
	json_t *kinds;
	struct outcome o;
};

static void edits_turn(void *arg)
{
	struct edits *d = arg;
	struct change *ch = change_new_quiet(change_done, &d->o);
	const char *kind, *name;
	json_t *rows, *conf;

	json_object_foreach (d->kinds, kind, rows) {
		json_object_foreach (rows, name, conf) {
			if (json_is_null(conf))
				change_del(ch, kind, name);
			else
				change_put(ch, kind, name, json_incref(conf));
		}
	}
	if (change_submit(ch, &d->o.e) < 0)
		d->o.done = true;
}

void changes(const char *first, const char *second)
{
	struct edits d[2] = {{.kinds = json_of(first)}, {.kinds = json_of(second)}};

	for (int i = 0; i < 2; i++)
		engine_queue(edits_turn, &d[i]);
	while (!engine_is_idle())
		house_turn();
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(d[i].o.done && d[i].o.e.code == 0, "%s", d[i].o.e.text);
		json_decref(d[i].kinds);
	}
}

void refused(const char *kind, const char *name, const char *text, const char *words)
{
	struct err e = edit(kind, name, json_of(text));

	ck_assert_msg(e.code < 0, "%s %s was not refused", kind, name);
	ck_assert_msg(strstr(e.text, words) != NULL, "\"%s\" does not say \"%s\"", e.text, words);
}

void sw(const char *name, const char *kind)
{
	char text[64];

	snprintf(text, sizeof(text), "{'kind': '%s'}", kind);
	set("switch", name, text);
}

void port(const char *name, const char *sw_name, const char *text)
{
	json_t *conf = json_of(text);

	if (json_object_get(conf, "type") == NULL)
		json_object_set_new(conf, "type", json_string("guest"));
	json_object_set_new(conf, "switch", json_string(sw_name));
	json_object_set_new(conf, "device", json_sprintf("ring:%s", name));
	struct err e = edit("port", name, conf);

	ck_assert_msg(e.code == 0, "%s", e.text);
}

// Frames

static struct frame *frame_new(size_t len)
{
	struct frame *f = &frames[next_frame++ % N_FRAMES];

	ck_assert_uint_le(len, FRAME_BYTES);
	memset(f, 0, offsetof(struct frame, bytes) + len);
	f->len = len;
	return f;
}

struct frame *sized(const uint8_t dst[6], const uint8_t src[6], size_t len)
{
	struct frame *f = frame_new(len);

	memcpy(f->bytes, dst, 6);
	memcpy(f->bytes + 6, src, 6);
	f->bytes[12] = 0x88;
	f->bytes[13] = 0xb5;
	for (size_t i = 14; i < len; i++)
		f->bytes[i] = i * 7;
	return f;
}

struct frame *eth(const uint8_t dst[6], const uint8_t src[6])
{
	return sized(dst, src, 60);
}

struct frame *with_tag(const struct frame *f, uint16_t tpid, uint16_t tci)
{
	struct frame *t = frame_new(f->len + 4);
	uint8_t tag[4] = {tpid >> 8, tpid, tci >> 8, tci};

	memcpy(t->bytes, f->bytes, 12);
	memcpy(t->bytes + 12, tag, 4);
	memcpy(t->bytes + 16, f->bytes + 12, f->len - 12);
	return t;
}

struct frame *tagged(const uint8_t dst[6], const uint8_t src[6], uint16_t vid)
{
	return with_tag(eth(dst, src), 0x8100, vid);
}

struct frame *from_bytes(const void *bytes, size_t len)
{
	struct frame *f = frame_new(len);

	memcpy(f->bytes, bytes, len);
	return f;
}

struct frame *cut(const struct frame *f, size_t len)
{
	return from_bytes(f->bytes, len);
}

void house_rounds(void)
{
	w->snap = snap_now();
	w->now_tsc += w->hz; // the bucket of control protocols is full again
	while (worker_round(w) > 0)
		;
}

void inject_many(const char *name, const struct frame *f, int n)
{
	memcpy(&last, f, offsetof(struct frame, bytes) + f->len);
	for (int i = 0; i < n; i++)
		ring_queue(name, f);
	if (makes_rounds)
		house_rounds();
}

void inject(const char *name, const struct frame *f)
{
	inject_many(name, f, 1);
}

// Expectations

void expect(const char *name, const struct frame *f)
{
	const struct frame *got = ring_take(name);

	ck_assert_msg(got != NULL, "nothing was delivered to %s", name);
	ck_assert_msg(got->len == f->len, "%s got %zu bytes, not %zu", name, got->len, f->len);
	ck_assert_mem_eq(got->bytes, f->bytes, f->len);
}

void expect_last(const char *name)
{
	expect(name, &last);
}

void expect_nothing(const char *name)
{
	ck_assert_msg(ring_delivered(name) == 0, "%s has %zu frames that nobody expects", name,
		      ring_delivered(name));
}

void expect_drops(const char *name, const char *reason, uint64_t n)
{
	struct port_counters c;

	port_counters_sum(port_find(name), &c);
	for (int d = 1; d < N_DROPS; d++) {
		if (strcmp(drop_name(d), reason) == 0) {
			ck_assert_msg(c.dropped[d] == n, "%s dropped %lu for %s, not %lu", name, c.dropped[d],
				      reason, n);
			return;
		}
	}
	ck_abort_msg("no drop reason %s", reason);
}

void expect_sent(const char *name, uint64_t packets, uint64_t bytes)
{
	struct port_counters c;

	port_counters_sum(port_find(name), &c);
	ck_assert_uint_eq(c.tx_packets, packets);
	ck_assert_uint_eq(c.tx_bytes, bytes);
}

void expect_fdb(const char *sw_name, uint16_t vid, const uint8_t mac[6], const char *port_name)
{
	uint16_t at = fdb_lookup(switch_find(sw_name)->fdb, fdb_key(mac, vid));

	if (port_name == NULL)
		ck_assert_uint_eq(at, FDB_NO_PORT);
	else
		ck_assert_uint_eq(at, port_find(port_name)->index);
}

static void identity_check(const struct port *p)
{
	struct port_counters c;
	uint64_t dropped = 0;

	port_counters_sum(p, &c);
	for (int d = 0; d < N_DROPS; d++)
		dropped += c.dropped[d];
	ck_assert_msg(
	    c.rx_packets + c.made == c.delivered + c.consumed + dropped + c.held_in - c.held_out,
	    "port %s: received %lu + made %lu is not delivered %lu + consumed %lu + dropped %lu + held %lu",
	    p->conf.name, c.rx_packets, c.made, c.delivered, c.consumed, dropped, c.held_in - c.held_out);
}

static bool no_ports_left(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (port_at(i) != NULL)
			return false;
	return true;
}

void house_teardown(void)
{
	char names[MAX_PORTS][PORT_NAME_SIZE];
	uint16_t n = 0;

	begun_ns = time_ns();
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p == NULL || p->leaving)
			continue;
		identity_check(p);
		expect_nothing(p->conf.name);
		snprintf(names[n++], PORT_NAME_SIZE, "%s", p->conf.name);
	}
	for (uint16_t i = 0; i < n; i++)
		del("port", names[i]);
	for (uint16_t i = 0; i < MAX_SWITCHES; i++)
		if (switch_at(i) != NULL)
			del("switch", switch_at(i)->name);
	while (!no_ports_left())
		house_turn();
	ck_assert_uint_eq(rte_mempool_avail_count(w->pool), pool_size);
}

void house_flows(bool on)
{
	w->flows_on = on;
}

void house_seconds(uint32_t n)
{
	w->now_s += n;
	for (uint16_t i = 0; i < switches_n(); i++)
		if (switch_at(i) != NULL)
			fdb_age(switch_at(i)->fdb, fdb_n_buckets(switch_at(i)->fdb), w->now_s,
				FDB_AGE_DEFAULT_S);
}

static bool all_open(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (port_at(i) != NULL && !port_at(i)->leaving &&
		    (!port_at(i)->open || port_at(i)->state != PORT_UP))
			return false;
	return engine_is_idle();
}

void house_settle(void)
{
	while (!all_open())
		house_turn();
}
