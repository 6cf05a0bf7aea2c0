// The life of a port's driver: opened, closed and retried on the jobs thread, one step at a time.
//
// A reconciler: it knows what the port should be (open with the present conf, or gone) and what the driver is, and
// takes the next step when none is under way. Control thread.
#pragma once

#include "port.h"

struct port_conf;

// A new port: index, queues, counters; in no table yet. NULL with a sentence.
struct port *port_create(const struct port_conf *c, struct err *e);
void port_destroy(struct port *p); // the driver is closed, workers have passed

// Counters of a worker that is about to start, for every port there is. -ENOMEM; what a worker left is kept.
int port_counters_for(uint16_t worker);

void port_table_add(struct port *p);
void port_table_del(struct port *p); // the name is free; port_at() finds it until it is destroyed

// jobs thread, for change_job(): opens the driver; its failure is returned.
int port_life_open(void *port, struct err *e);
// The same at restore: a failure is kept and retried later.
int port_life_try(void *port, struct err *e);
// The snapshot shows the port for the first time (or again).
void port_life_published(void *port);
// The snapshot no longer shows it as open. Does nothing if the driver was not started.
void port_life_stop(struct port *p);

// Upgrade. The new process, before its ports are restored: they touch nothing that another process may still have, until
// it takes them over.
void port_life_standby(void);
void port_life_take_over(void);
// Until now no queue was polled: what is sent to a port that is not up yet would be lost. Whether all that were left
// something have taken it up; and no more waiting.
bool port_life_is_settled(void);
void port_life_go(void);
// Jobs thread, while the control thread leaves ports alone: what can be done before the port is taken over.
void port_life_prepare(const char *name);
// Of the process before this one, for the port's driver when it is started; takes it over.
void port_life_give(const char *name, struct port_gift *g);
// The old one: -EBUSY with a sentence if a port cannot change hands now; the names of the ports that
// are up (a new reference); no driver does anything by itself any more; jobs thread, workers have ended: ports are let go, and what they
// leave is given to fn, which takes it over.
int port_life_may_leave(struct err *e);
json_t *port_life_up(void);
void port_life_freeze(void);
void port_life_leave(void (*fn)(const char *name, struct port_gift *g, void *arg), void *arg);

// A change of the port begins: a job that is under way ends, and what it opened waits. Each is ended by one of the
// three below, which take the next step when they are the last.
void port_life_hold(struct port *p);
void port_life_resume(struct port *p); // taken back, or it needs no other opening
void port_life_reopen(
    struct port *p); // it needs another driver or another opening; workers have left the old one
void port_life_end(
    struct port *p); // it deleted the port, or the port was never added; ends with port_destroy()
