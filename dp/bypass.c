// Bypasses, the control side: what a port's steps mean for its device, and the device told so on the jobs thread.
//
// One order is under way per port at most. Whatever has changed when it comes back is compared with what was done.
#include "bypass.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/err.h"
#include "ctrl/api/event.h"
#include "ctrl/api/jobs.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "port.h"
#include "snap.h"

#define MAX_BYPASS_DRIVERS 4
#define AGAIN_US           2000000

enum bypass_state { BYPASS_UNKNOWN, BYPASS_OFFERED, BYPASS_WITHDRAWN, BYPASS_FAILED };

static const char *const state_names[] = {"unknown", "offered", "withdrawn", "failed"};

struct order {
	char port[PORT_NAME_SIZE];
	char device[BYPASS_SIZE];
	const struct bypass_driver *driver;
	bool offer;
	struct bypass_policy policy;
	char why[120]; // it is withdrawn
	struct err e;
};

struct bypass {
	char device[BYPASS_SIZE];
	const struct bypass_driver *driver;
	enum bypass_state state;
	struct bypass_policy policy; // that was given, when offered
	const struct order *order;   // that is under way; NULL = none
	char why[200];               // it is withdrawn, or failed
};

static const struct bypass_driver *drivers[MAX_BYPASS_DRIVERS];
static struct timer *again;

void bypass_driver_register(const struct bypass_driver *d)
{
	for (int i = 0; i < MAX_BYPASS_DRIVERS; i++) {
		if (drivers[i] == NULL || drivers[i] == d) {
			drivers[i] = d;
			return;
		}
	}
	abort();
}

static const struct bypass_driver *driver_for(const char *device)
{
	for (int i = 0; i < MAX_BYPASS_DRIVERS && drivers[i] != NULL; i++)
		if (drivers[i]->claims(device))
			return drivers[i];
	return NULL;
}

int bypass_validate(const struct port_conf *c, struct err *e)
{
	if (c->bypass[0] == '\0')
		return 0;
	if (c->type != PORT_GUEST)
		return err_add(e, -EINVAL, "port %s: only a guest has a bypass", c->name);
	if (driver_for(c->bypass) == NULL)
		return err_add(e, -EINVAL,
			       "port %s: bypass %s is no device that we know; a function of a NIC is written "
			       "INTERFACE/NUMBER",
			       c->name, c->bypass);
	return 0;
}

// What the device should be told

static const struct step *first_not_honoured(const struct port *p, const struct bypass_driver *d)
{
	const struct snap_port *sp = p->part;

	for (uint8_t i = 0; i < sp->n_in; i++)
		if (!d->honours(p, &sp->in[i]))
			return &sp->in[i];
	for (uint8_t i = 0; i < sp->n_out; i++)
		if (!d->honours(p, &sp->out[i]))
			return &sp->out[i];
	return NULL;
}

static struct bypass_policy policy_of(const struct port *p)
{
	struct bypass_policy policy;

	memset(&policy, 0, sizeof(policy)); // compared as bytes
	policy.has_mac = p->conf.has_mac;
	memcpy(policy.mac, p->conf.mac, sizeof(policy.mac));
	policy.vid = p->vlan.vid;
	return policy;
}

// Telling it

static void order_work(void *arg)
{
	struct order *o = arg;

	o->e.code = 0;
	o->driver->set(o->device, o->offer ? &o->policy : NULL, &o->e);
}

static void again_due(void *arg)
{
	(void)arg;
	again = NULL;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		if (p != NULL && p->bypass != NULL && p->bypass->state == BYPASS_FAILED)
			bypass_follow(p);
	}
}

static void failed(struct port *p, struct bypass *b, const struct order *o)
{
	const char *before = b->state == BYPASS_FAILED ? b->why : "";
	char why[sizeof(b->why)];

	snprintf(why, sizeof(why), "cannot be %s: %.150s", o->offer ? "offered" : "withdrawn", o->e.text);
	if (strcmp(before, why) != 0)
		event_emit("port-bypass", p->conf.name, "bypass %s %s", b->device, why);
	snprintf(b->why, sizeof(b->why), "%s", why);
	b->state = BYPASS_FAILED;
	if (again == NULL)
		again = timer_start("bypass", AGAIN_US, 0, again_due, NULL);
}

