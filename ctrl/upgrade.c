// Upgrade, the side of the switch process that is to be replaced. See upgrade.h.
#include "ctrl/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/daemon.h"
#include "ctrl/engine.h"
#include "ctrl/handover.h"
#include "ctrl/loop.h"
#include "ctrl/metrics.h"
#include "ctrl/must.h"
#include "ctrl/request.h"
#include "ctrl/server.h"
#include "ctrl/store.h"
#include "ctrl/supervisor.h"
#include "ctrl/upgrade_state.h"
#include "dp/cores.h"
#include "dp/port.h"
#include "dp/port_life.h"
#include "dp/worker.h"

#define STEP_WAIT_US  30000000 // for each step of the successor: the machine may be busy
#define IDLE_POLL_US  1000
#define NAMES_AT_ONCE 256
#define N_STEPS       5

struct left {
	struct left *next;
	char port[PORT_NAME_SIZE];
	struct port_gift gift;
};

enum phase { IDLE, STARTING, HOLDING, LOADING, LEARNING, GONE, FAILING };

static struct {
	enum phase phase;
	int channel;
	struct watch *watch;
	struct request *rq;
	struct handover *h;
	struct timer *deadline, *poll;
	bool was_idle;
	struct request *held, **held_last;
	struct err e;                   // why it fails
	struct left *left, **left_last; // jobs thread, then control thread
	char version[64];
} up = {.channel = -1};

static void heard(const json_t *m, const int *fds, unsigned n_fds, void *arg);

// Time runs anew for each step.
static void phase_set(enum phase phase);

// --- writes that have to wait

static void hold(struct request *rq)
{
	rq->next = NULL;
	*up.held_last = rq;
	up.held_last = &rq->next;
}

static void held_release(void (*fn)(struct request *rq))
{
	struct request *rq = up.held, *next;

	up.held = NULL;
	server_write_hook_set(fn);
	for (; rq; rq = next) {
		next = rq->next;
		rq->next = NULL;
		fn(rq);
	}
}

static void moved_refuse(struct request *rq)
{
	struct err e = {0};

	err_set(&e, -EAGAIN, "evswitchd is being upgraded, and nothing was changed: try again");
	rq_done(rq, &e);
}

// --- failure

static void forget(void)
{
	handover_close(up.h);
	timer_stop(up.deadline);
	timer_stop(up.poll);
	up.h = NULL;
	up.deadline = up.poll = NULL;
	up.phase = IDLE;
}

// The successor is gone, and nothing has happened.
static void failed(void)
{
	struct request *rq = up.rq;
	bool held = up.phase == FAILING && up.held_last;

	log_warn("%s", up.e.text);
	forget();
	up.rq = NULL;
	if (held)
		held_release(daemon_is_stopping() ? moved_refuse : engine_hook);
	up.held_last = NULL;
	rq_done(rq, &up.e);
}

// Behind `go` there is no way back: the supervisor starts another switch process.
static void lost(void)
{
	log_error("%s", up.e.text);
	rq_done(up.rq, &up.e);
	daemon_leave(daemon_is_stopping() ? EXIT_STOPPED : EXIT_FAILED);
}

// The end of the successor is what all wait for: it may still have the state file open.
static void fail(void)
{
	if (up.phase == FAILING || up.phase == IDLE)
		return;
	if (!up.e.code)
		err_set(&up.e, -EIO, "upgrade: the new process ended");
	if (up.phase == GONE) {
		lost();
		return;
	}
	phase_set(FAILING);
	role_send(up.channel, ROLE_ABORT, 0, NULL);
}

static void too_late(void *arg)
{
	static const char *const doing[] = {[STARTING] = "start",
					    [HOLDING] = "be heard, as changes under way did not end",
					    [LOADING] = "restore the configuration",
					    [LEARNING] = "take over the ports' state",
					    [GONE] = "take over",
					    [FAILING] = "end"};

	(void)arg;
	up.deadline = NULL;
	err_set(&up.e, -ETIMEDOUT, "upgrade: the new process took more than %u s to %s",
		STEP_WAIT_US / 1000000, doing[up.phase]);
	fail();
}

static void phase_set(enum phase phase)
{
	up.phase = phase;
	timer_stop(up.deadline);
	up.deadline = phase == FAILING ? NULL : must(timer_start("upgrade", STEP_WAIT_US, 0, too_late, NULL));
	if (phase < FAILING)
		rq_progress(up.rq, phase, N_STEPS);
}

static void end_describe(int status)
{
	if (up.e.code)
		return;
	if (status < 0)
		err_set(&up.e, status, "upgrade: the supervisor cannot start the program: %s",
			err_name(-status));
	else if (WIFSIGNALED(status))
		err_set(&up.e, -EIO, "upgrade: the new process was ended by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		err_set(&up.e, -EIO,
			"upgrade: the new process ended with status %d before it could take over; its log "
			"says why, if it is an evswitchd",
			WEXITSTATUS(status) & ~SWITCH_ENDS);
}

