// Ports that wait for their state. A guest that moves here must not be heard before its counters and addresses have
// come behind it, and not be cut off for ever if they do not come. The clock runs while the guest does: how long a
// migration takes until then does not matter. Control thread.
#include "port_hold.h"

#include <jansson.h>
#include <stdio.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/event.h"
#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "port_watch.h"

enum port_state port_hold_state(const struct port *p, char *why, size_t size)
{
	bool is_here = p->state == PORT_UP;

	if (!port_is_held(p))
		snprintf(why, size, "%s", p->why);
	else if (is_here)
		snprintf(why, size, "the guest is there; waits for its state (port import), at most %u s",
			 p->conf.await_s);
	else
		snprintf(why, size, "%s%sno frame passes before its state has come (port import)", p->why,
			 p->why[0] != '\0' ? "; " : "");
	return port_is_held(p) && is_here ? PORT_WAITING : p->state;
}

// Again and again until it is done: the disk may be full.
static void hold_over(void *port)
{
	const struct port *p = port;

	if (p->leaving)
		return;
	log_warn("port %s: its state has not come within %u s; frames pass without it", p->conf.name,
		 p->conf.await_s);
	event_emit("port-unrestored", p->conf.name, "its state has not come within %u s", p->conf.await_s);
	conf_set_soon("port", p->conf.name, json_pack("{s:n}", "await-state"));
}

void port_hold_sync(struct port *p)
{
	bool is_here = p->state == PORT_UP, is_up = is_here && !port_is_held(p);
	uint64_t wait_us = p->conf.await_s * UINT64_C(1000000);

	if (is_here && !is_up && p->hold == NULL)
		p->hold = timer_start("port hold", wait_us, wait_us, hold_over, p);
	if ((!is_here || is_up) && p->hold != NULL) {
		timer_stop(p->hold);
		p->hold = NULL;
	}
	if (is_up == p->told_up)
		return;
	p->told_up = is_up;
	port_watch_up(p, is_up);
	event_emit(is_up ? "port-up" : "port-down", p->conf.name, "%s",
		   is_up     ? "frames can pass"
		   : is_here ? "it waits for its state"
			     : p->why);
}
