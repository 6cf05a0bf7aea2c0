// Events: from whoever has something to tell to all who watch.
//
// A watcher is a request of event.watch that never ends. Whether its client reads is the request's
// affair (rq_notify counts what finds no room), so one slow reader costs the others nothing. Control
// thread.
#include "event.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/api/value.h"

struct watcher {
	struct watcher *next, **link;
	struct request *rq;
	const char *kind, *object; // in rq's parameters; NULL = all
};

#define MAX_LATE 16
#define LATE_NS  30000000000u

static struct watcher *watchers;
static struct late {
	json_t *event;
	uint64_t until_ns;
} late[MAX_LATE];
static uint32_t n_late; // ever

json_t *event_json(const char *kind, const char *object, const char *text)
{
	struct timespec now;
	struct tm tm;
	char seconds[32], stamp[48];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%FT%T", &tm);
	snprintf(stamp, sizeof(stamp), "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
	return json_pack("{ss ss ss* ss}", "time", stamp, "kind", kind, "object", object, "text", text);
}

static bool wants(const struct watcher *w, const char *kind, const char *object)
{
	return (!w->kind || strcmp(w->kind, kind) == 0) &&
	       (!w->object || (object && strcmp(w->object, object) == 0));
}

static void emit(const char *kind, const char *object, char *text)
{
	value_make_printable(text);
	log_debug("event %s%s%s: %s", kind, object ? " " : "", object ? object : "", text);

	json_t *event = NULL;
	for (struct watcher *w = watchers; w; w = w->next) {
		if (!wants(w, kind, object))
			continue;
		if (!event)
			event = event_json(kind, object, text);
		rq_notify(w->rq, "event", json_incref(event));
	}
	json_decref(event);
}

void event_emit(const char *kind, const char *object, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(kind, object, text);
}

void event_emit_late(const char *kind, const char *object, const char *fmt, ...)
{
	struct late *l = &late[n_late++ % MAX_LATE];
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(kind, object, text);
	json_decref(l->event);
	*l = (struct late){event_json(kind, object, text), time_ns() + LATE_NS};
}

static void late_tell(const struct watcher *w)
{
	for (uint32_t i = 0; i < MAX_LATE; i++) {
		const struct late *l = &late[(n_late + i) % MAX_LATE]; // the oldest first
		const json_t *e = l->event;

		if (e != NULL && time_ns() < l->until_ns &&
		    wants(w, json_string_value(json_object_get(e, "kind")),
			  json_string_value(json_object_get(e, "object"))))
			rq_notify(w->rq, "event", json_incref(l->event));
	}
}

static void watcher_gone(struct request *rq, void *arg)
{
	struct watcher *w = arg;

	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	free(w);
	rq_done(rq, NULL);
}

int event_watch(struct request *rq, const char *kind, const char *object, struct err *e)
{
	struct watcher *w = malloc(sizeof(*w));

	if (!w)
		return err_set(e, -ENOMEM, "event watch: out of memory");
	*w = (struct watcher){.next = watchers, .link = &watchers, .rq = rq, .kind = kind, .object = object};
	if (watchers)
		watchers->link = &w->next;
	watchers = w;
	int ret = rq_later(rq, watcher_gone, w);

	late_tell(w);
	return ret;
}
