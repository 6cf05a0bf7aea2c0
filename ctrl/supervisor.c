// The supervisor: lock, checks, then one switch process after the other.
//
// Signals are blocked and read from a descriptor, so that there is one place to wait in and nothing runs in a
// handler. The switch process is /proc/self/exe with the same arguments; it knows its role by an environment variable
// (role.h). For an upgrade it asks for a successor, of another program. That one is our child when the one before has
// ended, for whatever reason; once it has said that it is the switch, its program is also the one that crashes restart.
#include "ctrl/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/api/timer.h"
#include "ctrl/preflight.h"
#include "ext/blame.h"
#include "ctrl/role.h"

#define LOCK_WAIT_MS   3000 // a predecessor may be dying
#define STOP_WAIT_MS   5000
#define BACKOFF_MAX_MS 5000
#define LIVED_WELL_MS  10000
#define NS_PER_MS      1000000u

struct child {
	pid_t pid; // 0 = none
	int channel;
	int program; // descriptor; -1 = our own
	uint64_t started_ms;
	bool ready; // it is, or was, the switch
	bool heir;  // was started to take another one's place
};

struct supervisor {
	char *const *argv;
	sigset_t mask_before;
	int lock_fd, signal_fd, ready_fd;
	int program;            // what is started after a crash; -1 = our own
	struct child now, next; // next: a successor
	unsigned n_children;
	bool ready; // a switch process was ready once
	bool stopping;
	uint64_t kill_at_ms; // 0 = never
	const char *run_dir;
};

static const struct child no_child = {.channel = -1, .program = -1};

static uint64_t now_ms(void)
{
	return time_ns() / NS_PER_MS;
}

uint32_t backoff_next_ms(struct backoff *b, uint64_t lived_ms)
{
	uint32_t ms = 100;

	if (lived_ms >= LIVED_WELL_MS)
		b->n_crashes = 0;
	if (b->n_crashes++ == 0)
		return 0;
	for (unsigned i = 2; i < b->n_crashes && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static int lock_refused(int fd, const char *run_dir, struct err *e)
{
	char pid[24] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
	close(fd);
	return err_set(
	    e, -EBUSY,
	    "run directory %s: another evswitchd (pid %s) uses it; stop it or choose another --run-dir",
	    run_dir, *pid ? pid : "unknown");
}

// The lock is the open file's: it is free when both processes are gone. -errno or the descriptor.
static int lock_take(const char *run_dir, struct err *e)
{
	uint64_t deadline = now_ms() + LOCK_WAIT_MS;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/lock", run_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_set(e, -errno, "run directory %s: cannot open its file \"lock\": %s", run_dir,
			       err_name(errno));
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (now_ms() >= deadline)
			return lock_refused(fd, run_dir, e);
		poll(NULL, 0, 20);
	}
	if (ftruncate(fd, 0) || dprintf(fd, "%d\n", getpid()) < 0)
		log_warn("run directory %s: cannot write the process id into its file \"lock\": %s", run_dir,
			 err_name(errno));
	return fd;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static _Noreturn void child_exec(const struct supervisor *s, const struct role *r, int program)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != r->supervisor) // it died before the line above
		_exit(SWITCH_ENDS | EXIT_FAILED);
	sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
	role_give(r);
	unsetenv("WATCHDOG_PID"); // the switch process is the one that tells systemd
	if (program >= 0)
		fexecve(program, s->argv, environ);
	else
		execv("/proc/self/exe", s->argv);
	log_error("cannot start the switch process: %s", err_name(errno));
	_exit(SWITCH_ENDS | EXIT_REFUSED);
}

// Takes over `program`, if it is not our own.
static int child_start(struct supervisor *s, struct child *c, int program, int predecessor, struct err *e)
{
	int fds[2], rc = role_channel(fds);

	if (rc)
		return err_set(e, rc, "cannot make a channel to the switch process: %s", err_name(-rc));
	struct role r = {.channel = fds[1],
			 .predecessor = predecessor,
			 .generation = ++s->n_children,
			 .lock_fd = s->lock_fd,
			 .supervisor = getpid()};

	*c = (struct child){.channel = fds[0], .program = program, .started_ms = now_ms()};
	c->pid = fork();
	if (c->pid == 0)
		child_exec(s, &r, program);
	close(fds[1]);
	if (c->pid > 0)
		return 0;
	rc = err_set(e, -errno, "cannot start the switch process: %s", err_name(errno));
	close(fds[0]);
	*c = no_child;
	return rc;
}

