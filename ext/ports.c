// Ports as extensions hear of them. What is told is noted by the control thread, in the order in which it happens, and
// told by jobs; what an extension was told is kept with it, so that it may ask.
#include "ports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blame.h"
#include "ctrl/api/conf.h"
#include "ctrl/api/jobs.h"
#include "dp/port_watch.h"
#include "host.h"
#include "load.h"

struct told_port { // jobs thread
	struct told_port *next;
	struct evs_port is;
	char name[PORT_NAME_SIZE], vm[PORT_NAME_SIZE];
};

struct news {
	uint32_t id, type, mtu;
	uint8_t mac[6];
	char name[PORT_NAME_SIZE], vm[PORT_NAME_SIZE];
	uint32_t from, to; // steps, in order
};

struct port_news {
	uint32_t n;
	struct news list[];
};

struct told { // one piece of news for some
	struct ext *to[MAX_EXTS];
	uint32_t n, n_told;
	struct news news;
};

static uint32_t type_of(const struct port *p)
{
	return p->conf.type == PORT_GUEST    ? EVS_PORT_GUEST
	       : p->conf.type == PORT_UPLINK ? EVS_PORT_UPLINK
					     : EVS_PORT_HOST;
}

static void news_of(const struct port *p, uint32_t from, uint32_t to, struct news *n)
{
	*n = (struct news){.id = p->id, .type = type_of(p), .mtu = p->conf.mtu, .from = from, .to = to};
	memcpy(n->mac, p->conf.mac, sizeof(n->mac));
	snprintf(n->name, sizeof(n->name), "%s", p->conf.name);
	snprintf(n->vm, sizeof(n->vm), "%s", p->conf.vm);
}

// Jobs thread

static struct told_port **told_find(struct ext *x, uint32_t id)
{
	struct told_port **at = (struct told_port **)&x->told;

	while (*at != NULL && (*at)->is.id != id)
		at = &(*at)->next;
	return at;
}

static struct told_port *told_note(struct ext *x, const struct news *n)
{
	struct told_port **at = told_find(x, n->id), *t = *at;

	if (t == NULL) {
		t = calloc(1, sizeof(*t));
		if (t == NULL)
			return NULL;
		*at = t;
	}
	snprintf(t->name, sizeof(t->name), "%s", n->name);
	snprintf(t->vm, sizeof(t->vm), "%s", n->vm);
	bool connected = t->is.connected;

	t->is = (struct evs_port){.size = sizeof(t->is),
				  .id = n->id,
				  .name = t->name,
				  .vm = t->vm,
				  .type = n->type,
				  .mtu = n->mtu,
				  .connected = connected};
	memcpy(t->is.mac, n->mac, sizeof(t->is.mac));
	return t;
}

static void told_drop(struct ext *x, uint32_t id)
{
	struct told_port **at = told_find(x, id), *t = *at;

	if (t != NULL) {
		*at = t->next;
		free(t);
	}
}

static int step_tell(struct ext *x, uint32_t step, const struct evs_port *port, struct err *e)
{
	struct evs_why why = {.size = sizeof(why)};

	if (x->is.port == NULL)
		return 0;
	blame_enter(BLAME_JOBS, x->index);
	int ret = x->is.port(x->self, step, port, &why);

	blame_leave(BLAME_JOBS);
	// A capture looks on: it has no say.
	return ret == 0 || step > EVS_NIC_CREATE || x->is.kind == EVS_CAPTURE
		   ? 0
		   : ext_refusal(x, &why, "refuses the port", e);
}

// Tells of a port's steps. Refused: it has heard the end of what it had taken.
static int news_tell(struct ext *x, const struct news *n, struct err *e)
{
	if (!ext_is_callable(x))
		return 0;
	struct told_port *t = told_note(x, n);

	if (t == NULL)
		return err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
	for (uint32_t step = n->from; step <= n->to; step++) {
		if ((step == EVS_NIC_DISCONNECT && !t->is.connected) ||
		    (step == EVS_NIC_CONNECT && t->is.connected))
			continue;
		if (step == EVS_NIC_CONNECT || step == EVS_NIC_DISCONNECT)
			t->is.connected = step == EVS_NIC_CONNECT;
		if (step_tell(x, step, &t->is, e) == 0)
			continue;
		if (step == EVS_NIC_CREATE) {
			step_tell(x, EVS_PORT_TEARDOWN, &t->is, NULL);
			step_tell(x, EVS_PORT_DELETE, &t->is, NULL);
		}
		told_drop(x, n->id);
		return -EPERM;
	}
	if (n->to == EVS_PORT_DELETE)
		told_drop(x, n->id);
	return 0;
}

int ext_ports_tell(struct ext *x, const struct port_news *news, struct err *e)
{
	for (uint32_t i = 0; i < news->n; i++)
		if (news_tell(x, &news->list[i], e) < 0)
			return -EPERM;
	return 0;
}

static bool told_copy(const struct told_port *t, struct evs_port *port)
{
	uint32_t size = port->size;

	if (t == NULL || size < sizeof(port->size) || size > 4096)
		return false;
	memcpy(port, &t->is, size < sizeof(*port) ? size : sizeof(*port));
	port->size = size;
	return true;
}

bool ext_port_next(const struct ext *x, uint32_t *at, struct evs_port *port)
{
	const struct told_port *t = x->told;

	for (uint32_t i = 0; t != NULL && i < *at; i++)
		t = t->next;
	++*at;
	return told_copy(t, port);
}

