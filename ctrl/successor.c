// Upgrade, the side of the new switch process. See successor.h.
#include "ctrl/successor.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/daemon.h"
#include "ctrl/handover.h"
#include "ctrl/metrics.h"
#include "ctrl/must.h"
#include "ctrl/server.h"
#include "ctrl/supervisor.h"
#include "ctrl/upgrade_state.h"
#include "dp/cores.h"
#include "dp/port.h"
#include "dp/port_life.h"

#define WELCOME_MS 30000
#define UP_POLL_US 1000
#define SETTLE_US  500
#define SETTLE_NS  100000000 // then who is slow is not waited for
#define UP_WAIT_NS UINT64_C(3000000000)

static struct {
	struct handover *h;  // NULL = the other one is gone
	struct watch *watch; // of the supervisor's channel, until this process is the switch
	bool loaded, live;
	json_t *up; // ports that were up before
	uint64_t live_ns;
	struct timer *poll, *settle;
} su;

int successor_greet(int predecessor, struct setup *setup, struct err *e)
{
	json_t *core, *cores,
	    *m = json_pack("{s:s, s:i, s:s, s:b}", "word", "hello", "protocol", HANDOVER_PROTOCOL, "version",
			   EVS_VERSION, "huge", setup->huge);
	size_t i;

	json_object_set_new(m, "fix", json_string(setup->fix));
	m = handover_wait(predecessor, m, WELCOME_MS, e);
	if (!m && e->code == -EPIPE) { // it is dead: this process is started as after any crash
		*e = (struct err){0};
		return 0;
	}
	if (!m)
		return e->code;
	cores = json_object_get(m, "cores");
	setup->n_cores = 0;
	json_array_foreach (cores, i, core)
		if (setup->n_cores < OPTIONS_MAX_CORES)
			setup->cores[setup->n_cores++] = (int)json_integer_value(core);
	if (json_integer_value(json_object_get(m, "level")) > 0)
		log_level_set((enum log_level)json_integer_value(json_object_get(m, "level")));
	json_decref(m);
	return setup->n_cores > 0 ? 0 : err_set(e, -EPROTO, "upgrade: no CPUs for workers were named");
}

static void refuse(const struct err *e)
{
	log_error("%s", e->text);
	if (su.h)
		handover_say(su.h, json_pack("{s:s, s:s}", "word", "error", "text", e->text), NULL, 0);
	daemon_leave(EXIT_REFUSED);
}

// The objects from the state file. False: this process ends.
static bool load(void)
{
	struct err e = {0};

	if (!su.loaded && daemon_restore(&e) != 0) {
		refuse(&e);
		return false;
	}
	su.loaded = true;
	return true;
}

static void settle_poll(void *arg)
{
	(void)arg;
	if (!port_life_is_settled() && time_ns() - su.live_ns < SETTLE_NS)
		return;
	timer_stop(su.settle);
	su.settle = NULL;
	port_life_go();
	cores_divide();
	if (su.h)
		handover_word(su.h, "live");
}

// From here on this process is the switch.
static void take_over(void)
{
	struct err e = {0};

	su.live = true;
	su.live_ns = time_ns();
	watch_stop(su.watch);
	su.watch = NULL;
	port_life_take_over();
	su.settle = must(timer_start("upgrade", 0, SETTLE_US, settle_poll, NULL));
	if (daemon_serve(&e) != 0)
		refuse(&e);
}

static void go(const int *fds, unsigned n_fds)
{
	if (n_fds < 2) {
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
	} else {
		server_inherit(fds, n_fds - 1);
		metrics_inherit(fds[n_fds - 1]);
	}
	take_over();
}

static void prepared(void *arg)
{
	(void)arg;
	cores_share();
	if (su.h)
		handover_word(su.h, "learned");
}

static void prepare(void *arg)
{
	const json_t *name;
	size_t i;

	(void)arg;
	json_array_foreach (su.up, i, name)
		port_life_prepare(json_string_value(name));
}

static void learned(void)
{
	job_run("upgrade", prepare, prepared, NULL);
}

// --- the end

static void up_poll(void *arg)
{
	json_int_t n = 0;
	json_t *name;
	size_t i;

	(void)arg;
	json_array_foreach (su.up, i, name) {
		const struct port *p = port_find(json_string_value(name));

		n += p && p->state == PORT_UP;
	}
	if (n < (json_int_t)json_array_size(su.up) && time_ns() - su.live_ns < UP_WAIT_NS)
		return;
	timer_stop(su.poll);
	su.poll = NULL;
	event_emit("system-upgraded", NULL, "version %s has taken over", EVS_VERSION);
	if (su.h)
		handover_say(su.h,
			     json_pack("{s:s, s:I, s:I}", "word", "done", "up", n, "before",
				       (json_int_t)json_array_size(su.up)),
			     NULL, 0);
}

static void counted(void)
{
	su.poll = must(timer_start("upgrade", 0, UP_POLL_US, up_poll, NULL));
}

static void gone(void)
{
	handover_close(su.h);
	su.h = NULL;
}

static void gift(const json_t *m, const int *fds, unsigned n_fds)
{
	const char *port = json_string_value(json_object_get(m, "port"));
	struct port_gift g = {.what = json_incref(json_object_get(m, "what")), .n_fds = n_fds};

	memcpy(g.fds, fds, n_fds * sizeof(*fds));
	port_life_give(port ? port : "", &g);
}

static void heard(const json_t *m, const int *fds, unsigned n_fds, void *arg)
{
	const char *word = handover_word_of(m);

	(void)arg;
	if (strcmp(word, "go") == 0 && su.loaded && !su.live) {
		go(fds, n_fds);
		return;
	}
	if (strcmp(word, "gift") == 0) {
		gift(m, fds, n_fds);
		return;
	}
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	if (!m) {
		gone();
	} else if (strcmp(word, "load") == 0) {
		if (load())
			handover_word(su.h, "loaded");
	} else if (strcmp(word, "state") == 0) {
		upgrade_state_heard(m);
	} else if (strcmp(word, "up") == 0) {
		json_array_extend(su.up, json_object_get(m, "ports"));
	} else if (strcmp(word, "learned") == 0) {
		upgrade_state_apply(learned);
	} else if (strcmp(word, "end") == 0 && su.live && !su.poll) {
		upgrade_state_apply(counted);
	}
}

// The supervisor: the one before has ended, without a word or as it should.
static void channel_read(int fd, void *arg)
{
	struct role_message m;
	int fds[ROLE_FDS];

	(void)arg;
	int rc = role_receive(fd, &m, fds);

	if (rc == 1 && m.word == ROLE_HEIR && !su.live) {
		log_warn("upgrade: the switch process before this one has ended early");
		if (load())
			take_over();
	} else if (rc != 1 && rc != -EAGAIN) { // it is dead, and we shall be, too
		watch_stop(su.watch);
		su.watch = NULL;
	}
}

void successor_begin(const struct role *r)
{
	su.up = must(json_array());
	su.watch = must(watch_start("supervisor", r->channel, channel_read, NULL));
	su.h = handover_open(r->predecessor, heard, NULL);
	handover_word(su.h, "ready");
}
