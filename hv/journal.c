// The journal of packed rings, see journal.h: the file and its records, and taking a ring up where it was left. Records
// are searched on the jobs thread, read and renewed on the vhost thread; workers only store positions.
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctrl/api/err.h"
#include "dp/port.h"
#include "virtq_dp.h"

#define FILE_NAME "rings.1" // the number is that of the layout
#define RECORDS   16384
#define AVAIL     (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED      (1u << VRING_PACKED_DESC_F_USED)
#define WRAP      0x8000

struct journal_record {
	alignas(64) uint32_t position; // from, and to << 16; worker, or vhost thread while none is inside
	uint32_t live;
	uint64_t gpa; // of the ring
	uint16_t size, told;
	uint16_t ring;
	char port[PORT_NAME_SIZE]; // "" = never used
};

static struct journal_record *records; // NULL = there is no journal
static uint8_t users[RECORDS]; // ports of this process that have it; a port's successor may come early
static uint32_t last;          // that was found: ports mostly come in the same order
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of the two above

int journal_open(const char *dir, struct err *e)
{
	const size_t bytes = RECORDS * sizeof(struct journal_record);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, FILE_NAME);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_set(e, -errno, "ring journal %s: %s", path, err_name(errno));
	int rc = posix_fallocate(fd, 0, bytes); // a store must never find the file system full
	void *at = rc == 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	rc = rc == 0 && at == MAP_FAILED ? errno : rc;
	close(fd);
	if (rc != 0)
		return err_set(e, -rc, "ring journal %s: %s", path, err_name(rc));
	records = at;
	return 0;
}

// Records

static bool is_about(const struct journal_record *k, const char *port, uint16_t ring)
{
	return k->ring == ring && strncmp(k->port, port, sizeof(k->port)) == 0;
}

// The ring's own, else one that never was used, else one of a port that is not there. RECORDS = none.
static uint32_t record_find(const char *port, uint16_t ring)
{
	uint32_t fresh = RECORDS, idle = RECORDS;

	for (uint32_t n = 0; n < RECORDS; n++) {
		uint32_t i = (last + n) % RECORDS;

		if (is_about(&records[i], port, ring))
			return i;
		if (fresh == RECORDS && users[i] == 0 && records[i].port[0] == '\0')
			fresh = i;
		if (idle == RECORDS && users[i] == 0)
			idle = i;
	}
	return fresh < RECORDS ? fresh : idle;
}

void journal_find(struct journal *j, const char *port, uint16_t ring)
{
	if (records == NULL)
		return;
	pthread_mutex_lock(&lock);
	uint32_t i = record_find(port, ring);

	if (i < RECORDS && users[i] < UINT8_MAX) {
		struct journal_record *k = &records[i];

		if (!is_about(k, port, ring)) {
			memset(k, 0, sizeof(*k));
			k->ring = ring;
			snprintf(k->port, sizeof(k->port), "%s", port);
		}
		users[i]++;
		last = i;
		j->record = k;
	}
	pthread_mutex_unlock(&lock);
}

void journal_leave(struct journal *j)
{
	if (j->record == NULL)
		return;
	pthread_mutex_lock(&lock);
	users[j->record - records]--;
	pthread_mutex_unlock(&lock);
	j->record = NULL;
}

static uint64_t gpa_of(const struct virtq *r)
{
	for (uint32_t i = 0; i < r->memory->n; i++) {
		const struct virtq_region *m = &r->memory->regions[i];
		uint64_t off = (uintptr_t)r->packed - (uintptr_t)m->va;

		if (off < m->size)
			return m->gpa + off;
	}
	return 0;
}

