// Run-time state of a port that travels with it (ctrl/api/module.h): its counters, and what was learned on it.
//
//   port: {"rx_packets": N, …, "dropped": {"reason": N, …}}                          one record
//   fdb:  "02:00:00:00:00:01 VLAN AGE,…": seconds since it was seen                  as many as it takes
//
// Control thread.
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/api/err.h"

struct change;

json_t *port_save(const char *port, uint64_t *at);
int port_check(const char *port, const json_t *conf, const json_t *rows, const json_t *records, size_t which,
	       struct err *e);
int port_restore(struct change *ch, const char *port, const json_t *records, struct err *e);

json_t *fdb_save(const char *port, uint64_t *at);
int fdb_check(const char *port, const json_t *conf, const json_t *rows, const json_t *records, size_t which,
	      struct err *e);
int fdb_restore(struct change *ch, const char *port, const json_t *records, struct err *e);
