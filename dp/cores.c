// Which CPU is whose: checked when a worker is added, and divided anew when one came or went. Control thread.
#include "cores.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "ctrl/api/err.h"
#include "worker.h"

static cpu_set_t allowed;

void cores_init(const int *cores, uint16_t n)
{
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (uint16_t i = 0; i < n; i++)
		CPU_SET(cores[i], &allowed);
}

int cores_check(int core, struct err *e)
{
	if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &allowed))
		return err_set(
		    e, -EINVAL,
		    "worker: CPU %d does not exist or is not allowed for evswitchd; its unit, cpuset "
		    "or taskset says which are",
		    core);
	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_at(i) != NULL && worker_at(i)->core == core)
			return err_set(e, -EEXIST, "worker: CPU %d is that of worker %u; choose another",
				       core, i);
	return 0;
}

static bool is_worker(pid_t tid)
{
	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_at(i) != NULL && worker_at(i)->tid == tid)
			return true;
	return false;
}

static void others_on(const cpu_set_t *cpus)
{
	DIR *tasks = opendir("/proc/self/task");

	for (const struct dirent *t; tasks != NULL && (t = readdir(tasks)) != NULL;) {
		pid_t tid = atoi(t->d_name); // 0: "." and ".."

		if (tid > 0 && !is_worker(tid))
			sched_setaffinity(tid, sizeof(*cpus), cpus);
	}
	if (tasks != NULL)
		closedir(tasks);
}

void cores_divide(void)
{
	cpu_set_t rest = allowed;

	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_at(i) != NULL)
			CPU_CLR(worker_at(i)->core, &rest);
	others_on(CPU_COUNT(&rest) > 0 ? &rest : &allowed);
}

void cores_share(void)
{
	others_on(&allowed);
}
