// The life of a port's driver: opening, closing, retrying. Control thread; driver calls on the jobs thread.
#include "port_life.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_random.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/err.h"
#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/timer.h"
#include "flow.h"
#include "flow_budget.h"
#include "queue.h"
#include "snap.h"
#include "switch.h"
#include "txq.h"
#include "worker.h"

#define RETRY_FIRST_US 200000
#define RETRY_MAX_US   5000000
#define N_NAME_BUCKETS 4096

struct port_life {
	const struct port_driver *driver; // that is open, NULL = none; writer: the job under way
	const struct port_driver *wanted; // what the job opens, with conf: the port's own may change
	struct port_conf conf;
	bool busy;       // a job is under way
	bool started;    // the driver was started
	bool stale;      // what is open is not what the conf says
	bool gone;       // deleted, workers have left
	uint32_t n_held; // changes under way: what the port should be is not decided
	struct port *next_by_name;
	uint64_t retry_us;
	struct timer *retry;
	struct port_gift *gift; // of the process before this one; NULL = none
	bool was_given;         // there was one
	struct err err;         // of the last opening
};

static struct port *ports[MAX_PORTS];
static struct port *by_name[N_NAME_BUCKETS];
static uint16_t next_index;
static uint32_t next_serial = 1;
static bool stands_by; // no port is started, and few are opened
static bool frozen;    // nothing is opened, closed or retried any more

static void life_step(struct port *p);

static void port_free(struct port *p)
{
	for (uint16_t q = 0; p->txqs != NULL && q < p->conf.n_queues; q++)
		txq_fini(&p->txqs[q]);
	for (uint16_t q = 0; q < p->conf.n_queues; q++)
		flow_destroy(p->rxqs[q].flows);
	for (uint16_t w = 0; w <= MAX_WORKERS; w++)
		free(p->counters[w]);
	if (p->life->gift != NULL)
		port_gift_free(p->life->gift);
	free(p->life->gift);
	free(p->restored);
	free(p->txqs);
	free(p->life);
	free(p);
}

// Indices are used again as late as possible: a frame in a mailbox knows its source by index only.
static int index_take(struct port *p)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		uint16_t at = (next_index + i) % MAX_PORTS;

		if (ports[at] != NULL)
			continue;
		ports[at] = p;
		p->index = at;
		p->id = next_serial * MAX_PORTS + at;
		next_serial = next_serial % (UINT32_MAX / MAX_PORTS) + 1;
		next_index = at + 1;
		return 0;
	}
	return -ENOSPC;
}

static int counters_add(struct port *p, uint16_t w)
{
	size_t bytes = (sizeof(struct port_counters) + 63) & ~(size_t)63;

	p->counters[w] = aligned_alloc(64, bytes);
	if (p->counters[w] == NULL)
		return -ENOMEM;
	memset(p->counters[w], 0, bytes);
	return 0;
}

// For every worker that is there, the control thread, and the test that plays worker 0.
static int counters_create(struct port *p)
{
	for (uint16_t w = 0; w <= MAX_WORKERS; w++)
		if ((worker_at(w) != NULL || w == 0 || w == MAX_WORKERS) && counters_add(p, w) < 0)
			return -ENOMEM;
	return 0;
}

int port_counters_for(uint16_t worker)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (ports[i] != NULL && ports[i]->counters[worker] == NULL &&
		    counters_add(ports[i], worker) < 0)
			return -ENOMEM;
	return 0;
}

