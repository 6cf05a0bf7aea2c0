// Run-time state of ports on its way to the successor. See upgrade_state.h.
#include "ctrl/upgrade_state.h"

#include <stdlib.h>

#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/module.h"
#include "ctrl/api/timer.h"
#include "ctrl/change.h"
#include "ctrl/engine.h"
#include "ctrl/handover.h"
#include "ctrl/must.h"

#define TURN_NS 500000
#define WAIT_US 500

// --- sending

static struct {
	struct handover *h;
	bool final;
	void (*done)(void);
	json_t *names;
	size_t port;
	const struct module *const *owner;
	uint64_t at;
} out;

static bool names_add(const char *name, const json_t *conf, void *arg)
{
	(void)conf;
	json_array_append_new(arg, must(json_string(name)));
	return true;
}

static bool is_sent(const struct module *m)
{
	return m && m->save && m->saved_last == out.final;
}

// One call of a module. False: all was said.
static bool send_one(void)
{
	const char *name = json_string_value(json_array_get(out.names, out.port));

	if (!name)
		return false;
	if (is_sent(*out.owner)) {
		json_t *state = (*out.owner)->save(name, &out.at);

		if (state)
			handover_say(out.h,
				     json_pack("{s:s, s:s, s:s, s:o}", "word", "state", "port", name, "owner",
					       (*out.owner)->name, "state", state),
				     NULL, 0);
	}
	if (out.at == 0)
		out.owner++;
	if (!*out.owner) {
		out.owner = modules;
		out.port++;
	}
	return true;
}

static void send_step(void *arg)
{
	uint64_t until = time_ns() + TURN_NS;

	(void)arg;
	while (!handover_is_busy(out.h) && time_ns() < until) {
		if (send_one())
			continue;
		json_decref(out.names);
		out.names = NULL;
		out.done();
		return;
	}
	must(timer_start("upgrade", handover_is_busy(out.h) ? WAIT_US : 0, 0, send_step, NULL));
}

void upgrade_state_send(struct handover *h, bool final, void (*done)(void))
{
	out.h = h;
	out.final = final;
	out.done = done;
	out.names = must(json_array());
	out.port = 0;
	out.owner = modules;
	out.at = 0;
	conf_each(NULL, "port", names_add, out.names);
	send_step(NULL);
}

// --- receiving

static json_t *states; // {port: {owner: [state, …]}}
static json_t *taken;  // the same, while a change needs it
static void (*applied)(void);

static json_t *member(json_t *of, const char *key, json_t *(*make)(void))
{
	json_t *value = json_object_get(of, key);

	if (!value)
		json_object_set_new(of, key, value = must(make()));
	return value;
}

void upgrade_state_heard(const json_t *m)
{
	const char *port = json_string_value(json_object_get(m, "port"));
	const char *owner = json_string_value(json_object_get(m, "owner"));
	json_t *state = json_object_get(m, "state");

	if (!states)
		states = must(json_object());
	if (port && owner && state)
		json_array_append(member(member(states, port, json_object), owner, json_array), state);
}

static bool fits(const struct module *m, const char *port, const json_t *conf, const json_t *records)
{
	struct err e = {0};

	for (size_t i = 0; i < json_array_size(records) && e.code == 0; i++)
		m->check(port, conf, NULL, records, i, &e);
	if (e.code)
		log_warn("upgrade: state is left out: %s", e.text);
	return e.code == 0;
}

static int restore_all(struct change *ch, void *arg, struct err *e)
{
	const char *port;
	json_t *owners;
	int rc = 0;

	(void)arg;
	json_object_foreach (taken, port, owners) {
		const json_t *conf = conf_get(NULL, "port", port);

		for (const struct module *const *m = modules; conf && *m && rc == 0; m++) {
			const json_t *records = json_object_get(owners, (*m)->name);

			if (records && (*m)->restore && fits(*m, port, conf, records))
				rc = (*m)->restore(ch, port, records, e);
		}
	}
	return rc;
}

static void apply_end(const struct err *e, void *arg)
{
	(void)arg;
	if (e && e->code)
		log_warn("upgrade: the ports' state is left out: %s", e->text);
	json_decref(taken);
	taken = NULL;
	applied();
}

static void apply_turn(void *arg)
{
	struct change *ch = change_new_quiet(apply_end, NULL);
	struct err e = {0};

	(void)arg;
	taken = states;
	states = NULL;
	change_needs_snapshot(ch);
	change_then(ch, restore_all, NULL);
	if (change_submit(ch, &e) < 0)
		apply_end(&e, NULL);
}

void upgrade_state_apply(void (*done)(void))
{
	applied = done;
	engine_queue(apply_turn, NULL);
}
