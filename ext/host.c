// The host table: what extensions may ask of the daemon, from which threads it may be asked.
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blame.h"
#include "bundled.h"
#include "ctrl/api/conf.h"
#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"
#include "dp/inject.h"
#include "dp/worker.h"
#include "fault.h"
#include "methods.h"
#include "notices.h"
#include "ports.h"

#define MAX_SENT 1024 // frames on their way to the control thread

static _Atomic uint32_t n_sent;

static struct ext *ext_of(struct evs_instance *i)
{
	return (struct ext *)i;
}

int ext_refusal(const struct ext *x, struct evs_why *why, const char *what, struct err *e)
{
	why->text[sizeof(why->text) - 1] = '\0';
	value_make_printable(why->text);
	return err_set(e, -EPERM, "ext %s: %s%s%s", x->conf.name, what, why->text[0] != '\0' ? ": " : "",
		       why->text);
}

static void host_log(struct evs_instance *i, int level, const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "%s", text);
	value_make_printable(line);
	log_line(NULL, level <= EVS_LOG_ERROR ? LOG_LEVEL_ERROR : (enum log_level)level, "ext %s: %s",
		 ext_of(i)->conf.name, line);
}

struct told_event {
	char ext[PORT_NAME_SIZE], kind[PORT_NAME_SIZE], text[256];
};

static void event_tell(void *arg)
{
	struct told_event *t = arg;

	event_emit(t->kind, t->ext, "%s", t->text);
	free(t);
}

static void host_event(struct evs_instance *i, const char *kind, const char *text)
{
	struct told_event *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return;
	snprintf(t->ext, sizeof(t->ext), "%s", ext_of(i)->conf.name);
	snprintf(t->kind, sizeof(t->kind), "%s", value_is_name(kind) ? kind : "extension");
	snprintf(t->text, sizeof(t->text), "%s", text);
	value_make_printable(t->text);
	control_post("ext event", event_tell, t);
}

static uint64_t host_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void host_revoke(struct evs_instance *i, uint32_t port)
{
	(void)port; // a change of one port costs what a change of all does
	atomic_store(&ext_of(i)->revoke, true);
}

static void host_sample(struct evs_instance *i, uint32_t rate)
{
	atomic_store(&ext_of(i)->sample_rate, rate);
}

static void host_watch_drops(struct evs_instance *i, bool on)
{
	struct ext *x = ext_of(i);

	if (atomic_exchange(&x->watches_drops, on) != on)
		atomic_store(&x->revoke, true); // what watches is built into ports' snapshots
}

static bool is_on_jobs(void)
{
	return blame_thread == BLAME_JOBS;
}

static bool host_port_next(struct evs_instance *i, uint32_t *at, struct evs_port *port)
{
	return is_on_jobs() && ext_port_next(ext_of(i), at, port);
}

static bool host_port_find(struct evs_instance *i, const char *name, struct evs_port *port)
{
	return is_on_jobs() && ext_port_find(ext_of(i), name, port);
}

struct sent {
	const void *after;
	uint32_t length, from, to;
	uint8_t frame[];
};

static void sent_go(void *arg)
{
	struct sent *s = arg;

	inject_frame(NULL, s->frame, s->length, s->from, s->after, s->to);
	atomic_fetch_sub(&n_sent, 1);
	free(s);
}

static bool send_from_elsewhere(const void *frame, uint32_t length, uint32_t from, const void *after,
				uint32_t to)
{
	if (atomic_fetch_add(&n_sent, 1) >= MAX_SENT) {
		atomic_fetch_sub(&n_sent, 1);
		return false;
	}
	struct sent *s = malloc(sizeof(*s) + length);

	if (s == NULL) {
		atomic_fetch_sub(&n_sent, 1);
		return false;
	}
	*s = (struct sent){after, length, from, to};
	memcpy(s->frame, frame, length);
	control_post("ext send", sent_go, s);
	return true;
}

static bool host_send(struct evs_instance *i, const void *frame, uint32_t length, uint32_t source,
		      uint32_t destination)
{
	const struct ext *x = ext_of(i);
	bool is_inside =
	    blame_thread != BLAME_NONE && atomic_load(&blame->inside[blame_thread]) == x->index + 1u;

	if (length < 14 || length > FRAME_MAX_MTU + 22 ||
	    (x->is.kind == EVS_CAPTURE && source != EVS_NO_PORT))
		return false;
	if (is_inside && blame_thread < MAX_WORKERS)
		return inject_frame(worker_at(blame_thread), frame, length, source, x, destination);
	return send_from_elsewhere(frame, length, source, x, destination);
}

const struct evs_host ext_host = {
    .size = sizeof(ext_host),
    .abi = EVS_ABI,
    .version = EVS_VERSION,
    .log = host_log,
    .event = host_event,
    .now_ns = host_now_ns,
    .revoke = host_revoke,
    .sample = host_sample,
    .port_next = host_port_next,
    .port_find = host_port_find,
    .send = host_send,
    .read = ext_packet_read,
    .watch_drops = host_watch_drops,
};

// What was asked from other threads

#define BUDGET_TICKS 200 // 1 s

void ext_tick(void *arg)
{
	static uint32_t n;
	bool revoked = false;

	(void)arg;
	ext_notices_look();
	n++;
	bundled_look();
	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x == NULL || x->state != EXT_UP || x->leaving)
			continue;
		if (n % BUDGET_TICKS == 0)
			ext_budget_look(x);
		bool is_fault = atomic_load(&x->fault) != EXT_FAULT_NONE;

		if (is_fault)
			ext_fault_hear(x);
		if (atomic_exchange(&x->revoke, false) || is_fault) {
			ext_switch_dirty(x->switch_index);
			revoked = true;
		}
	}
	if (revoked)
		change_touch(NULL, NULL);
}