static int queues_create(struct port *p, struct err *e)
{
	p->txqs = aligned_alloc(64, p->conf.n_queues * sizeof(*p->txqs));
	if (p->txqs == NULL)
		return -ENOMEM;
	memset(p->txqs, 0, p->conf.n_queues * sizeof(*p->txqs));
	for (uint16_t q = 0; q < p->conf.n_queues; q++) {
		uint16_t worker = queue_place(p->index + q);

		p->rxqs[q] = (struct rxq){
		    .port = p, .port_index = p->index, .id = q, .worker = worker, .owner = worker};
		p->rxqs[q].flows = flow_create(flow_budget() / FLOW_QUEUE_SHARE, rte_rand());
		if (p->rxqs[q].flows != NULL)
			flow_source_set(p->rxqs[q].flows, p->id);
		if (p->rxqs[q].flows == NULL || txq_init(&p->txqs[q], q, e) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void want_present(struct port *p)
{
	p->life->wanted = p->driver;
	p->life->conf = p->conf;
}

struct port *port_create(const struct port_conf *c, struct err *e)
{
	struct port *p = aligned_alloc(64, (sizeof(*p) + 63) & ~(size_t)63);

	if (p != NULL)
		memset(p, 0, sizeof(*p));
	if (p == NULL || (p->life = calloc(1, sizeof(*p->life))) == NULL) {
		free(p);
		err_set(e, -ENOMEM, "port %s: out of memory", c->name);
		return NULL;
	}
	p->conf = *c;
	p->driver = port_driver_for(c);
	p->switch_index = switch_find(c->switch_name)->index;
	p->dirty = true;
	p->leaving = true; // not yet shown
	p->life->retry_us = RETRY_FIRST_US;
	want_present(p);
	if (index_take(p) < 0)
		err_set(e, -ENOSPC, "port %s: there are %u ports already, which is the limit", c->name,
			MAX_PORTS);
	else if (counters_create(p) < 0 || queues_create(p, e) < 0)
		err_set(e, -ENOMEM, "port %s: out of memory", c->name);
	else
		return p;
	if (ports[p->index] == p)
		ports[p->index] = NULL;
	port_free(p);
	return NULL;
}

void port_destroy(struct port *p)
{
	ports[p->index] = NULL;
	timer_stop(p->life->retry);
	timer_stop(p->hold);
	port_free(p);
}

// Names of ports that are not leaving, by hash.
static uint32_t name_bucket(const char *name)
{
	uint32_t h = 2166136261u; // FNV-1a

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h % N_NAME_BUCKETS;
}

void port_table_add(struct port *p)
{
	struct port **at = &by_name[name_bucket(p->conf.name)];

	p->leaving = false;
	p->life->next_by_name = *at;
	*at = p;
}

void port_table_del(struct port *p)
{
	struct port **at = &by_name[name_bucket(p->conf.name)];

	p->leaving = true;
	while (*at != p)
		at = &(*at)->life->next_by_name;
	*at = p->life->next_by_name;
}

struct port *port_at(uint16_t index)
{
	return index < MAX_PORTS ? ports[index] : NULL;
}

struct port *port_find(const char *name)
{
	struct port *p = by_name[name_bucket(name)];

	while (p != NULL && strcmp(p->conf.name, name) != 0)
		p = p->life->next_by_name;
	return p;
}

static int driver_open(struct port *p, struct err *e)
{
	struct port_life *l = p->life;

	// Nobody polls them now, and the descriptors that they slept on are closed.
	for (uint16_t q = 0; q < MAX_QUEUES; q++)
		p->rxqs[q].asleep_in = 0;
	int ret = l->wanted->open(p, &l->conf, e);

	if (ret == 0)
		l->driver = l->wanted;
	return ret;
}

static bool opens_beside(const struct port_driver *d, const struct port_conf *c)
{
	return d->opens_beside != NULL && d->opens_beside(c);
}

// The control thread has the port wait for this one: nobody else looks at it.
int port_life_open(void *port, struct err *e)
{
	struct port *p = port;
	int ret = driver_open(p, e);

	p->open = ret == 0;
	return ret;
}

int port_life_try(void *port, struct err *e)
{
	struct port *p = port;

	(void)e;
	p->life->err = (struct err){0};
	if (!stands_by || opens_beside(p->life->wanted, &p->life->conf))
		port_life_open(p, &p->life->err);
	return 0;
}

static void retry_cancel(struct port_life *l)
{
	timer_stop(l->retry);
	l->retry = NULL;
}

static void retry_due(void *port)
{
	struct port *p = port;

	p->life->retry = NULL;
	life_step(p);
}

static void open_failed(struct port *p)
{
	struct port_life *l = p->life;
	const char *text = l->err.text, *colon = strstr(text, ": ");

	// The sentence begins with the port's name, which stands beside it wherever `why` is shown.
	if (strncmp(text, "port ", 5) == 0 && colon != NULL)
		text = colon + 2;
	port_state_set(p, PORT_FAILED, "%s; will be tried again", text);
	l->retry = timer_start("port retry", l->retry_us, 0, retry_due, p);
	l->retry_us = 2 * l->retry_us < RETRY_MAX_US ? 2 * l->retry_us : RETRY_MAX_US;
}

static void open_work(void *port)
{
	struct port *p = port;

	p->life->err = (struct err){0};
	driver_open(p, &p->life->err);
}

static void open_done(void *port)
{
	struct port *p = port;
	struct port_life *l = p->life;

	l->busy = false;
	if (l->driver == NULL && !l->gone && !l->stale && l->n_held == 0)
		open_failed(p);
	else
		life_step(p);
}

static void close_work(void *port)
{
	struct port *p = port;

	p->life->driver->close(p);
	p->life->driver = NULL;
}

static void mtu_work(void *port)
{
	struct port *p = port;

	p->life->driver->mtu_changed(p, p->life->conf.mtu);
}

static void job_done(void *port)
{
	struct port *p = port;

	p->life->busy = false;
	life_step(p);
}

// What was opened by a job of its own is shown to workers.
static void show(struct port *p)
{
	p->open = true;
	p->dirty = true;
	change_touch(NULL, NULL);
	port_life_published(p);
}

static void life_step(struct port *p)
{
	struct port_life *l = p->life;

	if (l->busy || l->n_held > 0 || frozen)
		return;
	if (l->driver != NULL && (l->gone || l->stale)) {
		l->busy = true;
		p->open = false;
		job_run("port close", close_work, job_done, p);
	} else if (l->gone) {
		port_destroy(p);
	} else if (l->driver == NULL) {
		l->busy = true;
		l->stale = false;
		retry_cancel(l);
		want_present(p);
		if (p->state != PORT_FAILED) // a retry keeps the reason until there is another
			port_state_set(p, PORT_OPENING, NULL);
		job_run("port open", open_work, open_done, p);
	} else {
		if (!l->started)
			show(p);
		if (l->conf.mtu != p->conf.mtu) {
			l->busy = true;
			l->conf.mtu = p->conf.mtu;
			job_run("port mtu", mtu_work, job_done, p);
		}
	}
}

static void gift_hand_over(struct port *p)
{
	struct port_gift *g = p->life->gift;

	if (g == NULL)
		return;
	if (p->life->driver->take != NULL)
		p->life->driver->take(p, g);
	port_gift_free(g);
	free(g);
	p->life->gift = NULL;
}

void port_life_published(void *port)
{
	struct port *p = port;
	struct port_life *l = p->life;

	if (stands_by)
		return;
	if (l->driver == NULL) {
		open_failed(p);
		return;
	}
	l->retry_us = RETRY_FIRST_US;
	l->started = true;
	gift_hand_over(p);
	if (l->driver->start != NULL)
		l->driver->start(p);
}

void port_life_stop(struct port *p)
{
	struct port_life *l = p->life;

	if (l->started && l->driver->stop != NULL)
		l->driver->stop(p);
	l->started = false;
}

void port_life_hold(struct port *p)
{
	p->life->n_held++;
}

void port_life_resume(struct port *p)
{
	p->life->n_held--;
	life_step(p);
}

void port_life_reopen(struct port *p)
{
	p->life->stale = true;
	port_life_resume(p);
}

void port_life_end(struct port *p)
{
	p->life->gone = true;
	p->life->n_held = 0; // nothing comes behind a delete
	retry_cancel(p->life);
	life_step(p);
}

// Upgrade

void port_life_standby(void)
{
	stands_by = true;
	snap_hold(true);
}

void port_life_take_over(void)
{
	stands_by = false;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = ports[i];

		if (p == NULL || p->leaving)
			continue;
		if (p->life->driver != NULL || p->life->err.code != 0)
			port_life_published(p);
		else
			life_step(p);
	}
}

bool port_life_is_settled(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (ports[i] != NULL && ports[i]->life->was_given && ports[i]->state != PORT_UP)
			return false;
	return true;
}

void port_life_go(void)
{
	snap_hold(false);
	change_touch(NULL, NULL);
}

int port_life_may_leave(struct err *e)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		const struct port *p = ports[i];
		const struct port_driver *d = p != NULL ? p->life->driver : NULL;
		const char *why = d != NULL && p->open && d->stays != NULL ? d->stays(p) : NULL;

		if (why != NULL)
			return err_set(e, -EBUSY, "port %s: %s; upgrade evswitchd when that is over",
				       p->conf.name, why);
	}
	return 0;
}

