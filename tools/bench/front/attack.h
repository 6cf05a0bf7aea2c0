// The hostile guest: one device that speaks vhost-user and owns its rings, and keeps to no rule.
//
// An attack is a row: name, rings, a sentence, how far the conversation goes before it begins, and a function
// that does it once. attack.c repeats it until the time is over and connects again whenever the switch has hung up.
// Tables: attack_message.c (single messages), attack_memory.c (memory and ring set-up), attack_life.c (whole
// conversations), attack_chain.c (descriptors), attack_ring.c (indices, flags, writing threads), attack_header.c
// (virtio-net headers).
#pragma once

#include "tools/bench/front/front.h"
#include "tools/bench/front/wire.h"

enum attack_rings { ON_SPLIT = 1, ON_PACKED = 2, ON_BOTH = 3 };
enum stage { AT_CONNECTED, AT_FEATURES, AT_MEMORY, AT_RUNNING };

struct foe_ring { // what has been told of a ring; nothing keeps an attack from ignoring it
	union {
		struct ring_desc *desc;
		struct ring_pdesc *pdesc;
	};
	union {
		struct ring_avail *avail;
		struct ring_event *driver;
	};
	struct ring_used *used;
	uint16_t posted; // split: avail index; packed: position
	uint16_t last;   // packed: where the last chain begins
	uint16_t next;   // split: descriptor of the next chain
	bool wrap, last_wrap;
	int kick, call;
};

enum { FOE_RX, FOE_TX, FOE_RINGS };
enum { FOE_SIZE = 256, FOE_DATA = 1 << 20, FOE_REGION = 2 << 20 };

// Last bytes of the addresses 02:ee:00:00:00:xx: the attacker's, the feeder's, of nobody else who sends, and one of which
// the switch may have been told that it is behind another port.
enum { FOE_SELF = 1, FOE_FEEDER = 2, FOE_FORGED = 0x55, FOE_OTHER = 3 };

// Two regions side by side in the guest's addresses, apart in the switch's. Ring memory, then data, stand in the first.
#define FOE_GPA  0x100000ull
#define FOE_GPA2 (FOE_GPA + FOE_REGION)
#define FOE_END  (FOE_GPA2 + FOE_REGION)

struct foe {
	const struct attack *attack;
	const char *path;
	bool server, packed;
	int listener, fd;
	int memfd;
	uint8_t *mem; // both regions
	uint64_t features;
	struct foe_ring rings[FOE_RINGS];
	uint64_t random;
	uint64_t rounds, closed, sent, stalled, refused;
	uint16_t looked_at; // feeder: used index of its receive ring
	// Feeder: frames from the attacker's addresses, and those of them that it must not see.
	uint64_t seen, forged;
	unsigned dull; // rounds without an answer, one behind the other
	double end_s;
	struct foe *feeder; // NULL: none
};

struct attack {
	const char *name;
	enum attack_rings rings;
	const char *text;
	enum stage from;
	void (*run)(struct foe *f);
	const void *arg; // of run
	unsigned n;      // elements of arg, or a ring's number, as run says
};

struct attack_table {
	const struct attack *rows;
	unsigned n;
};

extern const struct attack_table attacks_message, attacks_memory, attacks_life, attacks_chain, attacks_ring,
    attacks_header;

void attacks_list(void);
bool attack_is(const char *name);
int attack_run(const struct conf *c);

// foe.c: what attacks are made of.

double foe_now(void);
uint64_t foe_random(struct foe *f);
int foe_open(struct foe *f);
void foe_close(struct foe *f);
// A new connection, as far as `s`. 0, or negative if the switch does not play along now.
int foe_enter(struct foe *f, enum stage s);
void foe_leave(struct foe *f);
bool foe_is_gone(struct foe *f); // the switch has hung up
// Sends as it is; the answers are thrown away.
void foe_say(struct foe *f, const struct message *m, const int *fds, unsigned n_fds);
void foe_say_state(struct foe *f, uint32_t request, uint32_t ring, uint32_t value);
void foe_say_u64(struct foe *f, uint32_t request, uint64_t value, int fd);
void foe_hear(struct foe *f, int timeout_ms);
// As a well-behaved guest says it.
struct message foe_memory(const struct foe *f);
struct message foe_addr(const struct foe *f, unsigned ring);
void foe_say_ring(struct foe *f, unsigned ring);

// Descriptors one behind the other, `flags` as they are but for what makes a packed one available. They are
// available at once.
void foe_post(struct foe *f, unsigned ring, const struct ring_desc *chain, unsigned n);
void foe_kick(struct foe *f, unsigned ring);
// Until the switch has used something of this ring; at most ms.
void foe_wait(struct foe *f, unsigned ring, unsigned ms);
// Good buffers.
void foe_fill(struct foe *f, unsigned n);
// A good frame with its header at data + slot × 2048.
uint64_t foe_frame(struct foe *f, unsigned slot, unsigned len);
void foe_send(struct foe *f, unsigned n);

// Looks at what came since the last time into good buffers of a split ring, and posts them again.
void foe_look(struct foe *f);

static inline uint8_t *foe_data(struct foe *f, unsigned slot)
{
	return f->mem + FOE_DATA + slot * 2048;
}

static inline uint64_t foe_data_gpa(unsigned slot)
{
	return FOE_GPA + FOE_DATA + slot * 2048;
}
