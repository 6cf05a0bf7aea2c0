// What a feature wants to hear of the lives of all ports: it is one watcher, made known once. Control thread.
//
// Each call may be NULL. A port that changes its switch is removed from one and added to the other.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct change;
struct err;
struct port;

struct port_watcher {
	// With the change that adds it, before it is made: may refuse, at once or by a change_job().
	int (*adding)(struct change *ch, struct port *p, struct err *e);
	// Workers do not know it any more on this switch.
	void (*removed)(struct port *p, uint16_t sw);
	void (*updated)(struct port *p); // its conf
	void (*up)(struct port *p, bool up);
};

void port_watch(const struct port_watcher *w);

// For ports
int port_watch_adding(struct change *ch, struct port *p, struct err *e);
void port_watch_removed(struct port *p, uint16_t sw);
void port_watch_updated(struct port *p);
void port_watch_up(struct port *p, bool up);