static void set(uint32_t *to, uint32_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

void journal_follow(const struct journal *j, struct virtq *r, bool resumed)
{
	struct journal_record *k = j->record;
	uint32_t at = r->next | (r->next_wrap ? WRAP : 0);

	if (k == NULL)
		return;
	if (!resumed) {
		set(&k->live, 0);
		k->gpa = gpa_of(r);
		k->size = r->size;
	}
	set(&k->position, at | at << 16);
	k->told = j->told; // if it comes to this: a position that is told right is believed, too
	set(&k->live, 1);
	r->position = &k->position;
}

void journal_end(const struct journal *j)
{
	if (j->record != NULL)
		set(&j->record->live, 0);
}

// Taking up a ring

struct place {
	uint16_t at;
	bool wrap;
};

static struct place place_of(uint16_t position)
{
	return (struct place){position & ~WRAP, position & WRAP};
}

static struct place place_after(const struct virtq *r, struct place p, uint32_t n)
{
	uint32_t at = p.at + n;

	return at >= r->size ? (struct place){at - r->size, !p.wrap} : (struct place){at, p.wrap};
}

// Descriptors between two places. More than a ring has: there is no way between them.
static uint32_t distance(const struct virtq *r, struct place from, struct place to)
{
	uint32_t n = from.wrap == to.wrap ? to.at - from.at : to.at + r->size - from.at;

	return from.at < r->size && to.at < r->size ? n : UINT32_MAX;
}

// What was taken at this place has been completed; what stands there by now may be for the next round.
static bool is_used(const struct virtq *r, struct place p)
{
	uint16_t flags = __atomic_load_n(&r->packed[p.at].flags, __ATOMIC_ACQUIRE);

	return ((flags & USED) != 0) == p.wrap;
}

// The chain at this place, of at most `most` descriptors: how many, and its id.
static uint32_t chain_length(const struct virtq *r, struct place p, uint32_t most, uint16_t *id)
{
	for (uint32_t n = 1;; n++) {
		struct vring_packed_desc e;

		entry_load(&e, &r->packed[p.at]);
		*id = e.id;
		if (n == most || !(e.flags & VRING_DESC_F_NEXT) || e.flags & VRING_DESC_F_INDIRECT)
			return n;
		p = place_after(r, p, 1);
	}
}

static void complete(const struct virtq *r, struct place p, uint16_t id)
{
	uint64_t flags = p.wrap ? AVAIL | USED : 0;

	__atomic_store_n((uint64_t *)&r->packed[p.at] + 1, (uint64_t)id << 32 | flags << 48,
			 __ATOMIC_RELEASE);
	if (r->log)
		virtq_log_at(r, &r->packed[p.at], sizeof(r->packed[p.at]));
}

// Completes n descriptors, the first one last. Behind a completed chain of several its other descriptors look like a chain
// of their own: to complete that, too, harms nobody, as the driver does not look there.
static void finish(const struct virtq *r, struct place from, uint32_t n)
{
	uint16_t first, id;
	uint32_t step = chain_length(r, from, n, &first);

	for (uint32_t i = step; i < n; i += step) {
		struct place p = place_after(r, from, i);

		step = chain_length(r, p, n - i, &id);
		complete(r, p, id);
	}
	complete(r, from, first);
}

bool journal_resume(const struct journal *j, struct virtq *r)
{
	const struct journal_record *k = j->record;

	if (k == NULL || !__atomic_load_n(&k->live, __ATOMIC_ACQUIRE) || k->size != r->size ||
	    k->gpa != gpa_of(r))
		return false;
	uint32_t position = __atomic_load_n(&k->position, __ATOMIC_RELAXED);
	struct place from = place_of(position), to = place_of(position >> 16);
	uint32_t n = distance(r, from, to);
	bool is_told = j->told == k->told || j->told == (uint16_t)position || j->told == position >> 16;

	if (!is_told || n > r->size || __atomic_load_n((uint32_t *)r->device_event, __ATOMIC_RELAXED) == 0)
		return false;
	if (n > 0 && !is_used(r, from))
		finish(r, from, n);
	r->next = r->done = to.at;
	r->next_wrap = r->done_wrap = to.wrap;
	return true;
}
