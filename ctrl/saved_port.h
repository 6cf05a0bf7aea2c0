// What a saved port means on this host: which rows go along with a port, and whether and how one that comes from
// elsewhere fits here.
//
// A port that is not here is made as the file says. One that is here keeps its configuration, which must be the file's
// but for the keys about its host, and only gets the state. Control thread.
#pragma once

#include <stdbool.h>

#include "ctrl/api/conf.h"
#include "saved.h"

struct module;

// The lines of a port's configuration; more are appended by the caller. NULL = refused.
json_t *saved_port_lines(const char *port, struct err *e);

// Modules whose state goes along, in order: the first behind `m` (NULL = of all); NULL = no more.
const struct module *const *saved_port_owner(const struct module *const *m);

// A saved port that shall come here.
struct arrival {
	const char *port;
	const struct saved *s;
	json_t *conf;      // of the port as it will be; NULL = it cannot be decoded
	json_t *rows;      // {kind: {name: conf}}: what else goes along
	json_t *given;     // keys of conf that the caller wants otherwise than in the file
	json_t *findings;  // what does not fit: sentences
	const char *owner; // whose record is checked next
	size_t n_checked;
};

// Takes over the reference to `given`; port and s are borrowed.
void arrival_init(struct arrival *a, const char *port, const struct saved *s, json_t *given);
void arrival_fini(struct arrival *a);
// Looks at some of the state; true = call again, at a later turn of the loop.
bool arrival_check_state(struct arrival *a);
void arrival_check_conf(struct arrival *a);
// As change_submit(): what does not fit is refused, else `ch`, which is new, becomes the import.
int arrival_submit(struct arrival *a, struct change *ch, struct err *e);
