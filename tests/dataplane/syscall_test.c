// I4: the packet path makes no system call. A child process forbids itself every one (seccomp), and moves packets:
// by the walk, by flows, flooded, dropped. The ring ports make none either.
#include "house.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_FRAMES 2000

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true // its allocator makes calls of its own: nothing is forbidden then
#else
#define SANITIZED false
#endif

static void forbid_all_but_the_end(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog filter = {.len = sizeof(code) / sizeof(*code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		_exit(2);
}

// Runs what was queued under the filter, in a child. Returns how it ended.
static int moved_without_calls(void (*extra)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (!SANITIZED)
			forbid_all_but_the_end();
		house_rounds();
		if (extra != NULL)
			extra();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void one_call(void)
{
	getppid();
}

static void queue_all_kinds(void)
{
	const uint8_t zero[6] = {0};

	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	for (int i = 0; i < N_FRAMES / 4; i++) {
		const uint8_t mac[6] = {2, 1, 0, 0, i >> 4, i};

		ring_queue("a", eth(MAC_B, MAC_A)); // a flow
		ring_queue("a", eth(MAC_B, mac));   // a new one
		ring_queue("a", eth(MAC_ALL, MAC_A));
		ring_queue("a", eth(MAC_B, zero)); // dropped
	}
}

static void forget(void)
{
	house_rounds();
	while (ring_take("b") != NULL || ring_take("c") != NULL)
		;
}

START_TEST(packets_move_without_a_system_call)
{
	queue_all_kinds();
	ck_assert_int_eq(moved_without_calls(NULL), 0);
	house_flows(false);
	ck_assert_int_eq(moved_without_calls(NULL), 0);
	house_flows(true);
	forget();
}
END_TEST

START_TEST(a_system_call_would_be_seen)
{
	queue_all_kinds();
	ck_assert_int_ne(moved_without_calls(one_call), 0);
	forget();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("syscall");
	TCase *t = tcase_create("syscall");

	// The ports' own memory must not grow under the filter.
	mallopt(M_TOP_PAD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	tcase_add_checked_fixture(t, house_setup, house_teardown);
	tcase_add_test(t, packets_move_without_a_system_call);
	if (!SANITIZED)
		tcase_add_test(t, a_system_call_would_be_seen);
	suite_add_tcase(s, t);
	return house_run(s, 0);
}
