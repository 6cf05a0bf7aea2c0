// Messages of a vhost-user front end, looked at before the library acts on them. Pure but for the last two.
//
// The library trusts much of what it is told: it maps regions of any size, changes the size of a ring that is in use, and
// keeps pointers into memory that is gone. What it must not see is refused here, with a sentence for the port.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VHOST_REGIONS 8

enum vhost_msg_kind { // vhost-user specification, "Front-end message types"
	VHOST_MSG_GET_FEATURES = 1,
	VHOST_MSG_SET_FEATURES = 2,
	VHOST_MSG_SET_OWNER = 3,
	VHOST_MSG_RESET_OWNER = 4,
	VHOST_MSG_SET_MEM_TABLE = 5,
	VHOST_MSG_SET_LOG_BASE = 6,
	VHOST_MSG_SET_LOG_FD = 7,
	VHOST_MSG_SET_VRING_NUM = 8,
	VHOST_MSG_SET_VRING_ADDR = 9,
	VHOST_MSG_SET_VRING_BASE = 10,
	VHOST_MSG_GET_VRING_BASE = 11,
	VHOST_MSG_SET_VRING_KICK = 12,
	VHOST_MSG_SET_VRING_CALL = 13,
	VHOST_MSG_SET_VRING_ERR = 14,
	VHOST_MSG_GET_PROTOCOL_FEATURES = 15,
	VHOST_MSG_SET_PROTOCOL_FEATURES = 16,
	VHOST_MSG_GET_QUEUE_NUM = 17,
	VHOST_MSG_SET_VRING_ENABLE = 18,
	VHOST_MSG_SEND_RARP = 19,
	VHOST_MSG_NET_SET_MTU = 20,
	VHOST_MSG_IOTLB_MSG = 22,
	VHOST_MSG_POSTCOPY_ADVISE = 28,
	VHOST_MSG_POSTCOPY_LISTEN = 29,
	VHOST_MSG_POSTCOPY_END = 30,
	VHOST_MSG_GET_INFLIGHT_FD = 31,
	VHOST_MSG_SET_INFLIGHT_FD = 32,
	VHOST_MSG_SET_STATUS = 39,
	VHOST_MSG_GET_STATUS = 40,
};

struct vhost_region {
	uint64_t gpa, size, uva, offset; // guest physical, bytes, in the front end, in the file
};

struct vhost_message {
	uint32_t request, flags, size; // size: of what follows
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t n, padding;
			struct vhost_region regions[VHOST_REGIONS];
		} memory;
		struct {
			uint64_t size, offset;
		} log;
		struct {
			uint64_t size, offset;
			uint16_t n_queues, queue_size;
		} in_flight;
		uint8_t bytes[8 + VHOST_REGIONS * sizeof(struct vhost_region)];
	};
} __attribute__((packed));

struct vhost_known { // about the conversation
	uint32_t n_rings;
	bool packed;
	bool running; // the ring that the message names is in use
};

// NULL, or why the message is refused. It is then made into one that does no harm and is left to the library all the same,
// because only the library closes the descriptors that came with it; afterwards the conversation is ended.
const char *vhost_check(struct vhost_message *m, const struct vhost_known *k);

// The files behind a memory table, before the library maps them: one that it cannot map stays open in it for ever. Only for
// a message that came from the library, in a version of it whose layout is known; else NULL.
const char *vhost_check_files(struct vhost_message *m);
// What came with a message that is not left to the library. As above.
void vhost_close_files(struct vhost_message *m);
// The only file that came with it, still the message's; -1: none, or not only one. As above.
int vhost_file_of(struct vhost_message *m);

// Whether rings must be let go before the library acts on it: it changes memory, rings or features.
bool vhost_touches_rings(uint32_t request);
// The ring that it names, -1 = none.
int64_t vhost_ring_of(const struct vhost_message *m);
