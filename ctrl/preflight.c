// Checks before EAL: directories, CPUs, memory, descriptors. (The processor is checked in main.c, by code that
// runs on any.)
//
// First thing that the supervisor does once it has the run directory, and the switch process before it starts
// DPDK. Each check is one function that puts what it found out into the setup.
#include "ctrl/preflight.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/api/log.h"

#define HUGE_PAGE_MB    2
#define BASE_MB         64 // what the process takes beside --memory
#define WANTED_NOFILE   65536
#define RESERVED_NOFILE 16384 // a thousand guests; 128 KB
#define LONGEST_SOCKET  "/control-ro.sock"

int preflight_dir_usable(const char *what, const char *dir, struct err *e)
{
	struct stat st;

	if (stat(dir, &st))
		return err_set(e, -errno, "%s %s: %s", what, dir, err_name(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "%s %s: is not a directory", what, dir);
	if (access(dir, R_OK | W_OK | X_OK))
		return err_set(e, -errno, "%s %s: cannot be written: %s; it is owned by uid %u (%04o)", what,
			       dir, err_name(errno), st.st_uid, st.st_mode & 07777);
	return 0;
}

static int dir_check(const char *what, const char *dir, char *path, struct err *e)
{
	if (mkdir(dir, 0755) && errno != EEXIST)
		return err_set(e, -errno, "%s %s: cannot be made: %s", what, dir, err_name(errno));
	if (preflight_dir_usable(what, dir, e))
		return e->code;
	if (!realpath(dir, path))
		return err_set(e, -errno, "%s %s: %s", what, dir, err_name(errno));
	return 0;
}

int preflight_dirs(const struct options *o, struct setup *setup, struct err *e)
{
	const size_t longest = 108 - sizeof(LONGEST_SOCKET);
	char run[PATH_MAX], state[PATH_MAX];

	if (dir_check("run directory", o->run_dir, run, e) ||
	    dir_check("state directory", o->state_dir, state, e))
		return e->code;
	static_assert(sizeof(setup->run_dir) > 108 - sizeof(LONGEST_SOCKET), "fits");
	if (strlen(run) > longest)
		return err_set(e, -ENAMETOOLONG,
			       "run directory %s: %zu characters are too many, a socket's path has room for "
			       "%zu; choose a "
			       "shorter --run-dir",
			       run, strlen(run), longest);
	strcpy(setup->run_dir, run);
	if (snprintf(setup->state_path, sizeof(setup->state_path), "%s/state.db", state) >=
	    (int)sizeof(setup->state_path))
		return err_set(e, -ENAMETOOLONG, "state directory %s: the path is too long", state);
	return 0;
}

static void cpus_print(const cpu_set_t *set, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int cpu = 0; cpu < CPU_SETSIZE && n < size - 16; cpu++) {
		int first = cpu;
		if (!CPU_ISSET(cpu, set))
			continue;
		while (cpu + 1 < CPU_SETSIZE && CPU_ISSET(cpu + 1, set))
			cpu++;
		n += (size_t)snprintf(buf + n, size - n, first == cpu ? "%s%d" : "%s%d-%d", n ? "," : "",
				      first, cpu);
	}
}

static int core_check(const struct options *o, unsigned i, const cpu_set_t *allowed, struct err *e)
{
	char list[128];

	for (unsigned k = 0; k < i; k++)
		if (o->cores[k] == o->cores[i])
			return err_set(e, -EINVAL, "--cores: CPU %d is there twice", o->cores[i]);
	if (CPU_ISSET(o->cores[i], allowed))
		return 0;
	cpus_print(allowed, list, sizeof(list));
	return err_set(e, -EINVAL,
		       "--cores: CPU %d does not exist or is not allowed for this process, which may use %s",
		       o->cores[i], list);
}

int preflight_cores(const struct options *o, const cpu_set_t *allowed, struct setup *setup, struct err *e)
{
	for (unsigned i = 0; i < o->n_cores; i++)
		if (core_check(o, i, allowed, e))
			return e->code;
	setup->n_cores = o->n_cores;
	memcpy(setup->cores, o->cores, sizeof(setup->cores));
	for (int cpu = CPU_SETSIZE - 1; setup->n_cores == 0 && cpu >= 0; cpu--)
		if (CPU_ISSET(cpu, allowed))
			setup->cores[setup->n_cores++] = cpu;
	setup->control = *allowed;
	for (unsigned i = 0; i < setup->n_cores; i++)
		CPU_CLR(setup->cores[i], &setup->control);
	if (CPU_COUNT(&setup->control) == 0)
		setup->control = *allowed;
	return 0;
}

