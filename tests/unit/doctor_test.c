// The checks of `system doctor`, with machines made of files and facts.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/doctor.h"

static struct doctor d;
static char root[64];

static void fresh(void)
{
	char *argv[] = {"evswitchd"};
	struct err e;

	memset(&d, 0, sizeof(d));
	ck_assert_int_eq(options_parse(1, argv, &d.options, &e), 0);
	strcpy(root, "/tmp/evs-doctor-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	d.root = root;
	d.found.rows = json_array();
	d.workers[0] = (struct doctor_worker){.core = 2, .tid = 100, .index = 0};
	d.n_workers = 1;
	CPU_SET(0, &d.setup.control);
}

static void clean(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -r %s", root);
	ck_assert_int_eq(system(command), 0);
	json_decref(d.found.rows);
}

static void file(const char *path, const char *text)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	FILE *f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

// The only row of this name, or the last.
static const json_t *row(const char *check)
{
	const json_t *found = NULL, *r;
	size_t i;

	json_array_foreach (d.found.rows, i, r)
		if (strcmp(json_string_value(json_object_get(r, "check")), check) == 0)
			found = r;
	ck_assert_msg(found != NULL, "nothing is said of %s", check);
	return found;
}

static void has(const json_t *r, const char *key, const char *part)
{
	const char *text = json_string_value(json_object_get(r, key));

	ck_assert_msg(text != NULL && strstr(text, part) != NULL, "%s \"%s\" does not say \"%s\"", key, text,
		      part);
}

static void bad(const char *check, const char *found, const char *fix)
{
	const json_t *r = row(check);

	ck_assert(json_is_false(json_object_get(r, "fine")));
	has(r, "found", found);
	has(r, "fix", fix);
	ck_assert_uint_eq(d.found.n_bad, 1);
}

static void fine(const char *check, const char *found)
{
	const json_t *r = row(check);

	ck_assert(json_is_true(json_object_get(r, "fine")));
	ck_assert_ptr_null(json_object_get(r, "fix"));
	has(r, "found", found);
	ck_assert_uint_eq(d.found.n_bad, 0);
}

START_TEST(huge_pages_that_are_in_use_are_fine)
{
	d.setup.huge = true; // all 256 are the switch's
	doctor_huge(&d, (struct huge_pages){256, 0}, 1000);
	fine("huge pages", "512 MB");
}
END_TEST

START_TEST(missing_huge_pages_come_with_the_right_number)
{
	doctor_huge(&d, (struct huge_pages){100, 40}, 1000); // 60 are somebody's
	bad("huge pages", "40 of 2 MB are free", "echo 316 > /sys/devices/system/node/node0/hugepages/");
}
END_TEST

START_TEST(huge_pages_that_came_later_need_a_start)
{
	doctor_huge(&d, (struct huge_pages){256, 256}, 1000);
	bad("huge pages", "not enough when evswitchd was started", "start evswitchd again");
}
END_TEST

START_TEST(unwanted_huge_pages_are_a_finding)
{
	d.options.no_huge = true;
	doctor_huge(&d, (struct huge_pages){256, 256}, 1000);
	bad("huge pages", "--no-huge", "without --no-huge");
}
END_TEST

START_TEST(too_little_memory_for_another_start)
{
	doctor_huge(&d, (struct huge_pages){0, 0}, 60); // and 512 MB that the switch has
	bad("memory", "576 MB are needed", "--memory MB");
}
END_TEST

START_TEST(each_size_of_pages_is_listed)
{
	file("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "100\n");
	file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "40\n");
	file("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "4\n");
	file("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
	file("/proc/self/mounts", "proc /proc proc rw 0 0\n"
				  "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n"
				  "none /run/x tmpfs rw,pagesize=1024M 0 0\n");
	doctor_pools(&d);
	fine("pages of 2 MB", "40 of 100 are free, mounted");
	fine("pages of 1 GB", "0 of 4 are free, not mounted");
}
END_TEST

// The kernel gives a long file of its own in parts.
START_TEST(a_long_file_is_read_to_its_end)
{
	static char text[65536];

	d.root = "";
	ck_assert(doctor_read(&d, text, sizeof(text), "/proc/self/smaps"));
	ck_assert_uint_gt(strlen(text), 8192);
	d.root = root;
}
END_TEST

START_TEST(a_worker_that_waits_for_its_cpu)
{
	file("/proc/self/task/100/schedstat", "9000000000 1000000000 1000\n");
	file("/sys/devices/system/cpu/isolated", "\n");
	doctor_cpus(&d);
	bad("CPU 2 of worker 0", "waited 10 % of its time", "isolcpus=2");
}
END_TEST

START_TEST(a_worker_that_waits_for_an_isolated_cpu)
{
	file("/proc/self/task/100/schedstat", "9000000000 1000000000 1000\n");
	file("/sys/devices/system/cpu/isolated", "1,2-3\n");
	doctor_cpus(&d);
	bad("CPU 2 of worker 0", "others run there", "ps -eLo");
}
END_TEST

START_TEST(a_cpu_of_its_own)
{
	file("/proc/self/task/100/schedstat", "9900000000 100000000 100\n");
	file("/sys/devices/system/cpu/isolated", "2-3\n");
	file("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n");
	file("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6\n");
	doctor_cpus(&d);
	fine("CPU 2 of worker 0", "its own, isolated");
	fine("CPUs", "1 for workers, 1 for all else");
}
END_TEST

START_TEST(waits_of_a_worker_that_sleeps_are_none)
{
	file("/proc/self/task/100/schedstat", "9000000000 1000000000 10000\n"); // 100 us each
	doctor_cpus(&d);
	fine("CPU 2 of worker 0", "its own");
}
END_TEST

START_TEST(waits_at_the_start_are_none)
{
	file("/proc/self/task/100/schedstat", "500000 90000000 10\n");
	doctor_cpus(&d);
	fine("CPU 2 of worker 0", "its own");
}
END_TEST

START_TEST(two_workers_on_one_core)
{
	file("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6\n");
	file("/sys/devices/system/cpu/cpu6/topology/thread_siblings_list", "2,6\n");
	d.workers[d.n_workers++] = (struct doctor_worker){.core = 6, .tid = 101, .index = 1};
	doctor_cpus(&d);
	bad("CPU 6 of worker 1", "it and CPU 2 of worker 0 are one core", "--cores");
}
END_TEST

START_TEST(a_cpu_that_is_slowed_down)
{
	file("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n");
	doctor_cpus(&d);
	bad("CPU 2 of worker 0", "governor powersave", "echo performance > /sys/devices/system/cpu/cpu2/");
}
END_TEST

START_TEST(workers_on_every_cpu)
{
	CPU_ZERO(&d.setup.control);
	CPU_SET(2, &d.setup.control);
	doctor_cpus(&d);
	bad("CPUs", "the workers have all 1", "--cores");
}
END_TEST

START_TEST(descriptors_run_out)
{
	struct rlimit limit = {1000, 4000};

	doctor_nofile(&d, &limit, 1000 - 16 * PREFLIGHT_PORT_NOFILE);
	fine("open descriptors", "16 more ports");
	doctor_nofile(&d, &limit, 1000 - 15 * PREFLIGHT_PORT_NOFILE);
	bad("open descriptors", "room for 15 more", "--nofile=4000:4000");
}
END_TEST

START_TEST(memory_that_may_not_be_locked)
{
	doctor_memlock(&d, 8 << 20, true);
	fine("locked memory", "may lock all");
	doctor_memlock(&d, RLIM_INFINITY, false);
	fine("locked memory", "enough");
	doctor_memlock(&d, 8 << 20, false);
	bad("locked memory", "8 MB and --memory 512", "--memlock=unlimited");
}
END_TEST

START_TEST(space_that_runs_out)
{
	struct doctor_space s = {"the state", "/var/lib/evswitch", "df -h", 64};

	doctor_space(&d, &s, 64);
	fine("space for the state", "64 MB are free");
	doctor_space(&d, &s, 63);
	bad("space for the state", "/var/lib/evswitch: 63 MB", "df -h");
}
END_TEST

START_TEST(a_clock_that_may_stop)
{
	file("/proc/cpuinfo", "flags : fpu constant_tsc avx2\n");
	doctor_kernel(&d);
	bad("processor", "time stamp counter may stop", "invtsc");
}
END_TEST

START_TEST(what_only_some_ports_need)
{
	file("/proc/cpuinfo", "flags : fpu constant_tsc nonstop_tsc\n");
	doctor_kernel(&d);
	fine("processor", "evenly");
	ck_assert_uint_eq(json_array_size(d.found.rows), 1);
	d.has_host_ports = true;
	file("/dev/vfio/vfio", "");
	d.has_nics = true;
	doctor_kernel(&d);
	bad("host interfaces", "/dev/net/tun", "modprobe tun");
}
END_TEST

START_TEST(devices_of_dpdk_run_out)
{
	d.n_devices = 31;
	doctor_devices(&d);
	fine("DPDK devices", "31 of 32");
	d.n_devices = 32;
	doctor_devices(&d);
	bad("DPDK devices", "all 32", "net_af_packet");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("doctor");
	TCase *t = tcase_create("doctor");

	tcase_add_checked_fixture(t, fresh, clean);
	tcase_add_test(t, huge_pages_that_are_in_use_are_fine);
	tcase_add_test(t, missing_huge_pages_come_with_the_right_number);
	tcase_add_test(t, huge_pages_that_came_later_need_a_start);
	tcase_add_test(t, unwanted_huge_pages_are_a_finding);
	tcase_add_test(t, too_little_memory_for_another_start);
	tcase_add_test(t, each_size_of_pages_is_listed);
	tcase_add_test(t, a_long_file_is_read_to_its_end);
	tcase_add_test(t, a_worker_that_waits_for_its_cpu);
	tcase_add_test(t, a_worker_that_waits_for_an_isolated_cpu);
	tcase_add_test(t, a_cpu_of_its_own);
	tcase_add_test(t, waits_of_a_worker_that_sleeps_are_none);
	tcase_add_test(t, waits_at_the_start_are_none);
	tcase_add_test(t, two_workers_on_one_core);
	tcase_add_test(t, a_cpu_that_is_slowed_down);
	tcase_add_test(t, workers_on_every_cpu);
	tcase_add_test(t, descriptors_run_out);
	tcase_add_test(t, memory_that_may_not_be_locked);
	tcase_add_test(t, space_that_runs_out);
	tcase_add_test(t, a_clock_that_may_stop);
	tcase_add_test(t, what_only_some_ports_need);
	tcase_add_test(t, devices_of_dpdk_run_out);
	suite_add_tcase(suite, t);
	SRunner *r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	int n = srunner_ntests_failed(r);
	srunner_free(r);
	return n ? EXIT_FAILURE : EXIT_SUCCESS;
}
