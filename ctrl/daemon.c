// The switch process: start in order, readiness, watchdog, clean stop.
//
// Everything that can be refused is refused before the socket answers: then the process ends with
// EXIT_REFUSED and its sentence stands in the log once. A stop answers what is under way first. Control thread.
#include "ctrl/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "ctrl/api/method.h"
#include "ctrl/api/timer.h"
#include "ctrl/conf.h"
#include "ctrl/eal.h"
#include "ctrl/engine.h"
#include "ctrl/link.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"
#include "ctrl/metrics.h"
#include "ctrl/modules.h"
#include "ctrl/server.h"
#include "ctrl/store.h"
#include "ctrl/successor.h"
#include "ctrl/supervisor.h"
#include "ctrl/upgrade.h"
#include "dp/flow_budget.h"
#include "dp/pool.h"
#include "dp/port_life.h"
#include "dp/snap.h"
#include "dp/worker.h"
#include "ext/ext_feature.h"

#define ENOUGH_NOFILE    12000 // a thousand guests
#define STOP_POLL_US     5000
#define STOP_WAIT_NS     3000000000u // the supervisor waits 5 s
#define WATCHDOG_PERIODS 3           // looks in the time that systemd allows

static struct {
	const struct options *options;
	const struct role *role;
	struct setup setup;
	uint64_t started_ns;
	uint64_t stop_by_ns; // 0 = nobody has asked
	bool was_idle;       // at the last look while stopping
	int signal_fd;
	bool leaves;                  // without taking anything down
	int status;                   // then
	uint64_t rounds[MAX_WORKERS]; // at the watchdog's last look
} self;

const struct options *daemon_options(void)
{
	return self.options;
}

const struct setup *daemon_setup(void)
{
	return &self.setup;
}

uint64_t daemon_started_ns(void)
{
	return self.started_ns;
}

unsigned daemon_generation(void)
{
	return self.role->generation;
}

bool daemon_is_stopping(void)
{
	return self.stop_by_ns != 0;
}

void daemon_leave(int status)
{
	self.leaves = true;
	self.status = status;
	loop_stop();
}

// Ends the loop once no request is unanswered, or when that takes too long.
static void stop_poll(void *arg)
{
	(void)arg;
	// Twice idle: the first look may come between a job's end and what it posted.
	bool idle = engine_is_idle() && jobs_idle();

	if ((idle && self.was_idle) || time_ns() >= self.stop_by_ns)
		loop_stop();
	self.was_idle = idle;
}

static void write_refuse(struct request *rq)
{
	struct err e = {0};

	err_set(&e, -ESHUTDOWN, "evswitchd is stopping");
	rq_done(rq, &e);
}

static void stop_begin(int fd, void *arg)
{
	struct signalfd_siginfo si;

	(void)arg;
	if (read(fd, &si, sizeof(si)) != sizeof(si) || self.stop_by_ns)
		return;
	log_info("evswitchd: stopping (%s)", strsignal((int)si.ssi_signo));
	sd_notify(0, "STOPPING=1");
	self.stop_by_ns = time_ns() + STOP_WAIT_NS;
	server_write_hook_set(write_refuse);
	upgrade_cancel();
	if (!timer_start("stop", 0, STOP_POLL_US, stop_poll, NULL))
		loop_stop();
}

static void signals_block(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigprocmask(SIG_BLOCK, set, NULL);
}

// systemd hears from us only if every worker has gone round since the last time; that the loop runs
// is shown by the timer itself.
static void watchdog_look(void *arg)
{
	bool well = true;

	(void)arg;
	for (uint16_t i = 0; i < workers_n(); i++) {
		const struct worker *w = worker_at(i);

		if (w == NULL)
			continue;
		uint64_t rounds = __atomic_load_n(&w->n.rounds, __ATOMIC_RELAXED);

		if (rounds == self.rounds[i]) {
			log_error(
			    "worker %u on CPU %d is stuck: it made no round since the watchdog's last look",
			    i, w->core);
			well = false;
		}
		self.rounds[i] = rounds;
	}
	if (well)
		sd_notify(0, "WATCHDOG=1");
}

static int watchdog_start(struct err *e)
{
	uint64_t us;

	if (sd_watchdog_enabled(0, &us) <= 0)
		return 0;
	us /= WATCHDOG_PERIODS;
	if (timer_start("watchdog", us, us, watchdog_look, NULL))
		return 0;
	return err_set(e, -ENOMEM, "watchdog: out of memory");
}

