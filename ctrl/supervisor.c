// The supervisor: lock, checks, then one switch process after the other.
//
// Signals are blocked and read from a descriptor, so that there is one place to wait in and nothing runs in a
// handler. The switch process is /proc/self/exe with the same arguments; it knows its role by an environment variable
// that names the pipe to us, the lock's descriptor and our process id.
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

#define ROLE_ENV       "EVSWITCHD_SWITCH"
#define LOCK_WAIT_MS   3000 // a predecessor may be dying
#define STOP_WAIT_MS   5000
#define BACKOFF_MAX_MS 5000
#define LIVED_WELL_MS  10000
#define NS_PER_MS      1000000u

struct supervisor {
	char *const *argv;
	sigset_t mask_before;
	int lock_fd, signal_fd, pipe_fd, ready_fd;
	pid_t child;
	bool ready; // a switch process was ready once
	bool stopping;
	uint64_t kill_at_ms; // 0 = never
	const char *run_dir;
};

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

static void keep_over_exec(int fd, bool keep)
{
	fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static _Noreturn void child_exec(struct supervisor *s, int pipe_fd, pid_t supervisor)
{
	char role[64];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor) // it died before the line above
		_exit(SWITCH_ENDS | EXIT_FAILED);
	sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
	keep_over_exec(pipe_fd, true);
	keep_over_exec(s->lock_fd, true);
	snprintf(role, sizeof(role), "%d %d %d", pipe_fd, s->lock_fd, supervisor);
	setenv(ROLE_ENV, role, 1);
	unsetenv("WATCHDOG_PID"); // the switch process is the one that tells systemd
	execv("/proc/self/exe", s->argv);
	log_error("cannot start the switch process: %s", err_name(errno));
	_exit(SWITCH_ENDS | EXIT_REFUSED);
}

int supervisor_pipe(void)
{
	const char *role = getenv(ROLE_ENV);
	int pipe_fd, lock_fd, pid;

	if (!role || sscanf(role, "%d %d %d", &pipe_fd, &lock_fd, &pid) != 3 || pid != getppid())
		return -1;
	unsetenv(ROLE_ENV);
	keep_over_exec(pipe_fd, false);
	keep_over_exec(lock_fd, false);
	return pipe_fd;
}

static int child_start(struct supervisor *s, struct err *e)
{
	pid_t self = getpid();
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return err_set(e, -errno, "cannot make a pipe for the switch process: %s", err_name(errno));
	s->child = fork();
	if (s->child == 0)
		child_exec(s, fds[1], self);
	close(fds[1]);
	s->pipe_fd = fds[0];
	return s->child > 0 ? 0 : err_set(e, -errno, "cannot start the switch process: %s", err_name(errno));
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

static void pipe_read(struct supervisor *s)
{
	char c;

	if (s->pipe_fd < 0)
		return;
	if (read(s->pipe_fd, &c, 1) == 1)
		ready_tell(s);
	close(s->pipe_fd);
	s->pipe_fd = -1;
}

// Takes one signal that has come. Only a request to stop means anything here.
static void signal_read(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si) || si.ssi_signo == SIGCHLD || s->stopping)
		return;
	s->stopping = true;
	if (s->child > 0) {
		s->kill_at_ms = now_ms() + STOP_WAIT_MS;
		kill(s->child, SIGTERM);
	}
}

static int wait_ms(const struct supervisor *s, uint64_t until_ms)
{
	uint64_t now = now_ms();

	(void)s;
	if (!until_ms)
		return -1;
	return until_ms > now ? (int)(until_ms - now) : 0;
}

// Until the process has ended. Returns its status as of waitpid().
static int child_wait(struct supervisor *s)
{
	int status = 0;

	while (waitpid(s->child, &status, WNOHANG) == 0) {
		struct pollfd p[2] = {{s->signal_fd, POLLIN, 0}, {s->pipe_fd, POLLIN, 0}};

		if (poll(p, 2, wait_ms(s, s->kill_at_ms)) == 0) {
			log_error("the switch process did not stop within %d s and is killed",
				  STOP_WAIT_MS / 1000);
			s->kill_at_ms = 0;
			kill(s->child, SIGKILL);
		}
		if (p[0].revents)
			signal_read(s);
		if (p[1].revents)
			pipe_read(s);
	}
	s->child = 0;
	pipe_read(s);
	return status;
}

// Waits before the next start. A request to stop ends it.
static void backoff_wait(struct supervisor *s, uint32_t ms)
{
	uint64_t until = now_ms() + ms;

	while (!s->stopping && now_ms() < until) {
		struct pollfd p = {s->signal_fd, POLLIN, 0};
		if (poll(&p, 1, wait_ms(s, until)) > 0)
			signal_read(s);
	}
}

static void end_print(int status, char *buf, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "by signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
			 WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(buf, size, "with status %d", WEXITSTATUS(status));
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

// The switch process has ended. True if it must be started again after *delay_ms; else *ret is ours.
static bool crash_again(struct supervisor *s, int status, uint64_t lived_ms, struct backoff *b,
			uint32_t *delay_ms, int *ret)
{
	char how[96];

	*ret = EXIT_FAILED;
	*delay_ms = 0;
	if (is_end(status, EXIT_STOPPED) || is_end(status, EXIT_REFUSED)) {
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

static int supervise(struct supervisor *s)
{
	struct backoff b = {0};
	struct err e = {0};
	uint32_t delay_ms = 0;
	int ret = EXIT_STOPPED;

	while (!s->stopping) {
		uint64_t started = now_ms();

		if (child_start(s, &e)) {
			log_error("%s", e.text);
			return EXIT_FAILED;
		}
		int status = child_wait(s);
		if (!crash_again(s, status, now_ms() - started, &b, &delay_ms, &ret))
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
	struct supervisor s = {.argv = argv, .pipe_fd = -1, .ready_fd = o->ready_fd};
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
