// The methods of the daemon itself: what it runs with, and how much it logs.
#include <errno.h>
#include <rte_version.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "ctrl/api/method.h"
#include "ctrl/api/module.h"
#include "ctrl/api/timer.h"
#include "ctrl/daemon.h"
#include "ctrl/upgrade.h"

extern const struct module system_module;

static json_t *cores_json(const struct setup *setup)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < setup->n_cores; i++)
		json_array_append_new(list, json_integer(setup->cores[i]));
	return list;
}

static const char *level_word(void)
{
	switch (log_level_get()) {
	case LOG_LEVEL_ERROR:
		return "error";
	case LOG_LEVEL_WARN:
		return "warn";
	case LOG_LEVEL_INFO:
		return "info";
	case LOG_LEVEL_DEBUG:
		return "debug";
	}
	return "info";
}

static int system_show(struct request *rq, struct err *e)
{
	const struct options *o = daemon_options();
	const struct setup *setup = daemon_setup();
	json_int_t uptime_s = (json_int_t)((time_ns() - daemon_started_ns()) / 1000000000);
	json_t *row = json_pack("{ss ss si si si sI so si ss sI ss ss ss}", "version", EVS_VERSION, "dpdk",
				rte_version(), "pid", getpid(), "supervisor", getppid(), "generation",
				(int)daemon_generation(), "uptime_s", uptime_s, "cores", cores_json(setup),
				"memory_mb", (int)o->memory_mb, "pages", setup->huge ? "huge" : "ordinary",
				"flows", (json_int_t)o->max_flows, "run_dir", setup->run_dir, "state",
				setup->state_path, "log_level", level_word());

	if (!row)
		return err_set(e, -ENOMEM, "system: out of memory");
	rq_row(rq, row);
	return 0;
}

static int system_set(struct request *rq, struct err *e)
{
	const char *word = rq_str(rq, "log-level");
	int level = log_level_parse(word);

	if (level < 0)
		return err_set(e, level, "log-level: \"%s\" is not error, warn, info or debug", word);
	log_level_set((enum log_level)level);
	return 0;
}

static const struct column show_columns[] = {
    {"version", "of evswitchd", NULL},
    {"dpdk", "version of the library", NULL},
    {"pid", "process id of the switch process", NULL},
    {"supervisor", "process id of the supervisor", NULL},
    {"generation", "which switch process of its supervisor it is: more after a crash or an upgrade", NULL},
    {"uptime_s", "since the switch process was started", "s"},
    {"cores", "CPUs of the workers", NULL},
    {"memory_mb", "memory for packets and tables", "MB"},
    {"pages", "huge or ordinary", NULL},
    {"flows", "most flows that are cached", NULL},
    {"run_dir", "directory of the control socket", NULL},
    {"state", "file of the durable state", NULL},
    {"log_level", "error, warn, info or debug", NULL},
    {0},
};

static const struct param set_params[] = {
    {.name = "log-level",
     .type = PARAM_ENUM,
     .flags = PARAM_REQUIRED,
     .help = "what is logged from now until the daemon is restarted",
     .values = "error|warn|info|debug"},
    {0},
};

static int system_upgrade(struct request *rq, struct err *e)
{
	return upgrade_begin(rq, rq_fd(rq, "binary"), e);
}

static const struct param upgrade_params[] = {
    {"binary", PARAM_INPUT, 0,
     "the new evswitchd; without it the file that this one was started from, as it is now"},
    {0},
};

static const struct column upgrade_columns[] = {
    {"version", "that runs now", NULL},
    {"before", "version that ran until now", NULL},
    {"ports_up", "ports that are up, of those that were", NULL},
    {"ports_before", "ports that were up", NULL},
    {0},
};

static const struct method methods[] = {
    {"system.show", "show what the daemon runs with", NULL, show_columns, METHOD_READ, system_show},
    {"system.set", "change a setting of the running daemon", set_params, NULL, METHOD_WRITE, system_set},
    {"system.upgrade",
     "put another evswitchd, or the same anew, in the place of the running one; guests stay", upgrade_params,
     upgrade_columns, METHOD_WRITE, system_upgrade},
    {0},
};

const struct module system_module = {.name = "system", .methods = methods};
