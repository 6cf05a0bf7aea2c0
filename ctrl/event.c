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
#include "ctrl/api/value.h"

struct watcher {
	struct watcher *next, **link;
	struct request *rq;
	const char *kind, *object; // in rq's parameters; NULL = all
};

static struct watcher *watchers;

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

void event_emit(const char *kind, const char *object, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
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
	return rq_later(rq, watcher_gone, w);
}
