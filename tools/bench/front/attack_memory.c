// Attacks by the memory table, the log, and how rings are set up.

#include "tools/bench/front/attack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ENOUGH_MS = 5 };

// arg: a table of memory as it is; `user` and `offset` are as the foe's.
static void run_table(struct foe *f)
{
	struct message m = {SET_MEM_TABLE, .size = 8 + f->attack->n * sizeof(struct memory_region),
			    .memory.n = f->attack->n};
	int fds[MESSAGE_REGIONS];
	memcpy(m.memory.regions, f->attack->arg, f->attack->n * sizeof(struct memory_region));
	for (unsigned i = 0; i < f->attack->n; i++) {
		m.memory.regions[i].user += (uintptr_t)f->mem;
		fds[i] = f->memfd;
	}
	foe_say(f, &m, fds, f->attack->n < 8 ? f->attack->n : 8);
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_count(struct foe *f)
{
	struct message m = foe_memory(f);
	m.memory.n = (uint32_t[]){0, 3, 8, 9, 255, 1u << 31, UINT32_MAX}[f->rounds % 7];
	foe_say(f, &m, (int[]){f->memfd, f->memfd}, 2);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

// Files that cannot be what the table says: empty, short, read-only, sealed.
static void run_file(struct foe *f)
{
	struct message m = foe_memory(f);
	int fd = memfd_create("odd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (f->rounds % 3)
		(void)!ftruncate(fd, f->rounds % 3 == 1 ? 4096 : 2 * FOE_REGION - 4096);
	if (f->rounds % 2)
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
	foe_say(f, &m, (int[]){fd, fd}, 2);
	close(fd);
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_table_again(struct foe *f)
{
	struct message m = foe_memory(f);
	foe_send(f, 8);
	if (f->rounds % 2) {
		m.memory.n = 1; // the second region goes
		m.size -= sizeof(struct memory_region);
	}
	foe_say(f, &m, (int[]){f->memfd, f->memfd}, m.memory.n);
	foe_send(f, 8);
	foe_hear(f, 1);
}

// The whole file, a part that is in use, then all is there again.
static void run_truncate(struct foe *f)
{
	foe_fill(f, 64);
	foe_send(f, 64);
	(void)!ftruncate(f->memfd, f->rounds % 2 ? 0 : FOE_DATA);
	foe_kick(f, FOE_TX);
	usleep(5000);
	(void)!ftruncate(f->memfd, 2 * FOE_REGION);
	foe_leave(f);
}

static void run_truncate_stay(struct foe *f)
{
	foe_fill(f, 64);
	foe_send(f, 64);
	(void)!ftruncate(f->memfd, 0);
	while (foe_now() < f->end_s)
		usleep(1000);
	(void)!ftruncate(f->memfd, 2 * FOE_REGION);
	foe_leave(f);
}

static void run_ring_size(struct foe *f)
{
	static const uint32_t sizes[] = {0, 1, 3, 255, 257, 32769, 65535, 65536, 1u << 31, UINT32_MAX};
	struct message addr = foe_addr(f, FOE_TX);
	foe_say_ring(f, FOE_RX);
	foe_say_state(f, SET_VRING_NUM, FOE_TX, sizes[f->rounds % 10]);
	foe_say(f, &addr, NULL, 0);
	foe_say_u64(f, SET_VRING_KICK, FOE_TX, f->rings[FOE_TX].kick);
	foe_say_state(f, SET_VRING_ENABLE, FOE_TX, 1);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

// Larger than the memory behind it: descriptors, avail and used reach over its end.
static void run_ring_size_reach(struct foe *f)
{
	struct message addr = foe_addr(f, FOE_TX);
	uint64_t end = (uintptr_t)f->mem + 2 * FOE_REGION;
	foe_say_ring(f, FOE_RX);
	foe_say_state(f, SET_VRING_NUM, FOE_TX, 32768);
	addr.addr.desc = f->rounds % 3 == 0 ? end - 4096 : addr.addr.desc;
	addr.addr.avail = f->rounds % 3 == 1 ? end - 64 : addr.addr.avail;
	addr.addr.used = f->rounds % 3 == 2 ? end - 64 : addr.addr.used;
	foe_say(f, &addr, NULL, 0);
	foe_say_u64(f, SET_VRING_KICK, FOE_TX, f->rings[FOE_TX].kick);
	foe_say_state(f, SET_VRING_ENABLE, FOE_TX, 1);
	foe_send(f, 16);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_ring_addr(struct foe *f)
{
	static const uint64_t addresses[] = {0, 1, UINT64_MAX, 1ull << 63, FOE_GPA, 0x7fffffffffff};
	uint64_t where = addresses[f->rounds % 6];
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	for (unsigned ring = 0; ring < 2; ring++) {
		struct message m = foe_addr(f, ring);
		m.addr.desc = f->rounds / 6 % 3 == 0 ? where : m.addr.desc;
		m.addr.avail = f->rounds / 6 % 3 == 1 ? where : m.addr.avail;
		m.addr.used = f->rounds / 6 % 3 == 2 ? where : m.addr.used;
		foe_say(f, &m, NULL, 0);
	}
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_ring_unaligned(struct foe *f)
{
	for (unsigned ring = 0; ring < 2; ring++) {
		struct message m = foe_addr(f, ring);
		m.addr.desc += f->rounds % 16;
		m.addr.avail += f->rounds / 2 % 4;
		m.addr.used += f->rounds / 4 % 4;
		foe_say_ring(f, ring);
		foe_say(f, &m, NULL, 0);
	}
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

// Both rings in one place, or used ring over descriptors.
static void run_ring_shared(struct foe *f)
{
	struct message m = foe_addr(f, FOE_RX);
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	m.addr.index = FOE_TX;
	foe_say(f, &m, NULL, 0);
	m.addr.used = m.addr.avail = m.addr.desc;
	m.addr.index = f->rounds % 2;
	foe_say(f, &m, NULL, 0);
	for (unsigned i = 0; i < 8; i++)
		foe_fill(f, 8);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_ring_base(struct foe *f)
{
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	foe_say_state(f, SET_VRING_BASE, f->rounds % 2,
		      (uint32_t[]){65535, 257, 32768, 0x7fff, UINT32_MAX}[f->rounds % 5]);
	foe_send(f, 32);
	foe_fill(f, 32);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_ring_size_running(struct foe *f)
{
	foe_send(f, 32);
	foe_say_state(f, SET_VRING_NUM, f->rounds % 2, (uint32_t[]){128, 512, 32768, 2}[f->rounds % 4]);
	foe_send(f, 32);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static void run_log(struct foe *f)
{
	static const struct {
		uint64_t bytes, offset;
	} logs[] = {{0, 0},
		    {4096, 4096},
		    {UINT64_MAX, 4096},
		    {1ull << 40, 0},
		    {4096, UINT64_MAX - 4095},
		    {4096, 123},
		    {2ull * FOE_REGION, FOE_REGION}};
	struct message m = {SET_LOG_BASE, .size = 16,
			    .log = {logs[f->rounds % 7].bytes, logs[f->rounds % 7].offset}};
	foe_say_u64(f, SET_FEATURES, f->features | 1ull << 26, -1);
	foe_say(f, &m, &f->memfd, 1);
	for (unsigned ring = 0; ring < 2; ring++) {
		struct message addr = foe_addr(f, ring);
		addr.addr.flags = 1;
		addr.addr.log = f->rounds % 2 ? UINT64_MAX : FOE_END;
		foe_say(f, &addr, NULL, 0);
	}
	foe_fill(f, 16);
	foe_send(f, 16);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

// A log that is good, and is gone when something is to be logged.
static void run_log_truncate(struct foe *f)
{
	struct message m = {SET_LOG_BASE, .size = 16, .log = {1 << 20, 0}};
	int fd = memfd_create("log", MFD_CLOEXEC);
	(void)!ftruncate(fd, 1 << 20);
	foe_say(f, &m, &fd, 1);
	foe_say_u64(f, SET_FEATURES, f->features | 1ull << 26, -1);
	foe_fill(f, 16);
	foe_send(f, 16);
	foe_hear(f, ENOUGH_MS);
	(void)!ftruncate(fd, 0);
	foe_send(f, 16);
	foe_fill(f, 16);
	foe_hear(f, ENOUGH_MS);
	close(fd);
	foe_leave(f);
}

// Regions that are behind their file and beyond what a process can map, after rings were set up; the answer is asked for,
// so that the conversation goes on.
static void run_vast(struct foe *f)
{
	const uint64_t vast = 1ull << 46;
	struct message m = {SET_MEM_TABLE, FLAG_VERSION | FLAG_NEED_REPLY,
			    8 + 2 * sizeof(struct memory_region),
			    .memory = {2, 0, {{0, vast, 0, 0}, {vast, vast, vast, 0}}}};
	int fd = memfd_create("vast", MFD_CLOEXEC);
	(void)!ftruncate(fd, vast);
	foe_say_ring(f, FOE_RX);
	foe_say_ring(f, FOE_TX);
	if (f->rounds % 2)
		foe_say_state(f, GET_VRING_BASE, FOE_TX, 0);
	foe_say_state(f, SET_VRING_ENABLE, FOE_RX, 0);
	foe_say(f, &m, (int[]){fd, fd}, 2);
	foe_say_state(f, SET_VRING_ENABLE, FOE_RX, 1);
	foe_fill(f, 16);
	foe_hear(f, ENOUGH_MS);
	close(fd);
	foe_leave(f);
}

static void run_in_flight(struct foe *f)
{
	struct message m = {f->rounds % 2 ? SET_INFLIGHT_FD : GET_INFLIGHT_FD, .size = 20};
	m.in_flight.bytes = f->rounds % 4 < 2 ? 4096 : UINT64_MAX;
	m.in_flight.queues = f->rounds % 3 ? 2 : 65535;
	m.in_flight.size = f->rounds % 5 ? 256 : 65535;
	foe_say(f, &m, &f->memfd, f->rounds % 2);
	foe_say_state(f, SET_VRING_NUM, 0, 32768);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
}

#define TABLE(name, text, ...)                                                                             \
	{                                                                                                  \
		name, ON_SPLIT, text, AT_FEATURES, run_table, (const struct memory_region[]){__VA_ARGS__}, \
		    sizeof((const struct memory_region[]){__VA_ARGS__}) / sizeof(struct memory_region)     \
	}

#define GOOD                              \
	{                                 \
		FOE_GPA, FOE_REGION, 0, 0 \
	}

static const struct attack rows[] = {
    TABLE("mem-overlap", "regions that overlap", GOOD, {FOE_GPA + FOE_REGION / 2, FOE_REGION, 0, 0}),
    TABLE("mem-overlap-user", "regions that overlap in the front end's addresses only", GOOD,
	  {FOE_GPA2, FOE_REGION, FOE_REGION / 2, FOE_REGION}),
    TABLE("mem-wrap", "a region that wraps around", GOOD, {UINT64_MAX - 4095, FOE_REGION, FOE_REGION, 0}),
    TABLE("mem-wrap-offset", "an offset that wraps around", GOOD,
	  {FOE_GPA2, FOE_REGION, FOE_REGION, UINT64_MAX - 4095}),
    TABLE("mem-wrap-user", "user addresses that wrap around", {FOE_GPA, FOE_REGION, 1ull << 63, 0}),
    TABLE("mem-beyond", "a region larger than its file", {FOE_GPA, 64ull << 20, 0, 0}),
    TABLE("mem-beyond-offset", "a region behind the end of its file", GOOD,
	  {FOE_GPA2, FOE_REGION, FOE_REGION, 64ull << 20}),
    TABLE("mem-2^63", "a region of half of all addresses", {FOE_GPA, 1ull << 63, 0, 0}),
    TABLE("mem-zero", "a region of no size", {FOE_GPA, 0, 0, 0}),
    TABLE("mem-unaligned", "regions that begin and end within pages", {FOE_GPA + 1, FOE_REGION - 5, 1, 1}),
    TABLE("mem-nine", "one region more than is allowed", GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, GOOD,
	  GOOD),
    {"mem-count", ON_SPLIT, "a count of regions that is not theirs", AT_FEATURES, run_count},
    {"mem-file", ON_SPLIT, "files that are empty, short or not writable", AT_FEATURES, run_file},
    {"mem-again", ON_BOTH, "another table while rings run", AT_RUNNING, run_table_again},
    {"mem-truncate", ON_BOTH, "cuts its file off while rings run, and makes it whole", AT_RUNNING,
     run_truncate},
    {"mem-truncate-stay", ON_BOTH, "cuts its file off while rings run, for good", AT_RUNNING,
     run_truncate_stay},
    {"ring-size", ON_BOTH, "sizes of 0, 3, 32769 and more", AT_MEMORY, run_ring_size},
    {"ring-size-reach", ON_BOTH, "rings that reach over the end of memory", AT_MEMORY, run_ring_size_reach},
    {"ring-size-running", ON_BOTH, "another size while rings run", AT_RUNNING, run_ring_size_running},
    {"ring-addr", ON_BOTH, "ring addresses outside memory", AT_MEMORY, run_ring_addr},
    {"ring-unaligned", ON_BOTH, "ring addresses that are not aligned", AT_MEMORY, run_ring_unaligned},
    {"ring-shared", ON_BOTH, "rings that share their memory", AT_MEMORY, run_ring_shared},
    {"ring-base", ON_BOTH, "positions that no ring has", AT_MEMORY, run_ring_base},
    {"log", ON_BOTH, "logs with offsets, without size, larger than their file", AT_RUNNING, run_log},
    {"log-truncate", ON_BOTH, "cuts its log off while it is written", AT_RUNNING, run_log_truncate},
    {"mem-vast", ON_BOTH, "sparse files beyond what can be mapped, behind rings that are set up", AT_MEMORY,
     run_vast},
    {"in-flight", ON_SPLIT, "in-flight tables though none was offered", AT_RUNNING, run_in_flight},
};

const struct attack_table attacks_memory = {rows, sizeof(rows) / sizeof(rows[0])};
