// Control methods of extensions.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blame.h"
#include "bundled.h"
#include "ctrl/api/log.h"
#include "ctrl/api/module.h"
#include "ctrl/api/timer.h"
#include "dp/switch.h"
#include "ext.h"
#include "ext_kind.h"
#include "host.h"
#include "policy.h"
#include "policy_rpc.h"
#include "metrics.h"
#include "ports.h"

#define TICK_US 5000

#define PATH                                                                        \
	{                                                                           \
		"path", PARAM_PATH, PARAM_REQUIRED,                                 \
		    "its shared object, on the daemon's host; it is read again at " \
		    "each start"                                                    \
	}
#define KEYS                                                                                             \
	{"config", PARAM_JSON, 0, "what it is given when it starts; its own manual says what it takes"}, \
	    {"enabled", PARAM_BOOL, 0, "whether packets come to it", .def = "yes"},                      \
	    {"fail",                                                                                     \
	     PARAM_ENUM,                                                                                 \
	     0,                                                                                          \
	     "without it: open = the switch goes on, closed = nothing that it should have seen passes",  \
	     .def = "open",                                                                              \
	     .values = "open|closed"},                                                                   \
	{                                                                                                \
		"budget", PARAM_INT, 0,                                                                  \
		    "what it may take for a packet, in the mean of a second; 0 = no bound",              \
		    .def = "0", .unit = "cycles", .min = 0, .max = 1000000000                            \
	}

static const struct param load_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "what it is called here"},
    {"switch", PARAM_NAME, PARAM_REQUIRED, "the switch"},
    PATH,
    KEYS,
    {0}};
static const struct param name_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the extension"}, {0}};
static const struct param set_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the extension"},
    {"config", PARAM_JSON, 0, "what it is given when it starts: it is started anew"},
    {"fail", PARAM_ENUM, 0, "without it: open = the switch goes on, closed = nothing passes",
     .values = "open|closed"},
    {"budget", PARAM_INT, 0, "what it may take for a packet; 0 = no bound", .unit = "cycles", .min = 0,
     .max = 1000000000},
    {0}};
static const struct param upgrade_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the extension"},
    {"path", PARAM_PATH, PARAM_REQUIRED, "the shared object of its other version"},
    {0}};