// What the supervisor says.
static void channel_read(int fd, void *arg)
{
	struct role_message m;
	int fds[ROLE_FDS], rc;

	(void)arg;
	while ((rc = role_receive(fd, &m, fds)) == 1) {
		if (m.word != ROLE_ENDED || up.phase == IDLE)
			continue;
		end_describe(m.value);
		if (up.phase == GONE)
			lost();
		else
			up.phase = FAILING, failed();
	}
	if (rc != -EAGAIN) { // it is dead, and we shall be, too
		watch_stop(up.watch);
		up.watch = NULL;
	}
}

// --- handing over

static void learned_sent(void)
{
	json_t *up_now = port_life_up();
	size_t n = json_array_size(up_now);

	for (size_t i = 0; i < n; i += NAMES_AT_ONCE) {
		json_t *some = must(json_array());

		for (size_t k = i; k < n && k < i + NAMES_AT_ONCE; k++)
			json_array_append(some, json_array_get(up_now, k));
		handover_say(up.h, json_pack("{s:s, s:o}", "word", "up", "ports", some), NULL, 0);
	}
	json_decref(up_now);
	handover_word(up.h, "learned");
}

static void end_sent(void)
{
	handover_word(up.h, "end");
}

static void left_free(struct left *l)
{
	port_gift_free(&l->gift);
	free(l);
}

static void go(void *arg)
{
	int fds[HANDOVER_FDS];
	unsigned n = server_listeners(fds);

	(void)arg;
	for (struct left *l; (l = up.left) != NULL; left_free(l)) {
		handover_say(
		    up.h, json_pack("{s:s, s:s, s:O}", "word", "gift", "port", l->port, "what", l->gift.what),
		    l->gift.fds, l->gift.n_fds);
		up.left = l->next;
	}
	fds[n++] = metrics_listener();
	handover_say(up.h, json_pack("{s:s}", "word", "go"), fds, n);
	server_deafen();
	metrics_leave();
}

static void gift_keep(const char *port, struct port_gift *g, void *arg)
{
	struct left *l = must(calloc(1, sizeof(*l)));

	(void)arg;
	snprintf(l->port, sizeof(l->port), "%s", port);
	l->gift = *g;
	*g = (struct port_gift){0};
	*up.left_last = l;
	up.left_last = &l->next;
}

static void leave(void *arg)
{
	(void)arg;
	port_life_leave(gift_keep, NULL);
}

// The shorter what follows takes, the better: guests wait.
static void take_leave(void)
{
	phase_set(GONE);
	port_life_freeze();
	workers_stop();
	cores_share();
	held_release(moved_refuse);
	up.left_last = &up.left;
	job_run("ports left", leave, go, NULL);
}

// --- the steps

static void hold_poll(void *arg)
{
	bool idle = engine_is_idle() && jobs_idle();

	(void)arg;
	if (!idle || !up.was_idle) {
		up.was_idle = idle;
		return;
	}
	timer_stop(up.poll);
	up.poll = NULL;
	store_release();
	phase_set(LOADING);
	handover_word(up.h, "load");
}

static void hold_begin(void)
{
	phase_set(HOLDING);
	up.held_last = &up.held;
	server_write_hook_set(hold);
	up.was_idle = false;
	up.poll = must(timer_start("upgrade", 0, IDLE_POLL_US, hold_poll, NULL));
}

static json_t *cores_json(void)
{
	json_t *list = must(json_array());

	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_at(i) != NULL)
			json_array_append_new(list, json_integer(worker_at(i)->core));
	return list;
}

static void welcome(const json_t *m)
{
	const json_t *huge = json_object_get(m, "huge");
	const char *fix = json_string_value(json_object_get(m, "fix"));
	json_int_t protocol = json_integer_value(json_object_get(m, "protocol"));

	snprintf(up.version, sizeof(up.version), "%s",
		 json_string_value(json_object_get(m, "version")) ?: "?");
	if (protocol != HANDOVER_PROTOCOL)
		err_set(
		    &up.e, -EPROTO,
		    "upgrade: version %s hands over in another way (%lld, here %d): stop evswitchd and start "
		    "that one",
		    up.version, (long long)protocol, HANDOVER_PROTOCOL);
	else if (daemon_setup()->huge && !json_is_true(huge))
		err_set(
		    &up.e, -ENOMEM,
		    "upgrade: there are not enough free huge pages for a second process beside this one: %s",
		    fix ? fix : "free some");
	if (up.e.code) {
		fail();
		return;
	}
	handover_say(up.h,
		     json_pack("{s:s, s:o, s:i}", "word", "welcome", "cores", cores_json(), "level",
			       (int)log_level_get()),
		     NULL, 0);
}

