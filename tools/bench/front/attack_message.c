// Attacks by single messages: lengths, numbers, descriptors.

#include "tools/bench/front/attack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint32_t vring_requests[] = {SET_VRING_NUM,  SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
					  SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR,  SET_VRING_ENABLE};

enum { N_VRING_REQUESTS = sizeof(vring_requests) / sizeof(vring_requests[0]), ENOUGH_MS = 5 };

// One message of this size with the fds, on a connection of its own.
static void alone(struct foe *f, uint32_t request, uint32_t size, const int *fds, unsigned n_fds)
{
	struct message m = {request, .size = size};
	if (f->fd < 0 && foe_enter(f, f->attack->from) != 0)
		return;
	memset(m.raw, 0xa5, sizeof(m.raw));
	foe_say(f, &m, fds, n_fds);
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

static uint32_t request_of_round(const struct foe *f)
{
	return f->rounds % (LAST_REQUEST + 1);
}

static void run_truncated(struct foe *f)
{
	struct message m = {request_of_round(f), FLAG_VERSION, 8};
	wire_send(f->fd, &m, MESSAGE_HEADER + 4, NULL, 0);
	foe_leave(f);
}

static void run_half_header(struct foe *f)
{
	struct message m = {request_of_round(f), FLAG_VERSION, 8};
	wire_send(f->fd, &m, 1 + f->rounds % (MESSAGE_HEADER - 1), NULL, 0);
	foe_leave(f);
}

// As long as the attack lasts: who reads the rest is who waits.
static void run_stall(struct foe *f)
{
	struct message m = {SET_VRING_NUM, FLAG_VERSION, 8};
	wire_send(f->fd, &m, f->rounds % 2 ? 6 : MESSAGE_HEADER + 4, NULL, 0);
	while (foe_now() < f->end_s && !foe_is_gone(f))
		usleep(1000);
	foe_leave(f);
}

static void run_empty(struct foe *f)
{
	alone(f, request_of_round(f), 0, NULL, 0);
}

static void run_one_byte(struct foe *f)
{
	alone(f, request_of_round(f), 1 + f->rounds / LAST_REQUEST % 7, NULL, 0);
}

static void run_long(struct foe *f)
{
	static const uint32_t sizes[] = {9, 64, 276, 300, 2048, 4096};
	alone(f, request_of_round(f), sizes[f->rounds / LAST_REQUEST % 6], NULL, 0);
}

static void run_huge(struct foe *f)
{
	static const uint32_t sizes[] = {UINT32_MAX, 1u << 31, 1 << 20, UINT32_MAX - 11};
	alone(f, request_of_round(f), sizes[f->rounds % 4], NULL, 0);
}

static void run_version(struct foe *f)
{
	struct message m = {GET_FEATURES, .flags = (uint32_t[]){8, 2, 3, 0x1f, UINT32_MAX, 4}[f->rounds % 6]};
	foe_say(f, &m, NULL, 0);
	foe_hear(f, ENOUGH_MS);
}

static void run_unknown(struct foe *f)
{
	static const uint32_t requests[] = {0, LAST_REQUEST, 100, 255, 256, 1u << 31, UINT32_MAX};
	alone(f, requests[f->rounds % 7], f->rounds % 2 * 8, NULL, 0);
}

static void run_fds(struct foe *f)
{
	static const unsigned counts[] = {1, 8, 9, 32, MESSAGE_FDS};
	int fds[MESSAGE_FDS];
	for (unsigned i = 0; i < MESSAGE_FDS; i++)
		fds[i] = f->memfd;
	alone(f, request_of_round(f), 8, fds, counts[f->rounds / LAST_REQUEST % 5]);
}

static int odd_fd(const struct foe *f, unsigned kind)
{
	int fds[2];
	switch (kind % 6) {
	case 0:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 1:
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	case 2:
		return open("/dev/zero", O_RDONLY | O_CLOEXEC);
	case 3:
		return dup(f->fd);
	case 4:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	default:
		if (pipe2(fds, O_CLOEXEC) != 0)
			return -1;
		close(fds[1]);
		return fds[0];
	}
}

// In place of kick, call, error and memory.
static void run_odd_fds(struct foe *f)
{
	static const uint32_t requests[] = {SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR, SET_LOG_FD,
					    SET_BACKEND_REQ_FD};
	int fd = odd_fd(f, f->rounds);
	struct message memory = foe_memory(f);
	if (f->rounds / 6 % 6 == 5)
		foe_say(f, &memory, (int[]){fd, fd}, 2);
	else
		foe_say_u64(f, requests[f->rounds / 6 % 5], f->rounds % 2, fd);
	close(fd);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
}

static void run_no_fds(struct foe *f)
{
	struct message memory = foe_memory(f);
	if (f->rounds % 4 == 3)
		foe_say(f, &memory, NULL, 0);
	else
		foe_say_u64(f, vring_requests[4 + f->rounds % 3], f->rounds / 4 % 2, -1);
	foe_hear(f, ENOUGH_MS);
}

static void run_ring_number(struct foe *f)
{
	static const uint32_t numbers[] = {2, 31, 32, 255, 256, 65536, 1u << 31, UINT32_MAX};
	uint32_t request = vring_requests[f->rounds % N_VRING_REQUESTS];
	uint32_t number = numbers[f->rounds / N_VRING_REQUESTS % 8];
	if (request == SET_VRING_KICK || request == SET_VRING_CALL || request == SET_VRING_ERR)
		foe_say_u64(f, request, number, f->rings[0].kick);
	else if (request == SET_VRING_ADDR)
		foe_say(f, &(struct message){request, .size = 40, .addr = {.index = number}}, NULL, 0);
	else
		foe_say_state(f, request, number, 1);
	foe_hear(f, ENOUGH_MS);
}

static void run_not_offered(struct foe *f)
{
	switch (f->rounds % 4) {
	case 0:
		foe_say_u64(f, SET_FEATURES, UINT64_MAX, -1);
		break;
	case 1:
		foe_say_u64(f, SET_PROTOCOL_FEATURES, UINT64_MAX, -1);
		break;
	case 2:
		foe_say_u64(f, SET_FEATURES, 0, -1);
		break;
	default:
		foe_say_u64(f, SET_FEATURES, foe_random(f), -1);
	}
	foe_hear(f, ENOUGH_MS);
}

static void run_features_again(struct foe *f)
{
	foe_send(f, 8);
	foe_say_u64(f, SET_FEATURES, f->features & foe_random(f), -1);
	foe_send(f, 8);
	foe_hear(f, ENOUGH_MS);
}

static void run_noise(struct foe *f)
{
	uint64_t bytes[64];
	for (unsigned i = 0; i < 64; i++)
		bytes[i] = foe_random(f);
	wire_send(f->fd, bytes, sizeof(bytes), NULL, 0);
	f->sent++;
	foe_hear(f, ENOUGH_MS);
	foe_leave(f);
}

// Header right, content by chance.
static void run_random(struct foe *f)
{
	struct message m = {foe_random(f) % LAST_REQUEST};
	int fd = f->memfd;
	for (unsigned i = 0; i < 32; i++) {
		uint64_t v = foe_random(f);
		memcpy(m.raw + 8 * i, &v, 8);
	}
	m.size = (uint32_t[]){8, 40, 8 + 32, 72, 16, 20}[foe_random(f) % 6];
	m.state.index %= 4;
	foe_say(f, &m, &fd, foe_random(f) % 2);
	foe_hear(f, 1);
}

static void run_other(struct foe *f)
{
	static const uint32_t requests[] = {RESET_OWNER,        SEND_RARP,  NET_SET_MTU,
					    SET_BACKEND_REQ_FD, IOTLB_MSG,  SET_CONFIG,
					    POSTCOPY_ADVISE,    SET_STATUS, GET_QUEUE_NUM};
	struct message m = {requests[f->rounds % 9], .size = 8, .u64 = f->rounds % 2 ? UINT64_MAX : 0};
	foe_say(f, &m, NULL, 0);
	foe_send(f, 4);
	foe_hear(f, ENOUGH_MS);
}

static const struct attack rows[] = {
    {"msg-truncated", ON_SPLIT, "closes in the middle of a message's content", AT_FEATURES, run_truncated},
    {"msg-half-header", ON_SPLIT, "closes in the middle of a message's header", AT_FEATURES, run_half_header},
    {"msg-stall", ON_SPLIT, "half a message, then silence", AT_FEATURES, run_stall},
    {"msg-empty", ON_SPLIT, "each message without content", AT_MEMORY, run_empty},
    {"msg-short", ON_SPLIT, "each message with too little content", AT_MEMORY, run_one_byte},
    {"msg-long", ON_SPLIT, "each message with too much content", AT_MEMORY, run_long},
    {"msg-huge", ON_SPLIT, "each message says that gigabytes follow", AT_MEMORY, run_huge},
    {"msg-version", ON_SPLIT, "wrong protocol versions and flags", AT_CONNECTED, run_version},
    {"msg-unknown", ON_SPLIT, "requests that do not exist", AT_FEATURES, run_unknown},
    {"msg-fds", ON_SPLIT, "up to 253 descriptors with each message", AT_MEMORY, run_fds},
    {"msg-odd-fds", ON_SPLIT, "directories, sockets and devices as kick, call and memory", AT_RUNNING,
     run_odd_fds},
    {"msg-no-fds", ON_SPLIT, "no descriptor where one is needed", AT_RUNNING, run_no_fds},
    {"msg-ring-number", ON_SPLIT, "rings that do not exist", AT_MEMORY, run_ring_number},
    {"msg-features", ON_SPLIT, "features that were not offered", AT_CONNECTED, run_not_offered},
    {"msg-features-again", ON_BOTH, "other features while rings run", AT_RUNNING, run_features_again},
    {"msg-noise", ON_SPLIT, "random bytes", AT_CONNECTED, run_noise},
    {"msg-random", ON_SPLIT, "requests by chance with content by chance", AT_RUNNING, run_random},
    {"msg-other", ON_SPLIT, "postcopy, address translation, MTU, RARP, owner, all unasked", AT_RUNNING,
     run_other},
};

const struct attack_table attacks_message = {rows, sizeof(rows) / sizeof(rows[0])};
