// The command line of evswitchd: one table from which parsing and the help text come.
//
// First step of both processes: the supervisor starts the switch process with its own arguments.
#include "ctrl/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/api/value.h"

#define RUN_DIR     "/run/evswitch"
#define STATE_DIR   "/var/lib/evswitch"
#define TRUSTED_DIR "/etc/evswitch/trusted.d"
#define MAX_CPU     1023 // of cpu_set_t

struct option {
	const char *name;
	const char *value; // what stands for its value in the help; NULL = takes none
	const char *help;
	int (*take)(struct options *o, const char *value, struct err *e);
};

static int number_take(const char *name, const char *text, int64_t min, int64_t max, int64_t *v,
		       struct err *e)
{
	if (value_parse_int(text, v) || *v < min || *v > max)
		return err_set(e, -EINVAL, "%s: \"%s\" is not a number from %lld to %lld", name, text,
			       (long long)min, (long long)max);
	return 0;
}

static int run_dir_take(struct options *o, const char *value, struct err *e)
{
	(void)e;
	o->run_dir = value;
	return 0;
}

static int state_dir_take(struct options *o, const char *value, struct err *e)
{
	(void)e;
	o->state_dir = value;
	return 0;
}

static int trusted_dir_take(struct options *o, const char *value, struct err *e)
{
	(void)e;
	o->trusted_dir = value;
	return 0;
}

static int core_range_take(struct options *o, char *word, const char *whole, struct err *e)
{
	char *dash = strchr(word, '-');
	int64_t first, last;

	if (dash)
		*dash = '\0';
	if (value_parse_int(word, &first) || value_parse_int(dash ? dash + 1 : word, &last) || first < 0 ||
	    last > MAX_CPU || first > last)
		return err_set(e, -EINVAL, "--cores: \"%s\" is not a list of CPU numbers like 1,2 or 2-5",
			       whole);
	for (int64_t cpu = first; cpu <= last; cpu++) {
		if (o->n_cores == OPTIONS_MAX_CORES)
			return err_set(e, -EINVAL, "--cores: \"%s\" has more than %d CPUs", whole,
				       OPTIONS_MAX_CORES);
		o->cores[o->n_cores++] = (int)cpu;
	}
	return 0;
}

static int cores_take(struct options *o, const char *value, struct err *e)
{
	char text[256], *rest = text, *word;

	o->n_cores = 0;
	if (strlen(value) >= sizeof(text))
		return err_set(e, -EINVAL, "--cores: the list is longer than %zu characters",
			       sizeof(text) - 1);
	strcpy(text, value);
	while ((word = strsep(&rest, ",")))
		if (core_range_take(o, word, value, e))
			return e->code;
	return 0;
}

static int memory_take(struct options *o, const char *value, struct err *e)
{
	int64_t mb;

	if (number_take("--memory", value, 128, 1 << 20, &mb, e))
		return e->code;
	o->memory_mb = (uint32_t)mb;
	return 0;
}

static int no_huge_take(struct options *o, const char *value, struct err *e)
{
	(void)value, (void)e;
	o->no_huge = true;
	return 0;
}

static int flows_take(struct options *o, const char *value, struct err *e)
{
	int64_t n;

	if (value_parse_size(value, &n) || (n != 0 && n < 1024) || n > 64 << 20)
		return err_set(e, -EINVAL, "--flows: \"%s\" is not 0 or a number from 1K to 64M", value);
	o->max_flows = (uint32_t)n;
	return 0;
}

static int allow_unsigned_take(struct options *o, const char *value, struct err *e)
{
	(void)value, (void)e;
	o->allow_unsigned = true;
	return 0;
}

static int log_level_take(struct options *o, const char *value, struct err *e)
{
	int level = log_level_parse(value);

	if (level < 0)
		return err_set(e, -EINVAL, "--log-level: \"%s\" is not error, warn, info or debug", value);
	o->log_level = (enum log_level)level;
	return 0;
}

static int ready_fd_take(struct options *o, const char *value, struct err *e)
{
	int64_t fd;

	if (number_take("--ready-fd", value, 1, 1 << 20, &fd, e))
		return e->code;
	o->ready_fd = (int)fd;
	return 0;
}