json_t *port_life_up(void)
{
	json_t *up = json_array();

	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (ports[i] != NULL && ports[i]->state == PORT_UP && !ports[i]->leaving)
			json_array_append_new(up, json_string(ports[i]->conf.name));
	return up;
}

void port_life_freeze(void)
{
	frozen = true;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		if (ports[i] == NULL)
			continue;
		retry_cancel(ports[i]->life);
		port_life_stop(ports[i]);
	}
}

void port_life_prepare(const char *name)
{
	struct port *p = port_find(name);

	if (p != NULL && p->life->driver != NULL && p->life->driver->prepare != NULL)
		p->life->driver->prepare(p);
}

// Nobody but the jobs thread opens and closes drivers.
void port_life_leave(void (*fn)(const char *name, struct port_gift *g, void *arg), void *arg)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = ports[i];
		const struct port_driver *d = p != NULL ? p->life->driver : NULL;
		struct port_gift g = {0};

		if (d == NULL)
			continue;
		if (d->leave != NULL)
			d->leave(p, &g);
		else
			d->close(p);
		if (g.what != NULL)
			fn(p->conf.name, &g, arg);
		port_gift_free(&g);
	}
}

void port_life_give(const char *name, struct port_gift *g)
{
	struct port *p = port_find(name);

	if (p != NULL && stands_by && p->life->gift == NULL)
		p->life->gift = malloc(sizeof(*g));
	if (p != NULL && p->life->gift != NULL) {
		p->life->was_given = true;
		*p->life->gift = *g;
		*g = (struct port_gift){0};
	}
	port_gift_free(g);
}