static const struct param order_params[] = {
    {"switch", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the switch"},
    {"kind", PARAM_ENUM, PARAM_REQUIRED, "of which kind", .values = "capture|filter|forward"},
    {"names", PARAM_NAMES, PARAM_REQUIRED,
     "in the order in which packets come to them on the way in; others follow as they are"},
    {0}};
static const struct param show_params[] = {{"name", PARAM_NAME, PARAM_POSITIONAL, "only this one"}, {0}};
static const struct param conf_params[] = {
    {"switch", PARAM_NAME, PARAM_REQUIRED, "the switch"},
    PATH,
    KEYS,
    {"rank", PARAM_INT, 0, "its place among those of its kind: the lower, the earlier on the way in",
     .def = "0", .min = -1000000000, .max = 1000000000},
    {"faulted", PARAM_STRING, 0, "why it was taken out"},
    {"faults", PARAM_INT, 0, "how often it was taken out", .def = "0", .min = 0, .max = INT64_MAX},
    {0}};
static const struct column show_columns[] = {{"name", "the extension", NULL},
					     {"switch", "its switch", NULL},
					     {"kind", "capture, filter or forward", NULL},
					     {"place", "among those of its kind, on the way in", NULL},
					     {"state", "loading, up, disabled, failed, faulted", NULL},
					     {"why", "the reason for that", NULL},
					     {"extension", "what it says it is", NULL},
					     {"version", "of which version", NULL},
					     {"path", "its shared object", NULL},
					     {"signer", "whose key has signed it", NULL},
					     {"flows", "flow calls", NULL},
					     {"packets", "given to packet calls", "packets"},
					     {"drops", "that it decided", "packets"},
					     {"cycles", "inside of it", "cycles"},
					     {"breaches", "answers that its kind may not give", NULL},
					     {"faults", "how often it was taken out", NULL},
					     {"memory", "for its workers, that the daemon gives it", "bytes"},
					     {0}};
static const struct param policy_set_params[] = {
    {"name", PARAM_NAME, PARAM_REQUIRED | PARAM_POSITIONAL, "the extension"},
    {"port", PARAM_NAME, 0, "the port; without it, of the switch"},
    {"values", PARAM_JSON, PARAM_REST, "properties with their values, as strings; an empty one sets it back"},
    {0}};
static const struct param policy_show_params[] = {
    {"name", PARAM_NAME, PARAM_POSITIONAL, "only of this extension"},
    {"port", PARAM_NAME, 0, "only what is set for this port"},
    {0}};
static const struct param policy_conf_params[] = {
    {"ext", PARAM_NAME, PARAM_REQUIRED, "the extension"},
    {"port", PARAM_NAME, 0, "the port; without it, the switch"},
    {"values", PARAM_JSON, PARAM_REQUIRED, "properties with their values, as strings"},
    {0}};
static const struct column policy_columns[] = {{"name", "the extension", NULL},
					       {"property", "what may be set", NULL},
					       {"of", "port or switch", NULL},
					       {"port", "for which it is set", NULL},
					       {"value", "what is set, or what it is otherwise", NULL},
					       {"set", "whether it is set", NULL},
					       {"type", "bool, int, string, enum, rate or address", NULL},
					       {"help", "what it does", NULL},
					       {0}};
static const struct conf_ref policy_refs[] = {{CONF_OWNER, "ext", "ext"}, {CONF_OWNER, "port", "port"}, {0}};
static const struct column drops_columns[] = {{"name", "the extension", NULL},
					      {"reason", "in its own words", NULL},
					      {"packets", "how many", "packets"},
					      {0}};
static const struct conf_ref refs[] = {{CONF_OWNER, "switch", "switch"}, {0}};
static const char *const not_conf[] = {"name", NULL};

static int no_such(const char *name, struct err *e)
{
	return err_set(e, -ENOENT, "ext %s: no such extension", name);
}

// The most recently loaded stands first among those of its kind.
static int64_t rank_first(const char *sw)
{
	int64_t rank = 0;

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		const struct ext *x = ext_at(i);

		if (x != NULL && strcmp(x->conf.switch_name, sw) == 0 && x->conf.rank <= rank)
			rank = x->conf.rank - 1;
	}
	return rank;
}

static int ext_do_load(struct request *rq, struct err *e)
{
	json_t *conf = rq_params(rq, not_conf);

	json_object_set_new(conf, "rank", json_integer(rank_first(rq_str(rq, "switch"))));
	return conf_add(rq, "ext", rq_str(rq, "name"), conf, e);
}

static int ext_do_unload(struct request *rq, struct err *e)
{
	return conf_del(rq, "ext", rq_str(rq, "name"), e);
}

static int set_keys(struct request *rq, json_t *keys, struct err *e)
{
	return conf_set(rq, "ext", rq_str(rq, "name"), keys, e);
}

// One that was taken out is loaded anew.
static int ext_do_enable(struct request *rq, struct err *e)
{
	return set_keys(rq, json_pack("{s:b, s:n}", "enabled", 1, "faulted"), e);
}

static int ext_do_disable(struct request *rq, struct err *e)
{
	return set_keys(rq, json_pack("{s:b}", "enabled", 0), e);
}

static int ext_do_set(struct request *rq, struct err *e)
{
	return set_keys(rq, rq_params(rq, not_conf), e);
}

static int ext_do_upgrade(struct request *rq, struct err *e)
{
	return set_keys(rq, json_pack("{s:s, s:n}", "path", rq_str(rq, "path"), "faulted"), e);
}

