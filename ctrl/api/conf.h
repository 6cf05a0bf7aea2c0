// Configuration: named objects as JSON, and the one path on which a change is made.
//
// Every configured object is a *row*: kind, name, conf (a JSON object in canonical form, the
// parameters of its `add` method). A change is a set of row edits and goes
//
//   validate (pure) ▸ open ▸ build the snapshot ▸ commit to disk ▸ publish ▸ grace ▸ answer ▸ close
//
// Requests that arrive while one batch of changes is on its way form the next batch, so that many
// clients share a flush. A failure before the commit undoes what was opened; nothing fails after it.
// Restoring at start runs the same path without the commit. Control thread only.
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "err.h"
#include "method.h"

struct change;    // one request's edits and what must happen with them
struct conf_view; // all rows as they would be after a change

// How another kind's rows depend on a row of this kind.
enum conf_ref_type {
	CONF_OWNER, // this row is deleted together with the row it names
	CONF_NEEDS, // the row it names cannot be deleted while this one is there
};

struct conf_ref {
	enum conf_ref_type type;
	const char *kind; // kind of the row that is named; NULL ends the table
	const char *key;  // key of the conf (a string, or an array of strings) that holds the name;
			  // NULL = this row's own name
};

struct conf_kind {
	const char *name; // "port"; NULL ends the table
	const char *help; // one line
	// The conf's keys: those of the add method without the name. Decodes rows of config.apply and of the disk;
	// unknown keys are refused.
	const struct param *params;
	const struct conf_ref *refs; // NULL = none. References are checked by the engine
	// Keys of strings whose values no two rows share, ended by NULL; keys that count together stand in one
	// string ("switch mac"). NULL = none. Checked by the engine.
	const char *const *unique;
	// Pure. Reports every finding with err_add(); `name`'s row is `conf` in `target`. May be NULL.
	int (*validate)(const struct conf_view *target, const char *name, const json_t *conf, struct err *e);
	// Makes it real, invisible to workers until published. `old` NULL = add, `now` NULL = delete.
	// Control thread, does not block: blocking work is given to change_job(). Undo and the later
	// steps are registered with the calls below, as each partial step succeeds. During a restore
	// (change_is_restore) an object that cannot open must come up in a failed state that retries
	// by itself, and return 0.
	int (*open)(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e);
	bool stays; // rows are about this host: they do not go along with a port that owns them
};

// A row; NULL if there is none. `v` NULL = the present state. Borrowed until the next change.
const json_t *conf_get(const struct conf_view *v, const char *kind, const char *name);
// Calls fn for each row of a kind, in no promised order, until fn returns false.
void conf_each(const struct conf_view *v, const char *kind,
	       bool (*fn)(const char *name, const json_t *conf, void *arg), void *arg);

// From a METHOD_WRITE handler: makes the change and answers the request when all is done.
// put: adds or replaces (takes over the reference to conf). del: with all that it owns.
struct change *change_new(struct request *rq);
void change_put(struct change *ch, const char *kind, const char *name, json_t *conf);
void change_del(struct change *ch, const char *kind, const char *name);
// Ends the handler: validates and opens now, the answer comes later. Returns 0 or the refusal.
// On both ways `ch` belongs to the engine afterwards.
int change_submit(struct change *ch, struct err *e);

// Short forms for most handlers. add refuses an existing name ("port vm1: already exists"), set and
// del a missing one ("port vm1: no such port"). set replaces the given keys (JSON null = back to the
// default or absent), keeping the others. All take over the reference to conf.
int conf_add(struct request *rq, const char *kind, const char *name, json_t *conf, struct err *e);
int conf_set(struct request *rq, const char *kind, const char *name, json_t *keys, struct err *e);
int conf_del(struct request *rq, const char *kind, const char *name, struct err *e);
// conf_set() when no client asks for it: made at its turn, if the row is still there. A refusal is logged.
void conf_set_soon(const char *kind, const char *name, json_t *keys);

// For conf_kind.open.
bool change_is_restore(const struct change *ch);
void change_undo(struct change *ch, void (*fn)(void *arg), void *arg);    // refused: in reverse order
void change_publish(struct change *ch, void (*fn)(void *arg), void *arg); // committed: with the snapshot
void change_close(struct change *ch, void (*fn)(void *arg), void *arg);   // after the grace period
// Runs work(arg, e) on the jobs thread before the snapshot is built; its failure refuses the change
// (at restore: is logged). Work may not touch control-thread state. Undo steps registered before it
// run on the control thread as always, after the work has ended.
void change_job(struct change *ch, int (*work)(void *arg, struct err *e), void *arg);

// A change that edits no row, and what workers see changes with it.
void change_needs_snapshot(struct change *ch);

// Publishes a new snapshot soon though no row changed (a device came up by itself). published(arg) is
// called with the publication; may be NULL.
void change_touch(void (*published)(void *arg), void *arg);

// What the change engine needs of the data plane; set once at start by the dp module.
struct change_target {
	int (*build)(struct err *e); // makes the next snapshot from live objects; no effect if it fails
	void (*discard)(void);       // drops the snapshot that was built
	void (*publish)(void);       // workers use the built snapshot from now on
	bool (*grace_over)(void);    // true once every worker has passed since the last publish
};
void change_target_set(const struct change_target *t);
