// The control thread's loop: timers, watches, posts from other threads, the jobs thread, watchdog.
//
// libevent waits; everything that it calls goes through loop_enter/loop_leave, so that whoever keeps
// the control thread busy for more than a millisecond is known by name. Other threads reach the loop
// only through the post queue: a locked list and an eventfd.
#include "loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/api/log.h"

#define SLOW_NS      1000000
#define VERY_SLOW_NS 20000000
#define POSTS_NS     1000000 // posts run for this long, then others have their turn

static struct event_base *base;

uint64_t time_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// The watchdog

static uint64_t blamed_ns; // sum of all that was blamed so far

struct loop_mark loop_enter(void)
{
	return (struct loop_mark){.start_ns = time_ns(), .blamed_ns = blamed_ns};
}

void loop_leave(const char *name, struct loop_mark mark)
{
	uint64_t own_ns = time_ns() - mark.start_ns - (blamed_ns - mark.blamed_ns);

	if (own_ns <= SLOW_NS)
		return;
	blamed_ns += own_ns;
	if (own_ns > VERY_SLOW_NS)
		log_warn("control thread: %s took %.1f ms", name, (double)own_ns / 1e6);
	else
		log_debug("control thread: %s took %.1f ms", name, (double)own_ns / 1e6);
}

// Timers and watches

// Both may be stopped by their own callback, so the callback's frame releases them.
struct timer {
	struct event *event;
	const char *name;
	struct timeval period; // 0 = once
	void (*fn)(void *arg);
	void *arg;
	bool running, stopped;
};

static bool is_periodic(const struct timer *t)
{
	return t->period.tv_sec || t->period.tv_usec;
}

static void timer_free(struct timer *t)
{
	event_free(t->event);
	free(t);
}

static void timer_fire(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	(void)fd, (void)what;
	if (is_periodic(t))
		event_add(t->event, &t->period);
	t->running = true;
	struct loop_mark mark = loop_enter();
	t->fn(t->arg);
	loop_leave(t->name, mark);
	t->running = false;
	if (t->stopped || !is_periodic(t))
		timer_free(t);
}

static struct timeval timeval_of_us(uint64_t us)
{
	return (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
}

struct timer *timer_start(const char *name, uint64_t delay_us, uint64_t period_us, void (*fn)(void *arg),
			  void *arg)
{
	struct timer *t = calloc(1, sizeof(*t));
	struct timeval delay = timeval_of_us(delay_us);

	if (!t)
		return NULL;
	*t = (struct timer){.name = name, .period = timeval_of_us(period_us), .fn = fn, .arg = arg};
	t->event = evtimer_new(base, timer_fire, t);
	if (!t->event) {
		free(t);
		return NULL;
	}
	if (event_add(t->event, &delay) != 0) {
		timer_free(t);
		return NULL;
	}
	return t;
}

void timer_stop(struct timer *t)
{
	if (!t)
		return;
	t->stopped = true;
	event_del(t->event);
	if (!t->running)
		timer_free(t);
}

struct watch {
	struct event *event;
	const char *name;
	void (*fn)(int fd, void *arg);
	void *arg;
	bool running, stopped;
};

static void watch_free(struct watch *w)
{
	event_free(w->event);
	free(w);
}

static void watch_fire(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;

	(void)what;
	w->running = true;
	struct loop_mark mark = loop_enter();
	w->fn(fd, w->arg);
	loop_leave(w->name, mark);
	w->running = false;
	if (w->stopped)
		watch_free(w);
}

struct watch *watch_start(const char *name, int fd, void (*fn)(int fd, void *arg), void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct watch){.name = name, .fn = fn, .arg = arg};
	w->event = event_new(base, fd, EV_READ | EV_PERSIST, watch_fire, w);
	if (!w->event) {
		free(w);
		return NULL;
	}
	if (event_add(w->event, NULL) != 0) {
		watch_free(w);
		return NULL;
	}
	return w;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	w->stopped = true;
	event_del(w->event);
	if (!w->running)
		watch_free(w);
}

// Posts and jobs

struct task {
	struct task *next;
	const char *name;
	void (*fn)(void *arg);
	void (*done)(void *arg); // jobs only
	void *arg;
};

struct task_list {
	struct task *first, **tail; // tail NULL = never used
};

static struct task *task_new(const char *name, void (*fn)(void *arg), void (*done)(void *arg), void *arg)
{
	struct task *t = malloc(sizeof(*t));

	if (!t) {
		log_error("out of memory: cannot hand on %s", name);
		abort();
	}
	*t = (struct task){.name = name, .fn = fn, .done = done, .arg = arg};
	return t;
}

static void list_put(struct task_list *l, struct task *t)
{
	if (!l->first)
		l->tail = &l->first;
	*l->tail = t;
	l->tail = &t->next;
}

static struct task *list_take(struct task_list *l)
{
	struct task *t = l->first;

	if (t)
		l->first = t->next;
	return t;
}