static uint32_t kind_from(const char *word)
{
	return strcmp(word, "capture") == 0  ? EVS_CAPTURE
	       : strcmp(word, "filter") == 0 ? EVS_FILTER
					     : EVS_FORWARD;
}

static int by_order(const void *a, const void *b)
{
	return ext_compare(*(const struct ext *const *)a, *(const struct ext *const *)b);
}

static uint16_t of_kind(const char *sw, uint32_t kind, struct ext *list[MAX_EXTS])
{
	uint16_t n = 0;

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x != NULL && !x->leaving && x->is.kind == kind && strcmp(x->conf.switch_name, sw) == 0)
			list[n++] = x;
	}
	qsort(list, n, sizeof(list[0]), by_order);
	return n;
}

static int rank_put(struct change *ch, const char *name, int64_t rank)
{
	json_t *conf = json_copy((json_t *)conf_get(NULL, "ext", name));

	json_object_set_new(conf, "rank", json_integer(rank));
	change_put(ch, "ext", name, conf);
	return 0;
}

static bool is_named(const json_t *names, const char *name)
{
	for (size_t i = 0; i < json_array_size(names); i++)
		if (strcmp(json_string_value(json_array_get(names, i)), name) == 0)
			return true;
	return false;
}

static int names_check(const char *sw, const char *kind, const json_t *names, struct err *e)
{
	for (size_t i = 0; i < json_array_size(names); i++) {
		const char *name = json_string_value(json_array_get(names, i));
		const struct ext *x = ext_find(name);

		if (x == NULL)
			return no_such(name, e);
		if (strcmp(x->conf.switch_name, sw) != 0 || x->is.kind != kind_from(kind))
			return err_set(e, -EINVAL, "ext %s: is no %s extension of switch %s", name, kind, sw);
	}
	return 0;
}

static int ext_do_order(struct request *rq, struct err *e)
{
	const char *sw = rq_str(rq, "switch"), *kind = rq_str(rq, "kind");
	const json_t *names = rq_get(rq, "names");
	struct ext *list[MAX_EXTS] = {NULL};
	int64_t rank = 0;

	if (conf_get(NULL, "switch", sw) == NULL)
		return err_set(e, -ENOENT, "switch %s: no such switch", sw);
	if (names_check(sw, kind, names, e) < 0)
		return e->code;
	uint16_t n = of_kind(sw, kind_from(kind), list);
	struct change *ch = change_new(rq);

	for (size_t i = 0; i < json_array_size(names); i++)
		rank_put(ch, json_string_value(json_array_get(names, i)), rank++);
	for (uint16_t i = 0; i < n; i++)
		if (!is_named(names, list[i]->conf.name))
			rank_put(ch, list[i]->conf.name, rank++);
	return change_submit(ch, e);
}

static int place_of(const struct ext *x)
{
	struct ext *list[MAX_EXTS] = {NULL};
	uint16_t n = of_kind(x->conf.switch_name, x->is.kind, list);

	for (uint16_t i = 0; i < n; i++)
		if (list[i] == x)
			return i + 1;
	return 0;
}

static void show_row(struct request *rq, const struct ext *x)
{
	struct ext_counters n;
	const bool known = x->is.kind != 0;

	ext_counters_sum(x, &n);
	rq_row(
	    rq,
	    json_pack(
		"{s:s, s:s, s:s*, s:i, s:s, s:s*, s:s*, s:s*, s:s, s:s*, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"name", x->conf.name, "switch", x->conf.switch_name, "kind",
		known ? ext_kind_name(x->is.kind) : NULL, "place", known ? place_of(x) : 0, "state",
		ext_state_name(x), "why", x->why[0] != '\0' ? x->why : NULL, "extension", x->is.name,
		"version", x->is.version, "path", x->conf.path, "signer",
		x->signer[0] != '\0' ? x->signer : NULL, "flows", (json_int_t)n.flows, "packets",
		(json_int_t)n.packets, "drops", (json_int_t)n.drops, "cycles", (json_int_t)n.cycles,
		"breaches", (json_int_t)n.breaches, "faults", (json_int_t)x->conf.faults, "memory",
		(json_int_t)x->is.worker_bytes * EXT_THREADS));
}

