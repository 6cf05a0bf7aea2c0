// Starting DPDK's environment.
//
// EAL gets one lcore, the main one, which may run on every control CPU: workers are threads of ours that
// register themselves. EAL's own threads (interrupts, vhost events) then stay on the control CPUs too.
#include "ctrl/eal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "ctrl/api/log.h"

// An address where no NIC can be (the host bridge's): with a list of allowed devices EAL takes no other at
// start, and still attaches any that a port names.
#define NO_DEVICE "0000:00:00.0"

static char last_error[512]; // EAL's own words, for the sentence if it fails

static ssize_t log_take(void *cookie, const char *text, size_t len)
{
	int n = (int)len;

	(void)cookie;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (rte_log_cur_msg_loglevel() <= (int)RTE_LOG_ERR) {
		snprintf(last_error, sizeof(last_error), "%.*s", n, text);
		log_error("DPDK: %.*s", n, text);
	} else {
		log_warn("DPDK: %.*s", n, text);
	}
	return (ssize_t)len;
}

static int log_redirect(struct err *e)
{
	FILE *f = fopencookie(NULL, "w", (cookie_io_functions_t){.write = log_take});

	if (!f || setvbuf(f, NULL, _IOLBF, 4096) || rte_openlog_stream(f))
		return err_set(e, -ENOMEM, "cannot redirect DPDK's log: out of memory");
	rte_log_set_global_level(RTE_LOG_WARNING);
	return 0;
}

// "0@(0,2,3)": lcore 0 on these CPUs.
static void lcore_print(const cpu_set_t *cpus, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "0@(");

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus))
			n += (size_t)snprintf(buf + n, size - n, "%d,", cpu);
	buf[n - 1] = ')';
}

// All of it on the first worker's node: "0,0,512".
static void node_memory_print(int node, uint32_t memory_mb, char *buf, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < node; i++)
		n += (size_t)snprintf(buf + n, size - n, "0,");
	snprintf(buf + n, size - n, "%u", memory_mb);
}

int eal_start(const struct setup *setup, uint32_t memory_mb, struct err *e)
{
	char lcore[8 * CPU_SETSIZE], memory[256];
	char *argv[16] = {"evswitchd", "--no-telemetry", "--lcores", lcore};
	int argc = 4;

	if (access("/sys/bus/pci/devices", F_OK)) {
		argv[argc++] = "--no-pci"; // there is none to scan
	} else {
		argv[argc++] = "--allow";
		argv[argc++] = NO_DEVICE;
	}
	lcore_print(&setup->control, lcore, sizeof(lcore));
	if (setup->huge) {
		node_memory_print(setup->node, memory_mb, memory, sizeof(memory));
		argv[argc++] = "--in-memory";
		argv[argc++] = "--socket-mem";
	} else {
		snprintf(memory, sizeof(memory), "%u", memory_mb);
		argv[argc++] = "--no-huge";
		argv[argc++] = "--no-shconf";
		argv[argc++] = "-m";
	}
	argv[argc++] = memory;

	if (sched_setaffinity(0, sizeof(setup->control), &setup->control))
		return err_set(e, -errno, "CPUs: cannot move to those that are not the workers': %s",
			       err_name(errno));
	if (log_redirect(e))
		return e->code;
	setenv("RUNTIME_DIRECTORY", setup->run_dir, 1);  // EAL makes its directory there, not in /var/run
	rte_log_set_level(RTE_LOGTYPE_EAL, RTE_LOG_ERR); // it warns of page sizes that nobody asked for
	if (rte_eal_init(argc, argv) < 0)
		return err_set(e, rte_errno ? -rte_errno : -EIO, "DPDK cannot start: %s",
			       *last_error ? last_error : err_name(rte_errno));
	rte_log_set_level(RTE_LOGTYPE_EAL, RTE_LOG_WARNING);
	return 0;
}
