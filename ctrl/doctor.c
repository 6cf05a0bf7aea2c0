// The machine's checks of `system doctor` but for its CPUs (doctor.h).
#include "ctrl/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <rte_ethdev.h>

#include "ctrl/daemon.h"
#include "dp/port.h"
#include "dp/worker.h"

#define MEGABYTE         (1u << 20)
#define MOST_NOFILE      (1u << 20) // of the kernel's own making
#define SPARE_PORTS      16         // that should still fit
#define CAP_IPC_LOCK_BIT 14

static void port_count(struct doctor *d, const struct port *p)
{
	const char *device = p->conf.device;

	d->n_ports++;
	d->has_host_ports |= p->conf.type == PORT_HOST;
	// "0000:03:00.0"
	d->has_nics |= strlen(device) >= 12 && device[4] == ':' && device[7] == ':';
}

void doctor_take(struct doctor *d)
{
	d->root = "";
	d->options = *daemon_options();
	d->setup = *daemon_setup();
	for (uint16_t i = 0; i < workers_n(); i++) {
		const struct worker *w = worker_at(i);

		if (w != NULL)
			d->workers[d->n_workers++] = (struct doctor_worker){w->core, w->tid, i};
	}
	for (uint16_t i = 0; i < MAX_PORTS; i++)
		if (port_at(i) != NULL && !port_at(i)->leaving)
			port_count(d, port_at(i));
	d->n_devices = rte_eth_dev_count_avail();
}