bool ext_port_find(const struct ext *x, const char *name, struct evs_port *port)
{
	const struct told_port *t = x->told;

	while (t != NULL && strcmp(t->name, name) != 0)
		t = t->next;
	return told_copy(t, port);
}

void ext_ports_forget(struct ext *x)
{
	while (x->told != NULL)
		told_drop(x, ((struct told_port *)x->told)->is.id);
}

// Control thread

struct port_news *ext_ports_now(const struct ext *x)
{
	struct port_news *all = calloc(1, sizeof(*all) + MAX_PORTS * sizeof(all->list[0]));

	for (uint16_t i = 0; all != NULL && i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		if (p != NULL && !p->leaving && p->switch_index == x->switch_index)
			news_of(p, EVS_PORT_CREATE, p->told_up ? EVS_NIC_CONNECT : EVS_NIC_CREATE,
				&all->list[all->n++]);
	}
	return all;
}

void ext_ports_free(struct port_news *news)
{
	free(news);
}

struct sync {
	struct ext *x;
	struct port_news *now;
};

static bool is_among(const struct port_news *list, uint32_t id)
{
	for (uint32_t i = 0; i < list->n; i++)
		if (list->list[i].id == id)
			return true;
	return false;
}

static void sync_gone(struct ext *x, const struct port_news *now)
{
	struct told_port *t = x->told, *next;

	for (; t != NULL; t = next) {
		next = t->next;
		if (is_among(now, t->is.id))
			continue;
		struct news end = {.id = t->is.id,
				   .type = t->is.type,
				   .mtu = t->is.mtu,
				   .from = EVS_NIC_DISCONNECT,
				   .to = EVS_PORT_DELETE};

		memcpy(end.mac, t->is.mac, sizeof(end.mac));
		memcpy(end.name, t->name, sizeof(end.name));
		memcpy(end.vm, t->vm, sizeof(end.vm));
		news_tell(x, &end, NULL);
	}
}

static void sync_work(void *arg)
{
	struct sync *s = arg;

	sync_gone(s->x, s->now);
	for (uint32_t i = 0; i < s->now->n; i++) {
		struct news *n = &s->now->list[i];

		if (*told_find(s->x, n->id) != NULL)
			n->from = n->to = n->to == EVS_NIC_CONNECT ? EVS_NIC_CONNECT : EVS_NIC_DISCONNECT;
		news_tell(s->x, n, NULL);
	}
}

static void sync_done(void *arg)
{
	struct sync *s = arg;

	ext_ports_free(s->now);
	free(s);
}

void ext_ports_sync(struct ext *x)
{
	struct sync *s = calloc(1, sizeof(*s));

	if (s == NULL || (s->now = ext_ports_now(x)) == NULL) {
		free(s);
		return;
	}
	s->x = x;
	job_run("ext ports", sync_work, sync_done, s);
}

static struct told *told_make(const struct port *p, uint16_t sw, uint32_t from, uint32_t to)
{
	struct told *t = NULL;

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x == NULL || x->leaving || x->switch_index != sw)
			continue;
		if (t == NULL && (t = calloc(1, sizeof(*t))) == NULL)
			return NULL;
		t->to[t->n++] = x;
	}
	if (t != NULL)
		news_of(p, from, to, &t->news);
	return t;
}

static int adding_work(void *arg, struct err *e)
{
	struct told *t = arg;

	while (t->n_told < t->n) {
		if (news_tell(t->to[t->n_told], &t->news, e) < 0)
			return -EPERM;
		t->n_told++;
	}
	return 0;
}

static void taken_back(void *arg)
{
	struct told *t = arg;

	t->news.from = EVS_NIC_DELETE;
	t->news.to = EVS_PORT_DELETE;
	for (uint32_t i = 0; i < t->n_told; i++)
		news_tell(t->to[i], &t->news, NULL);
}

static void adding_undo(void *told)
{
	job_run("ext port", taken_back, free, told);
}

static int port_adding(struct change *ch, struct port *p, struct err *e)
{
	struct told *t = told_make(p, p->switch_index, EVS_PORT_CREATE, EVS_NIC_CREATE);

	(void)e;
	if (t == NULL)
		return 0;
	change_undo(ch, adding_undo, t);
	change_job(ch, adding_work, t);
	change_close(ch, free, t);
	return 0;
}

static void tell_work(void *arg)
{
	struct told *t = arg;

	for (uint32_t i = 0; i < t->n; i++)
		news_tell(t->to[i], &t->news, NULL);
}

static void tell(const struct port *p, uint16_t sw, uint32_t from, uint32_t to)
{
	struct told *t = told_make(p, sw, from, to);

	if (t != NULL)
		job_run("ext port", tell_work, free, t);
}

static void port_removed(struct port *p, uint16_t sw)
{
	tell(p, sw, EVS_NIC_DISCONNECT, EVS_PORT_DELETE);
}

static void port_updated(struct port *p)
{
	tell(p, p->switch_index, EVS_NIC_UPDATED, EVS_NIC_UPDATED);
}

static void port_up(struct port *p, bool up)
{
	if (!p->leaving)
		tell(p, p->switch_index, up ? EVS_NIC_CONNECT : EVS_NIC_DISCONNECT,
		     up ? EVS_NIC_CONNECT : EVS_NIC_DISCONNECT);
}

int ext_ports_init(void)
{
	static const struct port_watcher watcher = {port_adding, port_removed, port_updated, port_up};

	port_watch(&watcher);
	return 0;
}