static pthread_mutex_t tasks_lock = PTHREAD_MUTEX_INITIALIZER; // held for a few instructions only
static pthread_cond_t jobs_wake = PTHREAD_COND_INITIALIZER;
static struct task_list posts, jobs; // under tasks_lock
static bool jobs_end;                // under tasks_lock
static _Atomic unsigned n_jobs;      // given and not ended
static pthread_t jobs_thread;
static struct watch *posts_watch;
static int posts_fd = -1;

static void post(struct task *t)
{
	pthread_mutex_lock(&tasks_lock);
	list_put(&posts, t);
	pthread_mutex_unlock(&tasks_lock);
	eventfd_write(posts_fd, 1);
}

void control_post(const char *name, void (*fn)(void *arg), void *arg)
{
	post(task_new(name, fn, NULL, arg));
}

// Runs posts until there are none or `until_ns` has come. False when some are left.
static bool posts_run(uint64_t until_ns)
{
	for (;;) {
		pthread_mutex_lock(&tasks_lock);
		struct task *t = list_take(&posts);
		pthread_mutex_unlock(&tasks_lock);
		if (!t)
			return true;
		struct loop_mark mark = loop_enter();
		t->fn(t->arg);
		loop_leave(t->name, mark);
		free(t);
		if (time_ns() >= until_ns)
			return false;
	}
}

static void posts_ready(int fd, void *arg)
{
	eventfd_t n;

	(void)arg;
	eventfd_read(fd, &n);
	if (!posts_run(time_ns() + POSTS_NS))
		eventfd_write(fd, 1);
}

bool jobs_idle(void)
{
	return atomic_load(&n_jobs) == 0;
}

void job_run(const char *name, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct task *t = task_new(name, work, done, arg);

	atomic_fetch_add(&n_jobs, 1);
	pthread_mutex_lock(&tasks_lock);
	list_put(&jobs, t);
	pthread_cond_signal(&jobs_wake);
	pthread_mutex_unlock(&tasks_lock);
}

// Blocks until there is a job; NULL when the thread shall end.
static struct task *job_take(void)
{
	pthread_mutex_lock(&tasks_lock);
	while (!jobs.first && !jobs_end)
		pthread_cond_wait(&jobs_wake, &tasks_lock);
	struct task *t = list_take(&jobs);
	pthread_mutex_unlock(&tasks_lock);
	return t;
}

static void *jobs_main(void *arg)
{
	struct task *t;

	(void)arg;
	while ((t = job_take()) != NULL) {
		t->fn(t->arg);
		if (t->done) {
			t->fn = t->done;
			t->next = NULL;
			post(t);
		} else {
			free(t);
		}
		// After the post: what a job leaves to be done is seen before it counts as ended.
		atomic_fetch_sub(&n_jobs, 1);
	}
	return NULL;
}

static int jobs_start(void)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	sigset_t all, old;

	jobs_end = false;
	sigfillset(&all); // signals are for the control thread, but those by which this one itself would die:
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) // blocked, no handler would hear of them
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&jobs_thread, NULL, jobs_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		pthread_setname_np(jobs_thread, "evs-jobs");
	return -rc;
}

static void jobs_stop(void)
{
	pthread_mutex_lock(&tasks_lock);
	jobs_end = true;
	pthread_cond_signal(&jobs_wake);
	pthread_mutex_unlock(&tasks_lock);
	pthread_join(jobs_thread, NULL);
}

// The loop

static struct event_base *base_create(void)
{
	struct event_config *c = event_config_new();

	if (!c)
		return NULL;
	// timers are given in microseconds; the coarse clock has 4 ms
	event_config_set_flag(c, EVENT_BASE_FLAG_PRECISE_TIMER | EVENT_BASE_FLAG_NOLOCK);
	struct event_base *b = event_base_new_with_config(c);
	event_config_free(c);
	return b;
}

static void base_close(void)
{
	watch_stop(posts_watch);
	posts_watch = NULL;
	if (posts_fd >= 0)
		close(posts_fd);
	posts_fd = -1;
	if (base)
		event_base_free(base);
	base = NULL;
}

int loop_init(struct err *e)
{
	int rc = -ENOMEM;

	base = base_create();
	posts_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (base && posts_fd >= 0)
		posts_watch = watch_start("posts", posts_fd, posts_ready, NULL);
	if (posts_watch)
		rc = jobs_start();
	if (rc) {
		base_close();
		return err_set(e, rc, "control thread: cannot start its loop: %s", err_name(rc));
	}
	return 0;
}

void loop_run(void)
{
	event_base_dispatch(base);
}

void loop_turn(void)
{
	event_base_loop(base, EVLOOP_ONCE);
}

void loop_stop(void)
{
	event_base_loopbreak(base);
}

void loop_fini(void)
{
	// what a job's end posts may give new jobs
	do {
		jobs_stop();
		posts_run(UINT64_MAX);
	} while (jobs.first && jobs_start() == 0);
	base_close();
}

struct event_base *loop_base(void)
{
	return base;
}
