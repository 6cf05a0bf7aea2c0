// vhost-user messages on a socket (QEMU's docs/interop/vhost-user), as bytes: nothing is checked here, so that a
// hostile front end can say what it likes. Any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_LOG_BASE = 6,
	SET_LOG_FD = 7,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	SEND_RARP = 19,
	NET_SET_MTU = 20,
	SET_BACKEND_REQ_FD = 21,
	IOTLB_MSG = 22,
	SET_CONFIG = 25,
	POSTCOPY_ADVISE = 28,
	GET_INFLIGHT_FD = 31,
	SET_INFLIGHT_FD = 32,
	SET_STATUS = 39,
	LAST_REQUEST = 45,
};

enum { FLAG_VERSION = 1, FLAG_REPLY = 1 << 2, FLAG_NEED_REPLY = 1 << 3 };

#define BIT(n)      (1ull << (n))
#define P_MQ        BIT(0)
#define P_LOG_SHMFD BIT(1)
#define P_RARP      BIT(2)
#define P_REPLY_ACK BIT(3)
#define P_MTU       BIT(4)

enum { MESSAGE_HEADER = 12, MESSAGE_REGIONS = 9, MESSAGE_FDS = 253 };

struct memory_region {
	uint64_t gpa, bytes, user, offset;
};

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, pad;
			struct memory_region regions[MESSAGE_REGIONS]; // one more than is allowed
		} memory;
		struct {
			uint64_t bytes, offset;
		} log;
		struct {
			uint64_t bytes, offset;
			uint16_t queues, size;
		} in_flight;
		uint8_t raw[4096];
	};
} __attribute__((packed));

// 0 or -EPIPE.
int wire_send(int fd, const void *bytes, size_t n, const int *fds, unsigned n_fds);
// Exactly n bytes. 0, -ETIMEDOUT or -EPIPE.
int wire_receive(int fd, void *to, size_t n, int timeout_ms);