static int help_take(struct options *o, const char *value, struct err *e)
{
	(void)value, (void)e;
	o->action = OPTIONS_HELP;
	return 0;
}

static int version_take(struct options *o, const char *value, struct err *e)
{
	(void)value, (void)e;
	o->action = OPTIONS_VERSION;
	return 0;
}

static int methods_take(struct options *o, const char *value, struct err *e)
{
	(void)value, (void)e;
	o->action = OPTIONS_METHODS;
	return 0;
}

static const struct option options[] = {
    {"--run-dir", "DIR", "directory of the control socket; one daemon each (" RUN_DIR ")", run_dir_take},
    {"--state-dir", "DIR", "directory of state.db (that of --run-dir if given, else " STATE_DIR ")",
     state_dir_take},
    {"--cores", "LIST", "CPUs for the workers, theirs alone, as 1,2 (the highest-numbered one)", cores_take},
    {"--memory", "MB", "memory for packets and tables, from 128 (512)", memory_take},
    {"--no-huge", NULL, "take ordinary pages even if there are huge pages", no_huge_take},
    {"--flows", "N", "most flows that are cached (1M); 0 = none", flows_take},
    {"--trusted-dir", "DIR", "keys of trusted extension makers (" TRUSTED_DIR ")", trusted_dir_take},
    {"--allow-unsigned", NULL, "load extensions that nobody signed", allow_unsigned_take},
    {"--log-level", "LEVEL", "error, warn, info or debug (info)", log_level_take},
    {"--ready-fd", "N", "write a line to this descriptor when the daemon is ready", ready_fd_take},
    {"--methods", NULL, "print the table of control methods as JSON and end", methods_take},
    {"--version", NULL, "print the version and end", version_take},
    {"--help", NULL, "print this text and end", help_take},
    {0},
};

static const struct option *option_find(const char *arg, size_t len)
{
	for (const struct option *op = options; op->name; op++)
		if (strlen(op->name) == len && memcmp(op->name, arg, len) == 0)
			return op;
	return NULL;
}

static int option_take(const struct option *op, const char *value, struct options *o, struct err *e)
{
	if (op->value && !value)
		return err_set(e, -EINVAL, "%s: the value is missing: %s %s", op->name, op->name, op->value);
	if (op->value && !*value)
		return err_set(e, -EINVAL, "%s: the value is empty", op->name);
	if (!op->value && value)
		return err_set(e, -EINVAL, "%s: takes no value", op->name);
	return op->take(o, value, e);
}

int options_parse(int argc, char *const *argv, struct options *o, struct err *e)
{
	*o = (struct options){.trusted_dir = TRUSTED_DIR,
			      .memory_mb = 512,
			      .max_flows = 1 << 20,
			      .log_level = LOG_LEVEL_INFO,
			      .ready_fd = -1};
	for (int i = 1; i < argc; i++) {
		size_t len = strcspn(argv[i], "=");
		const struct option *op = option_find(argv[i], len);
		const char *value = argv[i][len] ? argv[i] + len + 1 : NULL;

		if (!op)
			return err_set(e, -EINVAL, "%s: no such option; evswitchd --help lists them",
				       argv[i]);
		if (op->value && !value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
			value = argv[++i];
		if (option_take(op, value, o, e))
			return e->code;
	}
	if (!o->state_dir)
		o->state_dir = o->run_dir ? o->run_dir : STATE_DIR;
	if (!o->run_dir)
		o->run_dir = RUN_DIR;
	return 0;
}

const char *options_usage(void)
{
	static char text[4096];
	size_t n = 0;

	n += (size_t)snprintf(text, sizeof(text),
			      "Usage: evswitchd [OPTION]...\n"
			      "The virtual switch; runs in the foreground until SIGTERM.\n\n");
	for (const struct option *op = options; op->name; op++) {
		char head[40];
		snprintf(head, sizeof(head), "%s%s%s", op->name, op->value ? " " : "",
			 op->value ? op->value : "");
		n += (size_t)snprintf(text + n, sizeof(text) - n, "  %-20s %s\n", head, op->help);
	}
	snprintf(text + n, sizeof(text) - n,
		 "\nExit status: 0 stopped as asked, 1 the switch ended by itself, 2 wrong options,\n"
		 "3 cannot run here (the sentence on stderr says why).\n");
	return text;
}
