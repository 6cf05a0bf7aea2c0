// What attacks are made of: a connection, memory of two regions, rings that are written as raw bytes.

#include "tools/bench/front/attack.h"
#include "tools/bench/front/feature.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MS = 500, RING_BYTES = 64 << 10, MEMORY_BYTES = 2 * FOE_REGION };

double foe_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

uint64_t foe_random(struct foe *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	return f->random ^= f->random << 17;
}

static int refuse(const struct foe *f, const char *what)
{
	int error = errno;
	fprintf(stderr, "bench-front: %s: %s: %s\n", f->path, what, strerror(error));
	return -error;
}

static struct sockaddr_un address_of(const struct foe *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
	return a;
}

int foe_open(struct foe *f)
{
	struct sockaddr_un a = address_of(f);
	f->fd = f->listener = -1;
	f->memfd = memfd_create("foe", MFD_CLOEXEC);
	if (f->memfd < 0 || ftruncate(f->memfd, MEMORY_BYTES) != 0)
		return refuse(f, "memory");
	f->mem = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	if (f->mem == MAP_FAILED)
		return refuse(f, "memory");
	for (unsigned i = 0; i < FOE_RINGS; i++) {
		f->rings[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->rings[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	if (!f->server)
		return 0;
	unlink(f->path);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return bind(f->listener, (void *)&a, sizeof(a)) == 0 && listen(f->listener, 1) == 0
		   ? 0
		   : refuse(f, "listen");
}

void foe_leave(struct foe *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void foe_close(struct foe *f)
{
	foe_leave(f);
	if (f->listener >= 0) {
		close(f->listener);
		unlink(f->path);
	}
	for (unsigned i = 0; i < FOE_RINGS; i++) {
		close(f->rings[i].kick);
		close(f->rings[i].call);
	}
	munmap(f->mem, MEMORY_BYTES);
	close(f->memfd);
}

static int foe_connect(struct foe *f)
{
	struct sockaddr_un a = address_of(f);
	struct pollfd p = {f->listener, POLLIN};
	if (f->server) {
		f->fd = poll(&p, 1, ANSWER_MS) > 0 ? accept4(f->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
	} else {
		f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(f->fd, (void *)&a, sizeof(a)) != 0)
			foe_leave(f);
	}
	struct timeval patience = {.tv_usec = 100000};
	if (f->fd >= 0)
		setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return f->fd >= 0 ? 0 : -1;
}

bool foe_is_gone(struct foe *f)
{
	char byte;
	return f->fd < 0 || recv(f->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ||
	       send(f->fd, &byte, 0, MSG_NOSIGNAL) != 0;
}

void foe_say(struct foe *f, const struct message *m, const int *fds, unsigned n_fds)
{
	struct message copy = *m;
	if (!copy.flags)
		copy.flags = FLAG_VERSION;
	wire_send(f->fd, &copy, MESSAGE_HEADER + (m->size < sizeof(m->raw) ? m->size : sizeof(m->raw)), fds,
		  n_fds);
	f->sent++;
}

void foe_say_state(struct foe *f, uint32_t request, uint32_t ring, uint32_t value)
{
	struct message m = {request, .size = 8, .state = {ring, value}};
	foe_say(f, &m, NULL, 0);
}

void foe_say_u64(struct foe *f, uint32_t request, uint64_t value, int fd)
{
	struct message m = {request, .size = 8, .u64 = value};
	foe_say(f, &m, &fd, fd >= 0);
}

void foe_hear(struct foe *f, int timeout_ms)
{
	char waste[4096];
	struct pollfd p = {f->fd, POLLIN};
	while (poll(&p, 1, timeout_ms) > 0 && recv(f->fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
		timeout_ms = 0;
}

static int ask(struct foe *f, uint32_t request, uint64_t *value)
{
	struct message m = {request};
	foe_say(f, &m, NULL, 0);
	if (wire_receive(f->fd, &m, MESSAGE_HEADER + 8, ANSWER_MS) != 0)
		return -1;
	*value = m.u64;
	return 0;
}

struct message foe_memory(const struct foe *f)
{
	uintptr_t user = (uintptr_t)f->mem;
	return (struct message){SET_MEM_TABLE, .size = 8 + 2 * sizeof(struct memory_region),
				.memory = {2,
					   0,
					   {{FOE_GPA, FOE_REGION, user, 0},
					    {FOE_GPA2, FOE_REGION, user + FOE_REGION, FOE_REGION}}}};
}

struct message foe_addr(const struct foe *f, unsigned ring)
{
	const struct foe_ring *r = &f->rings[ring];
	return (struct message){
	    SET_VRING_ADDR, .size = 40,
	    .addr = {ring, 0, (uintptr_t)r->desc, (uintptr_t)r->used, (uintptr_t)r->avail, 0}};
}

static void ring_reset(struct foe *f, unsigned ring)
{
	uint8_t *at = f->mem + ring * RING_BYTES;
	struct foe_ring *r = &f->rings[ring];
	memset(at, 0, RING_BYTES);
	r->desc = (void *)at;
	r->avail = (void *)(at + (16 << 10));
	r->used = (void *)(at + (32 << 10));
	r->posted = r->last = r->next = 0;
	r->wrap = r->last_wrap = true;
	if (f->packed)
		r->driver->flags = 1; // no calls
	else
		r->avail->flags = 1;
}

void foe_say_ring(struct foe *f, unsigned ring)
{
	struct message addr = foe_addr(f, ring);
	foe_say_state(f, SET_VRING_NUM, ring, FOE_SIZE);
	foe_say_state(f, SET_VRING_BASE, ring, f->packed ? 1 << 15 : 0);
	foe_say(f, &addr, NULL, 0);
	foe_say_u64(f, SET_VRING_CALL, ring, f->rings[ring].call);
	foe_say_u64(f, SET_VRING_KICK, ring, f->rings[ring].kick);
	foe_say_state(f, SET_VRING_ENABLE, ring, 1);
}

static int agree(struct foe *f)
{
	struct message owner = {SET_OWNER};
	uint64_t protocol;
	if (ask(f, GET_FEATURES, &f->features) != 0)
		return -1;
	f->features &= ~(F_LOG_ALL | F_IN_ORDER | F_IOMMU | F_NOTIFICATION | (f->packed ? 0 : F_RING_PACKED));
	if (f->packed && !(f->features & F_RING_PACKED))
		return -1;
	if (f->features & F_PROTOCOL) {
		if (ask(f, GET_PROTOCOL_FEATURES, &protocol) != 0)
			return -1;
		foe_say_u64(f, SET_PROTOCOL_FEATURES, protocol & (P_MQ | P_LOG_SHMFD | P_RARP | P_MTU), -1);
	}
	foe_say(f, &owner, NULL, 0);
	foe_say_u64(f, SET_FEATURES, f->features, -1);
	return 0;
}

int foe_enter(struct foe *f, enum stage s)
{
	struct message memory = foe_memory(f);
	uint64_t value;
	foe_leave(f);
	for (unsigned i = 0; i < FOE_RINGS; i++)
		ring_reset(f, i);
	f->dull = f->looked_at = 0;
	if (foe_connect(f) != 0)
		return -1;
	int ret = s >= AT_FEATURES ? agree(f) : 0;
	if (ret == 0 && s >= AT_MEMORY)
		foe_say(f, &memory, (int[]){f->memfd, f->memfd}, 2);
	for (unsigned i = 0; i < FOE_RINGS && ret == 0 && s >= AT_RUNNING; i++)
		foe_say_ring(f, i);
	if (ret == 0 && s >= AT_FEATURES)
		ret = ask(f, GET_FEATURES, &value); // all before it is done
	if (ret != 0)
		foe_leave(f);
	return ret;
}

static void post_split(struct foe *f, struct foe_ring *r, const struct ring_desc *chain, unsigned n)
{
	if (r->next + n > FOE_SIZE)
		r->next = 0;
	for (unsigned i = 0; i < n; i++) {
		r->desc[r->next + i] = chain[i];
		if (chain[i].next < n)
			r->desc[r->next + i].next += r->next;
	}
	r->avail->ring[r->posted++ % FOE_SIZE] = r->next;
	r->next += n;
	__atomic_store_n(&r->avail->idx, r->posted, __ATOMIC_RELEASE);
	f->sent++;
}

static void post_packed(struct foe *f, struct foe_ring *r, const struct ring_desc *chain, unsigned n)
{
	uint16_t first_flags = 0, id = r->posted;
	r->last = r->posted;
	r->last_wrap = r->wrap;
	for (unsigned i = 0; i < n; i++) {
		struct ring_pdesc *d = &r->pdesc[r->posted];
		uint16_t flags = chain[i].flags | (r->wrap ? 1 << 7 : 1 << 15);
		d->addr = chain[i].addr;
		d->len = chain[i].len;
		d->id = id;
		if (i)
			d->flags = flags;
		else
			first_flags = flags;
		if (++r->posted == FOE_SIZE) {
			r->posted = 0;
			r->wrap = !r->wrap;
		}
	}
	__atomic_store_n(&r->pdesc[r->last].flags, first_flags, __ATOMIC_RELEASE);
	f->sent++;
}

void foe_post(struct foe *f, unsigned ring, const struct ring_desc *chain, unsigned n)
{
	if (f->packed)
		post_packed(f, &f->rings[ring], chain, n);
	else
		post_split(f, &f->rings[ring], chain, n);
}

void foe_kick(struct foe *f, unsigned ring)
{
	(void)!eventfd_write(f->rings[ring].kick, 1);
}

static bool is_used(const struct foe *f, const struct foe_ring *r)
{
	if (!f->packed)
		return *(volatile uint16_t *)&r->used->idx == r->posted;
	uint16_t flags = *(volatile uint16_t *)&r->pdesc[r->last].flags;
	return !!(flags & 1 << 7) == r->last_wrap && !!(flags & 1 << 15) == r->last_wrap;
}

void foe_wait(struct foe *f, unsigned ring, unsigned ms)
{
	double end = foe_now() + ms / 1e3;
	while (!is_used(f, &f->rings[ring])) {
		if (foe_now() > end) {
			f->stalled++;
			f->dull++;
			return;
		}
		usleep(100);
	}
	f->dull = 0;
}

void foe_fill(struct foe *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		foe_post(f, FOE_RX, &(struct ring_desc){foe_data_gpa(256 + i), 2048, 2, 0}, 1);
	foe_kick(f, FOE_RX);
}

void foe_look(struct foe *f)
{
	struct foe_ring *r = &f->rings[FOE_RX];
	uint16_t now = __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE);
	while (f->looked_at != now) {
		struct ring_desc d = r->desc[r->used->ring[f->looked_at++ % FOE_SIZE].id % FOE_SIZE];
		const uint8_t *p = f->mem + (d.addr - FOE_GPA) + VIRTIO_HEAD;
		if (!memcmp(p + 6, "\x02\xee\0\0\0", 5)) {
			f->seen++;
			f->forged += p[11] == FOE_FORGED || (!memcmp(p, "\x02\xee", 2) && p[5] == FOE_OTHER);
		}
		foe_post(f, FOE_RX, &d, 1);
	}
	foe_kick(f, FOE_RX);
}

// Broadcast, so that all other guests meet it.
uint64_t foe_frame(struct foe *f, unsigned slot, unsigned len)
{
	uint8_t *p = foe_data(f, slot) + VIRTIO_HEAD;
	memset(p - VIRTIO_HEAD, 0, VIRTIO_HEAD + len);
	memset(p, 0xff, 6);
	memcpy(p + 6, "\x02\xee\0\0\0", 5);
	p[11] = f->feeder || f->attack ? FOE_SELF : FOE_FEEDER;
	p[12] = 0x88; // a type for experiments
	p[13] = 0xb5;
	return foe_data_gpa(slot);
}

void foe_send(struct foe *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned len = 60 + i * 97 % 1454;
		foe_post(f, FOE_TX, &(struct ring_desc){foe_frame(f, i, len), VIRTIO_HEAD + len, 0, 0}, 1);
	}
	foe_kick(f, FOE_TX);
}
