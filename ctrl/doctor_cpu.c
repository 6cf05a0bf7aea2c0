// The workers' CPUs in `system doctor`: whether they have them for themselves, at full speed. Jobs thread.
//
// That others take a CPU is seen by the time that its worker had to wait for it, not by how the machine is configured.
#include "ctrl/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_PERCENT  2 // of the time that a worker wanted to run
#define WAIT_EACH_NS  200000
#define WAIT_LEAST_NS 100000000

// "0-3,8" has 2.
static bool list_has(const char *list, int cpu)
{
	for (char *end; *list != '\0'; list = end + (*end == ',')) {
		long first = strtol(list, &end, 10), last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		if (cpu >= first && cpu <= last)
			return true;
	}
	return false;
}

static bool is_isolated(const struct doctor *d, int cpu)
{
	char list[1024];

	return doctor_read(d, list, sizeof(list), "/sys/devices/system/cpu/isolated") && list_has(list, cpu);
}

// How much of the time that the worker wanted to run others ran; 0 where the kernel does not count it. Waits that are as
// short as a wake-up are none, and a worker that mostly sleeps has many of them.
static unsigned wait_percent(const struct doctor *d, const struct doctor_worker *w)
{
	unsigned long long ran_ns, waited_ns, n;
	char text[128];

	if (!doctor_read(d, text, sizeof(text), "/proc/self/task/%d/schedstat", w->tid) ||
	    sscanf(text, "%llu %llu %llu", &ran_ns, &waited_ns, &n) != 3 || waited_ns < WAIT_LEAST_NS ||
	    waited_ns < n * WAIT_EACH_NS)
		return 0;
	return (unsigned)(100 * waited_ns / (ran_ns + waited_ns));
}

static void share_examine(struct doctor *d, const struct doctor_worker *w, const char *check)
{
	bool isolated = is_isolated(d, w->core);
	unsigned percent = wait_percent(d, w);

	if (percent < WAIT_PERCENT) {
		findings_fine(&d->found, check, "its own%s", isolated ? ", isolated" : "");
		return;
	}
	findings_bad(&d->found, check, "worker %u waited %u %% of its time for it, as others run there",
		     w->index, percent);
	if (isolated)
		findings_fix(&d->found, "ps -eLo psr,pid,comm | grep '^ *%d ' # shows who was put there",
			     w->core);
	else
		findings_fix(&d->found,
			     "isolcpus=%d in the kernel's command line, or keep guests away from it: virsh "
			     "vcpupin, taskset",
			     w->core);
}

static void siblings_examine(struct doctor *d, unsigned i, const char *check)
{
	char list[256];

	if (!doctor_read(d, list, sizeof(list), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
			 d->workers[i].core))
		return;
	for (unsigned k = 0; k < i; k++) {
		if (!list_has(list, d->workers[k].core))
			continue;
		findings_bad(&d->found, check, "it and CPU %d of worker %u are one core with two threads",
			     d->workers[k].core, d->workers[k].index);
		findings_fix(&d->found, "evswitchd --cores LIST, one CPU of each core: lscpu -e shows them");
	}
}

static void governor_examine(struct doctor *d, int cpu, const char *check)
{
	char governor[64];

	if (!doctor_read(d, governor, sizeof(governor),
			 "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu) ||
	    strcmp(governor, "performance") == 0)
		return;
	findings_bad(&d->found, check, "its frequency is chosen by the governor %s", governor);
	findings_fix(&d->found, "echo performance > /sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor",
		     cpu);
}

// The control threads stay off the workers' CPUs as long as there are others.
static void control_examine(struct doctor *d)
{
	unsigned n_own = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		bool taken = false;

		for (unsigned i = 0; i < d->n_workers; i++)
			taken |= d->workers[i].core == cpu;
		n_own += CPU_ISSET(cpu, &d->setup.control) && !taken;
	}
	if (n_own > 0) {
		findings_fine(&d->found, "CPUs", "%u for workers, %u for all else of evswitchd", d->n_workers,
			      n_own);
		return;
	}
	findings_bad(&d->found, "CPUs", "the workers have all %u: control and guests run beside packets",
		     d->n_workers);
	findings_fix(&d->found, "evswitchd --cores LIST, with fewer; or evsctl worker del INDEX");
}

void doctor_cpus(struct doctor *d)
{
	char check[48];

	control_examine(d);
	for (unsigned i = 0; i < d->n_workers; i++) {
		snprintf(check, sizeof(check), "CPU %d of worker %u", d->workers[i].core,
			 d->workers[i].index);
		share_examine(d, &d->workers[i], check);
		siblings_examine(d, i, check);
		governor_examine(d, d->workers[i].core, check);
	}
}
