// Rows of ports for `show` methods: one named port, or all of them in several turns of the loop. Control thread.
#pragma once

#include <stdbool.h>

struct port;
struct request;
struct err;

// To be returned by a method's handler. Calls row() for the port `name`, or for every port when that is NULL.
int port_list(struct request *rq, const char *name,
	      void (*row)(struct request *rq, const struct port *p, bool named), struct err *e);
