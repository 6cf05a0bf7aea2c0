// evswitchd: one program, two processes. Started by a person it is the supervisor; started by the supervisor
// it is the switch process.
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/daemon.h"
#include "ctrl/methods.h"
#include "ctrl/options.h"
#include "ctrl/role.h"
#include "ctrl/supervisor.h"
#include "ext/ext_feature.h"

static bool stderr_is_journal(void)
{
	unsigned long long dev, inode;
	const char *journal = getenv("JOURNAL_STREAM");
	struct stat st;

	return journal && sscanf(journal, "%llu:%llu", &dev, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == inode;
}

// What system.methods answers: the tables need no daemon. For the manual page.
static int methods_print(void)
{
	struct err e = {0};

	if (methods_init(modules, &e)) {
		fprintf(stderr, "evswitchd: %s\n", e.text);
		return 1;
	}
	bundled_init();
	json_t *table = methods_describe(NULL);
	int rc = json_dumpf(table, stdout, JSON_INDENT(1)) < 0 || puts("") < 0;

	json_decref(table);
	methods_fini();
	return rc;
}

static __attribute__((noinline)) int run(int argc, char **argv)
{
	struct options o;
	struct err e = {0};

	if (options_parse(argc, argv, &o, &e)) {
		fprintf(stderr, "evswitchd: %s\n", e.text);
		return EXIT_USAGE;
	}
	if (o.action == OPTIONS_HELP)
		return fputs(options_usage(), stdout) < 0;
	if (o.action == OPTIONS_VERSION)
		return puts("evswitchd " EVS_VERSION) < 0;
	if (o.action == OPTIONS_METHODS)
		return methods_print();
	log_init(o.log_level, stderr_is_journal());
	struct role r;
	if (!role_take(&r))
		return supervisor_run(&o, argv);
	// without exit handlers: DPDK has threads that would still run in what those take down
	_exit(SWITCH_ENDS | daemon_run(&o, &r));
}

// The rest is compiled for x86-64-v3: this must be said by code that any x86-64 can run.
__attribute__((target("arch=x86-64"))) int main(int argc, char **argv)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
	    !__builtin_cpu_supports("fma")) {
		fputs("evswitchd: processor: it lacks AVX2, BMI2 or FMA (x86-64-v3), which this program is "
		      "built for; in a "
		      "virtual machine give it the host's processor type\n",
		      stderr);
		return EXIT_REFUSED;
	}
	return run(argc, argv);
}