static void drops_rows(struct request *rq, const struct ext *x)
{
	for (uint8_t r = 0; r < EXT_MAX_REASONS; r++) {
		uint64_t n = x->details[r] != 0 ? drop_detail_count(x->details[r]) : 0;

		if (n > 0)
			rq_row(rq, json_pack("{s:s, s:s, s:I}", "name", x->conf.name, "reason",
					     drop_detail_text(x->details[r]), "packets", (json_int_t)n));
	}
}

static int list(struct request *rq, void (*row)(struct request *rq, const struct ext *x), struct err *e)
{
	const char *name = rq_str(rq, "name");

	if (name != NULL && ext_find(name) == NULL)
		return no_such(name, e);
	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		const struct ext *x = ext_at(i);

		if (x != NULL && !x->leaving && (name == NULL || strcmp(name, x->conf.name) == 0))
			row(rq, x);
	}
	return 0;
}

static int ext_show(struct request *rq, struct err *e)
{
	return list(rq, show_row, e);
}

static int ext_drops(struct request *rq, struct err *e)
{
	return list(rq, drops_rows, e);
}

static const struct method methods[] = {
    {"ext.load", "load an extension for a switch", load_params, NULL, METHOD_WRITE, ext_do_load},
    {"ext.unload", "take an extension out and unload it", name_params, NULL, METHOD_WRITE, ext_do_unload},
    {"ext.enable", "let packets come to an extension; one that was taken out is started anew", name_params,
     NULL, METHOD_WRITE, ext_do_enable},
    {"ext.disable", "let no packet come to an extension", name_params, NULL, METHOD_WRITE, ext_do_disable},
    {"ext.set", "change how an extension runs", set_params, NULL, METHOD_WRITE, ext_do_set},
    {"ext.upgrade", "put another version in an extension's place, which takes over its state", upgrade_params,
     NULL, METHOD_WRITE, ext_do_upgrade},
    {"ext.order", "set in which order packets come to extensions of a kind", order_params, NULL, METHOD_WRITE,
     ext_do_order},
    {"ext.policy-set", "set properties of an extension, for a port or for its switch", policy_set_params,
     NULL, METHOD_WRITE, policy_set},
    {"ext.policy-show", "list properties of extensions and what is set", policy_show_params, policy_columns,
     METHOD_READ, policy_show},
    {"ext.show", "list extensions", show_params, show_columns, METHOD_READ, ext_show},
    {"ext.drops", "list what extensions dropped, and why", show_params, drops_columns, METHOD_READ,
     ext_drops},
    {0}};

static const struct conf_kind kinds[] = {
    {"ext", "an extension of a switch", conf_params, refs, NULL, ext_validate, ext_open},
    {"ext-policy", "what is set of an extension's properties", policy_conf_params, policy_refs, NULL,
     policy_validate, policy_open},
    {0}};

static struct timer *tick;

static int ext_init(struct err *e)
{
	const char *dir = getenv("RUNTIME_DIRECTORY"); // set for DPDK, too
	struct err why = {0};

	if (dir != NULL && blame_open(dir, &why) < 0)
		log_warn("%s", why.text);
	bundled_init();
	tick = timer_start("extensions", TICK_US, TICK_US, ext_tick, NULL);
	return tick != NULL ? ext_ports_init() : err_set(e, -ENOMEM, "extensions: out of memory");
}

static void ext_fini(void)
{
	timer_stop(tick);
	tick = NULL;
}

const struct module ext_module = {.name = "ext",
				  .init = ext_init,
				  .fini = ext_fini,
				  .methods = methods,
				  .kinds = kinds,
				  .metrics = ext_metrics};