static void ready_tell(struct supervisor *s)
{
	s->ready = true;
	if (s->ready_fd < 0)
		return;
	if (write(s->ready_fd, "ready\n", 6) != 6)
		log_warn("--ready-fd %d: cannot be written: %s", s->ready_fd, err_name(errno));
	close(s->ready_fd);
	s->ready_fd = -1;
}

static void child_ready(struct supervisor *s, struct child *c)
{
	c->ready = true;
	s->program = c->program; // that of the one before is closed with it
	ready_tell(s);
}

// What belongs to one that has ended. A program that is now the one to start stays open.
static void child_forget(struct supervisor *s, struct child *c)
{
	fd_close(c->channel);
	if (c->program != s->program)
		fd_close(c->program);
	*c = no_child;
}

// The present switch process asks for another one.
static void successor_start(struct supervisor *s, int program, int predecessor)
{
	struct err e = {0};
	int rc = -EBUSY;

	if (s->next.pid == 0 && !s->stopping && program >= 0 && predecessor >= 0)
		rc = child_start(s, &s->next, program, predecessor, &e);
	if (rc) {
		log_error("%s", e.code ? e.text : "the switch process may not have a successor now");
		role_send(s->now.channel, ROLE_ENDED, rc, NULL);
		fd_close(program);
	}
	fd_close(predecessor);
}

// A successor that is ready is heard again when the one before it has ended: it may ask for a successor at once.
static bool is_heard(const struct supervisor *s, const struct child *c)
{
	return c->channel >= 0 && (c == &s->now || !c->ready);
}

static void channel_read(struct supervisor *s, struct child *c)
{
	struct role_message m;
	int fds[ROLE_FDS];

	while (is_heard(s, c)) {
		int rc = role_receive(c->channel, &m, fds);

		if (rc == -EAGAIN || rc == -EINTR)
			return;
		if (rc == 1 && m.word == ROLE_START && c == &s->now) {
			successor_start(s, fds[0], fds[1]);
			continue;
		}
		for (int i = 0; i < ROLE_FDS; i++)
			fd_close(fds[i]);
		if (rc != 1) {
			close(c->channel);
			c->channel = -1;
		} else if (m.word == ROLE_READY) {
			child_ready(s, c);
		} else if (m.word == ROLE_ABORT && s->next.pid && !s->next.ready) {
			kill(s->next.pid, SIGKILL);
		}
	}
}

// Takes one signal that has come. Only a request to stop means anything here.
static void signal_read(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si) || si.ssi_signo == SIGCHLD || s->stopping)
		return;
	s->stopping = true;
	s->kill_at_ms = now_ms() + STOP_WAIT_MS;
	if (s->next.pid > 0)
		kill(s->next.pid, s->next.ready ? SIGTERM : SIGKILL);
	if (s->now.pid > 0)
		kill(s->now.pid, SIGTERM);
}

static int wait_ms(uint64_t until_ms)
{
	uint64_t now = now_ms();

	if (!until_ms)
		return -1;
	return until_ms > now ? (int)(until_ms - now) : 0;
}

// A successor that has ended before the one whose place it was to take.
static void successor_look(struct supervisor *s)
{
	int status;

	if (s->next.pid == 0 || waitpid(s->next.pid, &status, WNOHANG) == 0)
		return;
	channel_read(s, &s->next);
	role_send(s->now.channel, ROLE_ENDED, status, NULL);
	child_forget(s, &s->next);
}

// Until the switch process has ended. Returns its status as of waitpid().
static int child_wait(struct supervisor *s)
{
	int status = 0;

	while (waitpid(s->now.pid, &status, WNOHANG) == 0) {
		successor_look(s);
		struct pollfd p[3] = {{s->signal_fd, POLLIN, 0},
				      {s->now.channel, POLLIN, 0},
				      {is_heard(s, &s->next) ? s->next.channel : -1, POLLIN, 0}};

		if (poll(p, 3, wait_ms(s->kill_at_ms)) == 0) {
			log_error("the switch process did not stop within %d s and is killed",
				  STOP_WAIT_MS / 1000);
			s->kill_at_ms = 0;
			kill(s->now.pid, SIGKILL);
		}
		if (p[0].revents)
			signal_read(s);
		if (p[1].revents)
			channel_read(s, &s->now);
		if (p[2].revents)
			channel_read(s, &s->next);
	}
	channel_read(s, &s->now);
	channel_read(s, &s->next);
	return status;
}

// Waits before the next start. A request to stop ends it.
static void backoff_wait(struct supervisor *s, uint32_t ms)
{
	uint64_t until = now_ms() + ms;

	while (!s->stopping && now_ms() < until) {
		struct pollfd p = {s->signal_fd, POLLIN, 0};
		if (poll(&p, 1, wait_ms(until)) > 0)
			signal_read(s);
	}
}