static void finish(const json_t *m)
{
	json_int_t n_up = json_integer_value(json_object_get(m, "up"));
	json_int_t n_before = json_integer_value(json_object_get(m, "before"));

	log_info("evswitchd: version %s has taken over, %lld of %lld ports are up again", up.version,
		 (long long)n_up, (long long)n_before);
	event_emit("system-upgraded", NULL, "version %s has taken over", up.version);
	rq_row(up.rq, json_pack("{s:s, s:s, s:I, s:I}", "version", up.version, "before", EVS_VERSION,
				"ports_up", n_up, "ports_before", n_before));
	rq_done(up.rq, NULL);
	daemon_leave(EXIT_STOPPED);
}

static void heard(const json_t *m, const int *fds, unsigned n_fds, void *arg)
{
	const char *word = handover_word_of(m);

	(void)arg;
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	if (!m || up.phase == FAILING)
		return; // the supervisor tells how it ended
	if (strcmp(word, "error") == 0) {
		const char *text = json_string_value(json_object_get(m, "text"));

		err_set(&up.e, -EIO, "upgrade: the new process refuses: %s", text ? text : "no reason");
		fail();
	} else if (strcmp(word, "hello") == 0 && up.phase == STARTING) {
		welcome(m);
	} else if (strcmp(word, "ready") == 0 && up.phase == STARTING) {
		hold_begin();
	} else if (strcmp(word, "loaded") == 0 && up.phase == LOADING) {
		phase_set(LEARNING);
		upgrade_state_send(up.h, false, learned_sent);
	} else if (strcmp(word, "learned") == 0 && up.phase == LEARNING) {
		take_leave();
	} else if (strcmp(word, "live") == 0 && up.phase == GONE) {
		upgrade_state_send(up.h, true, end_sent);
	} else if (strcmp(word, "done") == 0 && up.phase == GONE) {
		finish(m);
	} else {
		err_set(&up.e, -EPROTO, "upgrade: the new process said '%.32s', which nobody asked for",
			word);
		fail();
	}
}

// --- the beginning

// What a package manager has replaced is called "… (deleted)" there, and its successor has the name.
static int own_program(struct err *e)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	static const char deleted[] = " (deleted)";

	path[n > 0 ? n : 0] = '\0';
	if (n > (ssize_t)strlen(deleted) && strcmp(path + n - strlen(deleted), deleted) == 0)
		path[n - strlen(deleted)] = '\0';
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? fd : err_set(e, -errno, "upgrade: cannot open %s: %s", path, err_name(errno));
}

static int program_check(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "upgrade: the program is not a regular file");
	if (!(st.st_mode & 0111))
		return err_set(e, -EACCES, "upgrade: the program is not executable; chmod +x it");
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & 022)
		return err_set(
		    e, -EPERM,
		    "upgrade: the program could be changed by others (owner %u, %04o): it must belong to "
		    "root or to evswitchd's user and be writable by nobody else",
		    st.st_uid, st.st_mode & 07777);
	return 0;
}

static int successor_ask(int program, struct err *e)
{
	int ends[2], rc = role_channel(ends);

	if (rc)
		return err_set(e, rc, "upgrade: cannot make a socket: %s", err_name(-rc));
	rc = role_send(up.channel, ROLE_START, 0, (int[]){program, ends[1]});
	close(ends[1]);
	if (rc == 0) {
		up.h = handover_open(ends[0], heard, NULL);
		return 0;
	}
	close(ends[0]);
	return err_set(e, rc, "upgrade: cannot reach the supervisor: %s", err_name(-rc));
}

int upgrade_begin(struct request *rq, int program, struct err *e)
{
	if (up.phase != IDLE)
		return err_set(e, -EBUSY, "upgrade: another one is under way");
	if (rq->uid != 0 && rq->uid != geteuid())
		return err_set(e, -EPERM,
			       "upgrade: only root and evswitchd's own user may replace the program");
	if (port_life_may_leave(e))
		return e->code;
	int fd = program >= 0 ? fcntl(program, F_DUPFD_CLOEXEC, 0) : own_program(e);

	if (fd < 0)
		return e->code ? e->code : err_set(e, -errno, "upgrade: %s", err_name(errno));
	int rc = program_check(fd, e);

	if (rc == 0)
		rc = successor_ask(fd, e);
	close(fd);
	if (rc)
		return rc;
	up.e = (struct err){0};
	up.rq = rq;
	phase_set(STARTING);
	return rq_later(rq, NULL, NULL);
}

void upgrade_cancel(void)
{
	if (up.phase == IDLE || up.phase == FAILING)
		return;
	err_set(&up.e, -ESHUTDOWN, "upgrade: evswitchd is stopping");
	fail();
}

void upgrade_init(int channel)
{
	up.channel = channel;
	up.watch = must(watch_start("supervisor", channel, channel_read, NULL));
}