// The control thread's tools, then what stands in the data plane before any object does.
static int base_start(struct err *e)
{
	if (eal_start(&self.setup, self.options->memory_mb, e) || loop_init(e) || link_init(e))
		return e->code;
	if (!watch_start("stop signal", self.signal_fd, stop_begin, NULL))
		return err_set(e, -ENOMEM, "control thread: out of memory");
	flow_budget_set(self.options->max_flows);
	ext_trust_set(self.options->trusted_dir, self.options->allow_unsigned);
	if (pool_init(self.options->memory_mb, e) || snap_init(e))
		return e->code;
	return workers_start(self.setup.cores, (uint16_t)self.setup.n_cores, e);
}

static void ready_tell(void)
{
	const struct setup *p = &self.setup;
	char text[256];

	snprintf(text, sizeof(text), "%u worker%s, %u MB in %s pages, %s/control.sock", p->n_cores,
		 p->n_cores == 1 ? "" : "s", self.options->memory_mb, p->huge ? "huge" : "ordinary",
		 p->run_dir);
	log_info("evswitchd: ready (%s)", text);
	sd_notifyf(0, "READY=1\nMAINPID=%d\nSTATUS=%s", getppid(), text);
	int rc = role_send(self.role->channel, ROLE_READY, 0, NULL);

	if (rc)
		log_warn("cannot tell the supervisor that all is ready: %s", err_name(-rc));
}

int daemon_restore(struct err *e)
{
	return store_open(self.setup.state_path, e) || change_restore(e) ? e->code : 0;
}

int daemon_serve(struct err *e)
{
	server_write_hook_set(engine_hook);
	if (server_start(self.setup.run_dir, e) || metrics_start(self.setup.run_dir, e) || watchdog_start(e))
		return e->code;
	upgrade_init(self.role->channel);
	ready_tell();
	return 0;
}

static int modules_start(struct err *e)
{
	conf_init(modules);
	return methods_init(modules, e) || modules_init(e) ? e->code : 0;
}

static int switch_start(struct err *e)
{
	if (base_start(e) || modules_start(e))
		return e->code;
	if (self.role->predecessor < 0)
		return daemon_restore(e) || daemon_serve(e) ? e->code : 0;
	port_life_standby();
	successor_begin(self.role);
	return 0;
}

static void machine_note(uint64_t n_files)
{
	if (*self.setup.note)
		log_warn("huge pages: %s; to have huge ones: %s", self.setup.note, self.setup.fix);
	if (n_files < ENOUGH_NOFILE)
		log_warn("open descriptors: the limit is %llu, enough for about %llu ports; raise it with "
			 "ulimit -Hn or "
			 "LimitNOFILE=",
			 (unsigned long long)n_files, (unsigned long long)n_files / PREFLIGHT_PORT_NOFILE);
}

static void switch_stop(void)
{
	metrics_stop();
	server_stop();
	workers_stop();
	modules_fini();
	store_close();
	log_info("evswitchd: stopped");
}

// What guests have in their memory is nobody's business, and writing gigabytes of it keeps the next process waiting.
static void cores_without_packets(void)
{
	int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0x11", 4) != 4) // private memory, and the first pages of programs
		log_warn("core dumps: they will contain memory of guests: %s", err_name(errno));
	if (fd >= 0)
		close(fd);
}

static int prepare(struct err *e)
{
	uint64_t n_files = preflight_nofile();

	preflight_nofile_reserve(n_files);
	if (preflight(self.options, &self.setup, e))
		return e->code;
	if (self.role->predecessor >= 0)
		return successor_greet(self.role->predecessor, &self.setup, e);
	machine_note(n_files);
	return 0;
}

int daemon_run(const struct options *o, const struct role *r)
{
	struct err e = {0};
	sigset_t signals;

	prctl(PR_SET_NAME, "evswitchd"); // it would be "exe", as it was started by that link
	cores_without_packets();
	self.options = o;
	self.role = r;
	self.started_ns = time_ns();
	signals_block(&signals); // before there is a second thread, which would take them
	self.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (prepare(&e) || switch_start(&e)) {
		log_error("%s", e.text);
		return EXIT_REFUSED;
	}
	loop_run();
	if (self.leaves) {
		server_flush();
		return self.status;
	}
	if (self.stop_by_ns == 0) {
		log_error("control thread: its loop has ended by itself");
		return EXIT_FAILED;
	}
	switch_stop();
	return EXIT_STOPPED;
}