bool doctor_read(const struct doctor *d, char *buf, size_t size, const char *path, ...)
{
	char below[256], full[512];
	va_list ap;

	va_start(ap, path);
	vsnprintf(below, sizeof(below), path, ap);
	va_end(ap);
	snprintf(full, sizeof(full), "%s%s", d->root, below);
	int fd = open(full, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : 1;
	size_t len = 0;

	while (n > 0 && len < size - 1) { // the kernel gives its own files in parts
		n = read(fd, buf + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fd >= 0)
		close(fd);
	if (len > 0 && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return n >= 0;
}

static void pages_examine(struct doctor *d, const struct setup *again)
{
	bool no_huge = d->options.no_huge;

	if (d->setup.huge) {
		findings_fine(&d->found, "huge pages", "the switch has its %u MB in them",
			      d->options.memory_mb);
		return;
	}
	findings_bad(&d->found, "huge pages", "%s",
		     no_huge       ? "--no-huge: ordinary pages, which is slower"
		     : again->huge ? "there were not enough when evswitchd was started"
				   : again->note);
	if (again->fix[0] != '\0')
		findings_fix(&d->found, "%s # then start evswitchd again", again->fix);
	else
		findings_fix(&d->found, "start evswitchd again%s", no_huge ? " without --no-huge" : "");
}

// What a start would find now: the memory that this process has is free then.
void doctor_huge(struct doctor *d, struct huge_pages pages, uint64_t available_mb)
{
	const struct options *o = &d->options;
	struct setup again = d->setup;
	struct err e = {0};

	if (d->setup.huge)
		pages.n_free += preflight_huge_needed(o);
	else
		available_mb += o->memory_mb;
	if (preflight_memory(o, pages, available_mb, &again, &e) != 0) {
		findings_bad(&d->found, "memory", "evswitchd could not be started again: %s", e.text);
		findings_fix(&d->found, "evswitchd --memory MB, with less");
		return;
	}
	findings_fine(&d->found, "memory", "--memory %u, %llu MB are available", o->memory_mb,
		      (unsigned long long)available_mb);
	pages_examine(d, &again);
}

static bool is_mounted(const struct doctor *d, unsigned long kb)
{
	char mounts[65536], word[32];

	snprintf(word, sizeof(word), "pagesize=%lu%c", kb >= MEGABYTE ? kb / MEGABYTE : kb / 1024,
		 kb >= MEGABYTE ? 'G' : 'M');
	if (!doctor_read(d, mounts, sizeof(mounts), "/proc/self/mounts"))
		return false;
	for (const char *at = mounts; (at = strstr(at, " hugetlbfs ")) != NULL; at++) {
		const char *end = strchrnul(at, '\n'), *found = strstr(at, word);

		if (found != NULL && found < end)
			return true;
	}
	return false;
}

static void pool_examine(struct doctor *d, unsigned long kb)
{
	char check[48], n[32], n_free[32];

	snprintf(check, sizeof(check), "pages of %lu %s", kb >= MEGABYTE ? kb / MEGABYTE : kb / 1024,
		 kb >= MEGABYTE ? "GB" : "MB");
	if (!doctor_read(d, n, sizeof(n), "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages", kb) ||
	    !doctor_read(d, n_free, sizeof(n_free), "/sys/kernel/mm/hugepages/hugepages-%lukB/free_hugepages",
			 kb))
		return;
	findings_fine(&d->found, check, "%s of %s are free%s", n_free, n,
		      strcmp(n, "0") == 0 ? ""
		      : is_mounted(d, kb) ? ", mounted"
					  : ", not mounted, which only guests with memory-backend-file need");
}

// For guests, too: how many there are of each size.
void doctor_pools(struct doctor *d)
{
	char pattern[256];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/sys/kernel/mm/hugepages/hugepages-*kB", d->root);
	if (glob(pattern, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			pool_examine(d, strtoul(strrchr(g.gl_pathv[i], '-') + 1, NULL, 10));
	globfree(&g);
}

void doctor_nofile(struct doctor *d, const struct rlimit *limit, uint64_t n_used)
{
	uint64_t n_more = limit->rlim_cur > n_used ? (limit->rlim_cur - n_used) / PREFLIGHT_PORT_NOFILE : 0;
	unsigned long long now = limit->rlim_cur, n = limit->rlim_max > now ? limit->rlim_max : MOST_NOFILE;

	if (n_more >= SPARE_PORTS) {
		findings_fine(&d->found, "open descriptors", "%llu of %llu, room for about %llu more ports",
			      (unsigned long long)n_used, now, (unsigned long long)n_more);
		return;
	}
	findings_bad(&d->found, "open descriptors", "%llu of %llu with %u ports: there is room for %llu more",
		     (unsigned long long)n_used, now, d->n_ports, (unsigned long long)n_more);
	findings_fix(&d->found, "prlimit --pid %d --nofile=%llu:%llu # and LimitNOFILE=%u in the unit",
		     getpid(), n, n, MOST_NOFILE);
}

// Only a NIC's driver has to lock memory; a process with the capability may lock all.
void doctor_memlock(struct doctor *d, uint64_t limit_bytes, bool is_exempt)
{
	uint64_t limit_mb = limit_bytes / MEGABYTE;

	if (limit_bytes == RLIM_INFINITY || is_exempt || limit_mb >= d->options.memory_mb) {
		findings_fine(&d->found, "locked memory", "%s",
			      is_exempt ? "evswitchd may lock all of its memory" : "the limit is enough");
		return;
	}
	findings_bad(&d->found, "locked memory", "the limit is %llu MB and --memory %u: NICs cannot be used",
		     (unsigned long long)limit_mb, d->options.memory_mb);
	findings_fix(&d->found,
		     "prlimit --pid %d --memlock=unlimited # and LimitMEMLOCK=infinity in the unit",
		     getpid());
}

void doctor_space(struct doctor *d, const struct doctor_space *s, uint64_t free_mb)
{
	char check[64];

	snprintf(check, sizeof(check), "space for %s", s->what);
	if (free_mb >= s->least_mb) {
		findings_fine(&d->found, check, "%s: %llu MB are free", s->path, (unsigned long long)free_mb);
		return;
	}
	findings_bad(&d->found, check, "%s: %llu MB are free, and %llu should be", s->path,
		     (unsigned long long)free_mb, (unsigned long long)s->least_mb);
	findings_fix(&d->found, "%s", s->fix);
}

static bool has_file(const struct doctor *d, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", d->root, path);
	return access(full, F_OK) == 0;
}

void doctor_kernel(struct doctor *d)
{
	char *info = malloc(16384);

	if (info == NULL || !doctor_read(d, info, 16384, "/proc/cpuinfo"))
		findings_bad(&d->found, "processor", "/proc/cpuinfo cannot be read");
	else if (strstr(info, " constant_tsc") != NULL && strstr(info, " nonstop_tsc") != NULL)
		findings_fine(&d->found, "processor", "AVX2, BMI2, FMA; its clock runs evenly");
	else {
		findings_bad(&d->found, "processor",
			     "its time stamp counter may stop or change its speed: ages and rates are wrong");
		findings_fix(&d->found,
			     "in a virtual machine: -cpu host,migratable=off,+invtsc, or libvirt's "
			     "<feature policy='require' name='invtsc'/>");
	}
	free(info);
	if (d->has_host_ports && !has_file(d, "/dev/net/tun")) {
		findings_bad(&d->found, "host interfaces", "there is no /dev/net/tun");
		findings_fix(&d->found, "modprobe tun");
	}
	if (d->has_nics && !has_file(d, "/dev/vfio/vfio")) {
		findings_bad(&d->found, "NICs", "there is no /dev/vfio/vfio");
		findings_fix(&d->found, "modprobe vfio-pci");
	}
}

void doctor_devices(struct doctor *d)
{
	if (d->n_devices < RTE_MAX_ETHPORTS)
		findings_fine(&d->found, "DPDK devices", "%u of %u", d->n_devices, RTE_MAX_ETHPORTS);
	else {
		findings_bad(&d->found, "DPDK devices", "all %u are in use", RTE_MAX_ETHPORTS);
		findings_fix(&d->found,
			     "evsctl port set NAME device net_af_packetN,iface=…, which takes none");
	}
	if (d->n_ports + SPARE_PORTS <= MAX_PORTS)
		findings_fine(&d->found, "ports", "%u of %u", d->n_ports, MAX_PORTS);
	else {
		findings_bad(&d->found, "ports", "%u of %u", d->n_ports, MAX_PORTS);
		findings_fix(&d->found, "evswitchd --run-dir OTHER: a second daemon for some of them");
	}
}

static uint64_t descriptors_n(void)
{
	DIR *all = opendir("/proc/self/fd");
	uint64_t n = 0;

	for (const struct dirent *one; all != NULL && (one = readdir(all)) != NULL;)
		n += one->d_name[0] != '.';
	if (all == NULL)
		return 0;
	closedir(all);
	return n - 1; // that of the directory
}

static bool may_lock_all(const struct doctor *d)
{
	char status[4096];
	const char *at =
	    doctor_read(d, status, sizeof(status), "/proc/self/status") ? strstr(status, "\nCapEff:") : NULL;

	return at != NULL && (strtoull(at + strlen("\nCapEff:"), NULL, 16) >> CAP_IPC_LOCK_BIT & 1);
}

static void space_measure(struct doctor *d, const struct doctor_space *s)
{
	struct statvfs fs;

	if (statvfs(s->path, &fs) == 0)
		doctor_space(d, s, fs.f_bavail * fs.f_frsize / MEGABYTE);
}

static void directory_examine(struct doctor *d, const char *what, const char *dir)
{
	struct err e = {0};

	if (preflight_dir_usable(what, dir, &e) == 0)
		return;
	findings_bad(&d->found, what, "%s", e.text);
	findings_fix(&d->found, "mkdir -p %s # then start evswitchd again", dir);
}

void doctor_examine(struct doctor *d)
{
	char state_dir[sizeof(d->setup.state_path)];
	struct rlimit nofile = {0}, memlock = {0};

	snprintf(state_dir, sizeof(state_dir), "%.*s",
		 (int)(strrchr(d->setup.state_path, '/') - d->setup.state_path), d->setup.state_path);
	getrlimit(RLIMIT_NOFILE, &nofile);
	getrlimit(RLIMIT_MEMLOCK, &memlock);
	doctor_huge(d, preflight_huge_pages(d->setup.node), preflight_available_mb());
	doctor_pools(d);
	doctor_cpus(d);
	doctor_kernel(d);
	doctor_nofile(d, &nofile, descriptors_n());
	doctor_memlock(d, memlock.rlim_cur, may_lock_all(d));
	doctor_devices(d);
	directory_examine(d, "run directory", d->setup.run_dir);
	directory_examine(d, "state directory", state_dir);
	space_measure(
	    d, &(struct doctor_space){"the state", state_dir, "remove files there: df -h shows it", 64});
	space_measure(d, &(struct doctor_space){"the sockets", d->setup.run_dir,
						"remove files there: df -h shows it", 8});
	space_measure(
	    d, &(struct doctor_space){"shared memory", "/dev/shm", "mount -o remount,size=50% /dev/shm", 64});
}
