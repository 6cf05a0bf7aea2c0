// A session's writer: from the lanes to its files, or its pipe. A thread of its own.
//
// It alone waits for whoever reads a pipe: the lanes fill meanwhile, and what finds no room there is counted as lost.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pcapng.h"
#include "session.h"

#define BUFFER  (256u << 10) // the longest frame and its comment, several times
#define PIPE_MS 100          // between looks whether it shall stop
#define LAST_NS 1000000000   // for what is left then
#define IDLE_MS 5
#define CHUNK   4096 // that a pipe takes without waiting once it can be written to (PIPE_BUF)

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void fail(struct session *s, const char *why)
{
	const char *none = NULL;

	atomic_compare_exchange_strong(&s->why, &none, why);
	atomic_store(&s->stop, true);
}

static const char *write_error(int err)
{
	return err == ENOSPC   ? "the disk is full"
	       : err == EDQUOT ? "the disk quota is used up"
	       : err == EFBIG  ? "the file is as large as it may be"
			       : "the file cannot be written to";
}

// Whether something may be written now. A reader that does not read holds the session up, and not its end.
static bool is_writable(struct session *s, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (s->regular)
		return true;
	while (poll(&p, 1, PIPE_MS) <= 0)
		if (atomic_load(&s->stop))
			return false;
	return true;
}

static bool is_over(struct session *s)
{
	uint64_t now;

	if (!atomic_load(&s->stop))
		return false;
	now = now_ns();
	s->give_up_ns = s->give_up_ns != 0 ? s->give_up_ns : now + LAST_NS;
	return now > s->give_up_ns;
}

static void bytes_write(struct session *s, const uint8_t *bytes, size_t n)
{
	int fd = s->files[s->file];

	while (n > 0 && !is_over(s) && is_writable(s, fd)) {
		ssize_t done = write(fd, bytes, s->regular || n < CHUNK ? n : CHUNK);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0) {
			fail(s, errno == EPIPE ? "" : write_error(errno));
			return;
		}
		bytes += done;
		n -= done;
		s->file_bytes += done;
		atomic_fetch_add(&s->n_bytes, done);
	}
}

static void head_write(struct session *s, struct pcapng *o)
{
	char what[NAME_SIZE + 64];

	pcapng_section(o, "evswitch capture");
	snprintf(what, sizeof(what), "sent by %s, at the capture stage on the way in", s->port_name);
	pcapng_interface(o, s->port_name, what, s->filter_text, s->snaplen);
	snprintf(what, sizeof(what), "sent to %s, at the capture stage on the way out", s->port_name);
	pcapng_interface(o, s->port_name, what, s->filter_text, s->snaplen);
}

static void tail_write(struct session *s, struct pcapng *o)
{
	for (uint32_t side = SIDE_IN; side <= SIDE_OUT; side++) {
		uint64_t n = 0, lost = 0;

		for (unsigned i = 0; i < EVS_MAX_WORKERS; i++) {
			n += s->lanes[i].n_packets[side];
			lost += s->lanes[i].n_lost[side];
		}
		pcapng_statistics(o, side, now_ns(), n + lost, lost);
	}
}

static void flush(struct session *s, struct pcapng *o)
{
	bytes_write(s, o->bytes, o->n);
	o->n = 0;
}

// The next of several files takes over; a single one that is full is the end.
static void file_turn(struct session *s, struct pcapng *o)
{
	flush(s, o);
	if (s->n_files == 1) {
		fail(s, "");
		return;
	}
	s->file = (s->file + 1) % s->n_files;
	s->file_bytes = 0;
	if (ftruncate(s->files[s->file], 0) < 0 || lseek(s->files[s->file], 0, SEEK_SET) < 0)
		fail(s, write_error(errno));
	head_write(s, o);
}

static void record_write(struct session *s, struct pcapng *o, const struct record *r)
{
	const struct pcapng_packet p = {
	    .interface = r->interface,
	    .time_ns = r->time_ns,
	    .bytes = r->frame,
	    .captured = r->captured,
	    .length = r->length,
	    .direction = r->interface == SIDE_IN ? PCAPNG_INBOUND : PCAPNG_OUTBOUND,
	    .comment = r->comment > 0 ? (const char *)r->frame + r->captured : NULL,
	};

	if (s->max_bytes != 0 && s->file_bytes + o->n + r->bytes > s->max_bytes)
		file_turn(s, o);
	if (atomic_load(&s->why) != NULL)
		return;
	if (!pcapng_packet(o, &p)) {
		flush(s, o);
		pcapng_packet(o, &p);
	}
}

// The earliest that any worker has left; so the order is that of times, but for what comes while we look.
static struct lane *next_lane(struct session *s, const struct record **first)
{
	struct lane *found = NULL;

	for (unsigned i = 0; i < EVS_MAX_WORKERS; i++) {
		const struct record *r = lane_first(&s->lanes[i]);

		if (r != NULL && (found == NULL || r->time_ns < (*first)->time_ns)) {
			found = &s->lanes[i];
			*first = r;
		}
	}
	return found;
}

static void drain(struct session *s, struct pcapng *o)
{
	const struct record *r = NULL;
	struct lane *l;

	while (atomic_load(&s->why) == NULL && !is_over(s) && (l = next_lane(s, &r)) != NULL) {
		record_write(s, o, r);
		lane_pop(l, r);
	}
	flush(s, o);
}

// Waits for packets, and sees that a reader has gone also when there are none.
static void rest(struct session *s)
{
	struct pollfd p = {.fd = s->regular ? -1 : s->files[0]};

	if (poll(&p, 1, IDLE_MS) > 0)
		fail(s, "");
}

static void end(struct session *s, struct pcapng *o)
{
	const char *why;
	struct evs_why text = {.size = sizeof(text)};

	s->unlink(s);
	drain(s, o);
	why = atomic_load(&s->why);
	tail_write(s, o);
	flush(s, o);
	snprintf(text.text, sizeof(text.text), "%s", why != NULL ? why : "");
	while (s->n_files > 0)
		close(s->files[--s->n_files]);
	s->request->done(s->request, text.text[0] != '\0' ? &text : NULL);
	atomic_store(&s->ended, true);
}

static void *writer(void *arg)
{
	static _Thread_local uint8_t buffer[BUFFER];
	struct session *s = arg;
	struct pcapng o = {.bytes = buffer, .room = sizeof(buffer)};

	head_write(s, &o);
	while (!atomic_load(&s->stop)) {
		drain(s, &o);
		if (!atomic_load(&s->stop))
			rest(s);
	}
	end(s, &o);
	return NULL;
}

bool session_start(struct session *s, struct evs_why *why)
{
	sigset_t ours, before;

	// Signals are for the daemon's threads; of a pipe without a reader write() tells.
	sigfillset(&ours);
	sigdelset(&ours, SIGSEGV);
	sigdelset(&ours, SIGBUS);
	sigdelset(&ours, SIGILL);
	sigdelset(&ours, SIGFPE);
	sigdelset(&ours, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &ours, &before);
	int ret = pthread_create(&s->writer, NULL, writer, s);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret != 0)
		snprintf(why->text, sizeof(why->text), "a thread cannot be started: %s", strerror(ret));
	return ret == 0;
}
