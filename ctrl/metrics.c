// The metrics server: walks the modules' families and sends them in chunks, one step per turn of the loop.
// HTTP is libevent's. Control thread.
#include "ctrl/metrics.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "ctrl/api/metrics.h"
#include "ctrl/api/module.h"
#include "ctrl/api/timer.h"
#include "ctrl/loop.h"
#include "ctrl/must.h"

#define CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define STEP_US      200 // between steps: others have their turn
#define TIMEOUT_S    10
#define SOCKET_NAME  "metrics.sock"

struct metrics {
	struct evhttp_request *rq;
	struct evbuffer *out;
	const struct module *const *module;
	const struct metric_family *family; // NULL = the module's first is next
	uint64_t at;
	bool head_sent;
	struct timer *timer;
};

static struct evhttp *http;
static int listener = -1, inherited = -1;
static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];

void metric_add(struct metrics *m, const char *labels, uint64_t value)
{
	const char *open = labels ? "{" : "", *close = labels ? "}" : "";

	evbuffer_add_printf(m->out, "%s%s%s%s%s %llu\n", m->family->name,
			    m->family->type == METRIC_COUNTER ? "_total" : "", open, labels ? labels : "",
			    close, (unsigned long long)value);
}

static void metrics_end(struct metrics *m)
{
	timer_stop(m->timer);
	evbuffer_free(m->out);
	free(m);
}

static void family_head(struct metrics *m)
{
	evbuffer_add_printf(m->out, "# TYPE %s %s\n# HELP %s %s\n", m->family->name,
			    m->family->type == METRIC_COUNTER ? "counter" : "gauge", m->family->name,
			    m->family->help);
	m->head_sent = true;
}

// To the next family there is; false behind the last.
static bool next_family(struct metrics *m)
{
	m->at = 0;
	m->head_sent = false;
	if (m->family && m->family[1].name) {
		m->family++;
		return true;
	}
	if (m->family)
		m->module++;
	while (*m->module && !(*m->module)->metrics)
		m->module++;
	m->family = *m->module ? (*m->module)->metrics : NULL;
	return m->family != NULL;
}

static void step(void *arg)
{
	struct metrics *m = arg;

	if (!m->head_sent)
		family_head(m);
	bool more = m->family->fill(m, m->family, &m->at) || next_family(m);

	if (!more)
		evbuffer_add_printf(m->out, "# EOF\n");
	evhttp_send_reply_chunk(m->rq, m->out);
	if (!more) {
		evhttp_connection_set_closecb(evhttp_request_get_connection(m->rq), NULL, NULL);
		evhttp_send_reply_end(m->rq);
		metrics_end(m);
	}
}

static void client_gone(struct evhttp_connection *c, void *arg)
{
	(void)c;
	metrics_end(arg);
}

static void on_metrics(struct evhttp_request *rq, void *arg)
{
	struct metrics *m = must(calloc(1, sizeof(*m)));

	(void)arg;
	m->rq = rq;
	m->out = must(evbuffer_new());
	m->module = modules;
	next_family(m);
	evhttp_add_header(evhttp_request_get_output_headers(rq), "Content-Type", CONTENT_TYPE);
	evhttp_send_reply_start(rq, HTTP_OK, "OK");
	evhttp_connection_set_closecb(evhttp_request_get_connection(rq), client_gone, m);
	m->timer = must(timer_start("metrics", 0, STEP_US, step, m));
}

static int socket_open(const char *run_dir, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct group *group = getgrnam("evswitch-ro");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/" SOCKET_NAME, run_dir);
	memcpy(socket_path, a.sun_path, sizeof(socket_path));
	unlink(socket_path); // the run directory is ours: its lock is held
	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && chmod(socket_path, 0660) == 0 &&
	    (!group || chown(socket_path, (uid_t)-1, group->gr_gid) == 0) && listen(fd, 16) == 0)
		return fd;
	err_set(e, -errno, "metrics: cannot listen on %s: %s", socket_path, err_name(errno));
	if (fd >= 0)
		close(fd);
	return e->code;
}

int metrics_start(const char *run_dir, struct err *e)
{
	int fd = inherited;

	inherited = -1;
	if (fd < 0)
		fd = socket_open(run_dir, e);
	else
		snprintf(socket_path, sizeof(socket_path), "%s/" SOCKET_NAME, run_dir);
	if (fd < 0)
		return fd;
	listener = fd;
	http = must(evhttp_new(loop_base()));
	evhttp_set_timeout(http, TIMEOUT_S);
	evhttp_set_allowed_methods(http, EVHTTP_REQ_GET);
	evhttp_set_max_headers_size(http, 8192);
	evhttp_set_cb(http, "/metrics", on_metrics, NULL);
	must(evhttp_bind_listener(
	    http, must(evconnlistener_new(loop_base(), NULL, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd))));
	return 0;
}

int metrics_listener(void)
{
	return listener;
}

void metrics_inherit(int fd)
{
	inherited = fd;
}

void metrics_leave(void)
{
	if (http != NULL)
		evhttp_free(http);
	http = NULL;
}

void metrics_stop(void)
{
	if (http == NULL)
		return;
	metrics_leave();
	unlink(socket_path);
}