uint32_t preflight_huge_needed(const struct options *o)
{
	return (o->memory_mb + HUGE_PAGE_MB - 1) / HUGE_PAGE_MB;
}

char *preflight_huge_fix(int node, struct huge_pages pages, uint64_t n, char *buf, size_t size)
{
	snprintf(buf, size,
		 "echo %llu > /sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 (unsigned long long)(pages.n - pages.n_free + n), node);
	return buf;
}

int preflight_memory(const struct options *o, struct huge_pages pages, uint64_t available_mb,
		     struct setup *setup, struct err *e)
{
	uint32_t n_needed = preflight_huge_needed(o);
	uint64_t needed_mb = BASE_MB;

	setup->huge = !o->no_huge && pages.n_free >= n_needed;
	setup->note[0] = setup->fix[0] = '\0';
	if (!setup->huge)
		needed_mb += o->memory_mb;
	if (needed_mb > available_mb)
		return err_set(
		    e, -ENOMEM,
		    "memory: %llu MB are needed (--memory %u and %u for the rest) and %llu MB are available; "
		    "free some or choose a smaller --memory",
		    (unsigned long long)needed_mb, o->memory_mb, BASE_MB, (unsigned long long)available_mb);
	if (setup->huge || o->no_huge)
		return 0;
	snprintf(setup->note, sizeof(setup->note),
		 "%llu of 2 MB are free on NUMA node %d, --memory %u needs %u: using ordinary pages, which "
		 "is slower",
		 (unsigned long long)pages.n_free, setup->node, o->memory_mb, n_needed);
	preflight_huge_fix(setup->node, pages, n_needed, setup->fix, sizeof(setup->fix));
	return 0;
}

static uint64_t file_number(const char *path, const char *key)
{
	unsigned long long v = 0;
	char line[256];
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%llu", &v) == 1)
			break;
	if (f)
		fclose(f);
	return v;
}

// A machine whose kernel knows no NUMA has one node, 0.
static void nodes_find(struct setup *setup)
{
	char pattern[96];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/sys/devices/system/cpu/cpu%d/node[0-9]*", setup->cores[0]);
	setup->node = 0;
	if (glob(pattern, 0, NULL, &g) == 0)
		setup->node = atoi(strrchr(g.gl_pathv[0], '/') + strlen("/node"));
	globfree(&g);
}

struct huge_pages preflight_huge_pages(int node)
{
	char dir[128], path[160];
	struct huge_pages pages;

	snprintf(dir, sizeof(dir), "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB", node);
	if (node == 0 && access(dir, F_OK))
		snprintf(dir, sizeof(dir), "/sys/kernel/mm/hugepages/hugepages-2048kB");
	snprintf(path, sizeof(path), "%s/nr_hugepages", dir);
	pages.n = file_number(path, "");
	snprintf(path, sizeof(path), "%s/free_hugepages", dir);
	pages.n_free = file_number(path, "");
	if (pages.n < pages.n_free)
		pages.n = pages.n_free;
	return pages;
}

uint64_t preflight_available_mb(void)
{
	return file_number("/proc/meminfo", "MemAvailable:") / 1024;
}

uint64_t preflight_nofile(void)
{
	struct rlimit r = {0};

	getrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_max < WANTED_NOFILE) {
		struct rlimit more = {WANTED_NOFILE, WANTED_NOFILE};
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			r = more;
	}
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	getrlimit(RLIMIT_NOFILE, &r);
	return r.rlim_cur;
}

void preflight_nofile_reserve(uint64_t n)
{
	int fd =
	    fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)((n < RESERVED_NOFILE ? n : RESERVED_NOFILE) - 1));

	if (fd >= 0)
		close(fd);
}

int preflight(const struct options *o, struct setup *setup, struct err *e)
{
	cpu_set_t allowed;

	*setup = (struct setup){0};
	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return err_set(e, -errno, "CPUs: cannot find out which this process may use: %s",
			       err_name(errno));
	if (preflight_dirs(o, setup, e) || preflight_cores(o, &allowed, setup, e))
		return e->code;
	nodes_find(setup);
	return preflight_memory(o, preflight_huge_pages(setup->node), preflight_available_mb(), setup, e);
}