static void end_print(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
			 WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(buf, size, "with status %d", WEXITSTATUS(status) & ~SWITCH_ENDS);
}

static bool is_end(int status, int by)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == (SWITCH_ENDS | by);
}

static bool has_died(int status)
{
	int by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	return by == 0 || by == SIGSEGV || by == SIGBUS || by == SIGILL || by == SIGFPE || by == SIGABRT ||
	       by == SIGTRAP || by == SIGSYS;
}

// One that an extension has ended is started at once, also if it was not ready yet: each time there is one less.
static bool crash_of_extension(const struct supervisor *s, int status, const char *how, uint64_t lived_ms)
{
	char name[BLAME_NAME];

	if (s->stopping || !blame_settle(s->run_dir, !has_died(status), name))
		return false;
	log_error("the switch process ended %s after %.1f s in ext %s; starting it again without that", how,
		  lived_ms / 1e3, name);
	return true;
}

// What refuses to run in the place of one that did run is not the last word.
static bool is_final(const struct child *c, int status)
{
	return is_end(status, EXIT_STOPPED) || (is_end(status, EXIT_REFUSED) && (c->ready || !c->heir));
}

// The switch process has ended. True if it must be started again after *delay_ms; else *ret is ours.
static bool crash_again(struct supervisor *s, const struct child *c, int status, struct backoff *b,
			uint32_t *delay_ms, int *ret)
{
	uint64_t lived_ms = now_ms() - c->started_ms;
	char how[96];

	*ret = EXIT_FAILED;
	*delay_ms = 0;
	if (is_final(c, status)) {
		*ret = WEXITSTATUS(status) & ~SWITCH_ENDS;
		return false;
	}
	end_print(status, how, sizeof(how));
	if (crash_of_extension(s, status, how, lived_ms))
		return true;
	if (s->stopping || !s->ready) {
		log_error("the switch process ended %s %s", how,
			  s->stopping ? "while it was stopping" : "before it was ready");
		return false;
	}
	*delay_ms = backoff_next_ms(b, lived_ms);
	log_error("the switch process ended %s after %.1f s; starting it again in %u ms", how, lived_ms / 1e3,
		  *delay_ms);
	return true;
}

// The switch process has ended and a successor is there. False: it is not wanted, as all shall end.
static bool successor_take(struct supervisor *s, int status)
{
	char how[96];

	end_print(status, how, sizeof(how));
	if (s->stopping && !s->next.ready) {
		waitpid(s->next.pid, NULL, 0);
		child_forget(s, &s->next);
		return false;
	}
	if (!is_end(status, EXIT_STOPPED))
		log_error("the switch process ended %s; its successor takes its place", how);
	child_forget(s, &s->now);
	s->now = s->next;
	s->now.heir = true;
	s->next = no_child;
	role_send(s->now.channel, ROLE_HEIR, 0, NULL);
	return true;
}

static int supervise(struct supervisor *s)
{
	struct backoff b = {0};
	struct err e = {0};
	uint32_t delay_ms = 0;
	int ret = EXIT_STOPPED;

	while (s->now.pid || !s->stopping) {
		if (!s->now.pid && child_start(s, &s->now, s->program, -1, &e)) {
			log_error("%s", e.text);
			return EXIT_FAILED;
		}
		int status = child_wait(s);

		if (s->next.pid && successor_take(s, status))
			continue;
		struct child ended = s->now;

		child_forget(s, &s->now);
		if (!crash_again(s, &ended, status, &b, &delay_ms, &ret))
			return ret;
		backoff_wait(s, delay_ms);
	}
	return EXIT_STOPPED;
}

static void signals_take(struct supervisor *s)
{
	sigset_t set;

	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &s->mask_before);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
}

int supervisor_run(const struct options *o, char *const *argv)
{
	struct supervisor s = {
	    .argv = argv, .ready_fd = o->ready_fd, .program = -1, .now = no_child, .next = no_child};
	struct setup setup;
	struct err e = {0};

	if (o->ready_fd >= 0 && fcntl(o->ready_fd, F_SETFD, FD_CLOEXEC)) {
		log_error("--ready-fd %d: is not an open descriptor", o->ready_fd);
		return EXIT_USAGE;
	}
	signals_take(&s);
	s.run_dir = setup.run_dir;
	if (preflight_dirs(o, &setup, &e) == 0 && (s.lock_fd = lock_take(setup.run_dir, &e)) >= 0 &&
	    preflight(o, &setup, &e) == 0)
		return supervise(&s);
	log_error("%s", e.text);
	return EXIT_REFUSED;
}