static void order_done(void *arg)
{
	struct order *o = arg;
	struct port *p = port_find(o->port);
	struct bypass *b = p != NULL ? p->bypass : NULL;

	if (b == NULL || b->order != o) { // it has gone, or got another one, meanwhile
		if (o->e.code != 0)
			log_warn("port %s: bypass %s cannot be withdrawn: %s", o->port, o->device, o->e.text);
	} else if (o->e.code != 0) {
		b->order = NULL;
		failed(p, b, o);
	} else {
		b->order = NULL;
		b->state = o->offer ? BYPASS_OFFERED : BYPASS_WITHDRAWN;
		b->policy = o->policy;
		snprintf(b->why, sizeof(b->why), "%s", o->why);
		event_emit("port-bypass", p->conf.name, "bypass %s is %s%s%s", b->device,
			   state_names[b->state], o->offer ? "" : ": ", o->why);
		bypass_follow(p);
	}
	free(o);
}

// `why` NULL = it is offered, else withdrawn.
static void order_give(const struct port *p, struct bypass *b, const char *why)
{
	struct order *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return; // with the next change
	snprintf(o->port, sizeof(o->port), "%s", p->conf.name);
	memcpy(o->device, b->device, sizeof(o->device));
	o->driver = b->driver;
	o->offer = why == NULL;
	if (o->offer)
		o->policy = policy_of(p);
	else
		snprintf(o->why, sizeof(o->why), "%s", why);
	b->order = o;
	job_run("bypass", order_work, order_done, o);
}

static struct bypass *bypass_make(struct port *p)
{
	struct bypass *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	snprintf(b->device, sizeof(b->device), "%s", p->conf.bypass);
	b->driver = driver_for(b->device);
	p->bypass = b;
	return b;
}

// Why the device may not be offered; NULL = it may.
static const char *reason_find(const struct port *p, const struct bypass *b, char buf[120])
{
	const struct step *step;

	if (port_is_held(p))
		return "the port waits for its state";
	step = first_not_honoured(p, b->driver);
	if (step == NULL)
		return NULL;
	snprintf(buf, 120, "it cannot do '%s' (%s)", step->name, stage_name(step->stage));
	return buf;
}

void bypass_follow(struct port *p)
{
	bool wanted = p->conf.bypass[0] != '\0' && !p->leaving && (p->part != NULL || port_is_held(p));
	struct bypass *b = p->bypass;
	char buf[120];

	if (b != NULL && (!wanted || strcmp(b->device, p->conf.bypass) != 0)) {
		bypass_end(p);
		b = NULL;
	}
	if (!wanted || (b == NULL && (b = bypass_make(p)) == NULL))
		return;
	const char *why = reason_find(p, b, buf);
	struct bypass_policy policy = policy_of(p);

	if (why != NULL && b->state == BYPASS_WITHDRAWN)
		snprintf(b->why, sizeof(b->why), "%s", why);
	if (b->order != NULL)
		return;
	if (why != NULL && b->state != BYPASS_WITHDRAWN)
		order_give(p, b, why);
	else if (why == NULL &&
		 (b->state != BYPASS_OFFERED || memcmp(&policy, &b->policy, sizeof(policy)) != 0))
		order_give(p, b, NULL);
}

void bypass_end(struct port *p)
{
	if (p->bypass == NULL)
		return;
	order_give(p, p->bypass, "the port does not name it any more");
	free(p->bypass);
	p->bypass = NULL;
}

json_t *bypass_show(const struct port *p)
{
	const struct bypass *b = p->bypass;

	if (b == NULL)
		return NULL;
	return json_pack("{s:s, s:s, s:s, s:s}", "device", b->device, "driver", b->driver->name, "state",
			 state_names[b->state], "why", b->state == BYPASS_OFFERED ? "" : b->why);
}
