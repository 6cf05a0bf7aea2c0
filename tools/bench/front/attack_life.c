// Attacks by whole conversations: storms, ends in the middle, call descriptors that nobody empties.

#include "tools/bench/front/attack.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void run_reconnect(struct foe *f)
{
	for (unsigned i = 0; i < 10; i++)
		foe_enter(f, i % 4);
	foe_leave(f);
}

// Leaves right behind one of the messages of a set-up.
static void run_leave(struct foe *f)
{
	struct message memory = foe_memory(f);
	unsigned step = f->rounds % 8;
	if (step > 0)
		foe_say(f, &memory, (int[]){f->memfd, f->memfd}, 2);
	if (step > 1)
		foe_say_state(f, SET_VRING_NUM, 0, FOE_SIZE);
	if (step > 2)
		foe_say_ring(f, FOE_RX);
	if (step > 3)
		foe_say_ring(f, FOE_TX);
	if (step > 4)
		foe_send(f, 32);
	if (step > 5)
		foe_say_state(f, GET_VRING_BASE, FOE_TX, 0);
	if (step > 6)
		foe_say(f, &memory, (int[]){f->memfd, f->memfd}, 2);
	foe_leave(f);
}

static void run_flood(struct foe *f)
{
	struct message m = {GET_FEATURES};
	for (unsigned i = 0; i < 500; i++) {
		foe_say(f, &m, NULL, 0);
		foe_hear(f, 0);
	}
}

// Whoever answers fills the socket.
static void run_deaf(struct foe *f)
{
	struct message m = {GET_FEATURES, FLAG_VERSION};
	while (foe_now() < f->end_s && wire_send(f->fd, &m, MESSAGE_HEADER, NULL, 0) == 0)
		f->sent++;
	foe_leave(f);
}

static void run_loop(struct foe *f)
{
	struct message memory = foe_memory(f),
		       held = {GET_INFLIGHT_FD, .size = 20, .in_flight = {0, 0, 2, 256}};
	for (unsigned i = 0; i < 50; i++) {
		foe_say_state(f, SET_VRING_NUM, i % 2, 256 << i % 8);
		foe_say_u64(f, SET_VRING_CALL, i % 2, f->rings[0].call);
		foe_say_u64(f, SET_VRING_KICK, i % 2, f->rings[0].kick);
		foe_say(f, &memory, (int[]){f->memfd, f->memfd}, 2);
		foe_say(f, &held, NULL, 0);
		foe_hear(f, 0);
	}
	foe_leave(f);
}

static void run_stop_and_go(struct foe *f)
{
	foe_send(f, 16);
	foe_say_state(f, GET_VRING_BASE, f->rounds % 2, 0);
	foe_hear(f, 20);
	foe_send(f, 16);
	foe_say_ring(f, f->rounds % 2);
	foe_send(f, 16);
	foe_hear(f, 1);
	if (f->rounds % 4 == 3)
		foe_leave(f);
}

static void run_enable(struct foe *f)
{
	for (unsigned i = 0; i < 50; i++) {
		foe_say_state(f, SET_VRING_ENABLE, i % 2, foe_random(f) % 3);
		foe_post(f, FOE_TX, &(struct ring_desc){foe_frame(f, i, 60), 72, 0, 0}, 1);
	}
	foe_hear(f, 1);
	if (f->rounds % 4 == 3)
		foe_leave(f);
}

static void run_kick_storm(struct foe *f)
{
	for (unsigned i = 0; i < 2000; i++)
		foe_kick(f, i % 2);
	foe_send(f, 1);
	foe_wait(f, FOE_TX, 50);
}

static void run_kick_swap(struct foe *f)
{
	for (unsigned i = 0; i < 20; i++) {
		int fd = eventfd(i % 2, EFD_CLOEXEC);
		foe_say_u64(f, SET_VRING_KICK, FOE_TX, fd);
		foe_say_u64(f, SET_VRING_CALL, FOE_TX, fd);
		foe_send(f, 1);
		close(fd);
	}
	foe_hear(f, 1);
}

// An eventfd at its limit blocks whoever writes to it.
static void run_call_full(struct foe *f)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	(void)!eventfd_write(fd, UINT64_MAX - 1);
	if (f->packed)
		f->rings[FOE_TX].driver->flags = f->rings[FOE_RX].driver->flags = 0;
	else
		f->rings[FOE_TX].avail->flags = f->rings[FOE_RX].avail->flags = 0;
	foe_say_u64(f, SET_VRING_CALL, FOE_TX, fd);
	foe_say_u64(f, SET_VRING_CALL, FOE_RX, fd);
	foe_fill(f, 32);
	foe_send(f, 32);
	foe_hear(f, 20);
	close(fd);
	foe_leave(f);
}

// The same, blocking again as soon as the switch has it, and while somebody stands there, messages that need the ring.
static void run_call_full_stop(struct foe *f)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	(void)!eventfd_write(fd, UINT64_MAX - 1);
	foe_say_u64(f, SET_VRING_CALL, FOE_TX, fd);
	foe_say_u64(f, SET_VRING_CALL, FOE_RX, fd);
	for (unsigned i = 0; i < 200 && !(fcntl(fd, F_GETFL) & O_NONBLOCK); i++)
		usleep(100);
	fcntl(fd, F_SETFL, 0);
	if (f->packed)
		f->rings[FOE_TX].driver->flags = f->rings[FOE_RX].driver->flags = 0;
	else
		f->rings[FOE_TX].avail->flags = f->rings[FOE_RX].avail->flags = 0;
	foe_send(f, 32);
	usleep(5000);
	if (f->rounds % 3 < 2)
		foe_say_state(f, f->rounds % 3 ? GET_VRING_BASE : SET_VRING_BASE, FOE_TX, 0);
	foe_hear(f, 20);
	close(fd);
	foe_leave(f);
}

static void run_call_pipe(struct foe *f)
{
	int fds[2];
	char byte[4096] = {0};
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return;
	while (write(fds[1], byte, sizeof(byte)) > 0)
		;
	fcntl(fds[1], F_SETFL, 0);
	f->rings[FOE_TX].avail->flags = 0;
	foe_say_u64(f, SET_VRING_CALL, FOE_TX, fds[1]);
	foe_send(f, 32);
	foe_hear(f, 20);
	close(fds[0]);
	close(fds[1]);
	foe_leave(f);
}

static const struct attack rows[] = {
    {"reconnect", ON_BOTH, "connects and leaves, hundreds of times", AT_CONNECTED, run_reconnect},
    {"leave", ON_BOTH, "leaves behind each message of a set-up", AT_FEATURES, run_leave},
    {"flood", ON_SPLIT, "tens of thousands of messages", AT_FEATURES, run_flood},
    {"flood-deaf", ON_SPLIT, "the same, and reads no answer", AT_FEATURES, run_deaf},
    {"loop", ON_SPLIT, "sets the same things up again and again", AT_MEMORY, run_loop},
    {"stop-and-go", ON_BOTH, "stops and starts rings under traffic", AT_RUNNING, run_stop_and_go},
    {"enable", ON_BOTH, "enables and disables rings under traffic", AT_RUNNING, run_enable},
    {"kick-storm", ON_BOTH, "kicks without end", AT_RUNNING, run_kick_storm},
    {"kick-swap", ON_BOTH, "other kick and call descriptors under traffic", AT_RUNNING, run_kick_swap},
    {"call-full", ON_BOTH, "a call descriptor that blocks its writer", AT_RUNNING, run_call_full},
    {"call-full-stop", ON_BOTH, "the same, and stops the ring whose writer is blocked", AT_RUNNING,
     run_call_full_stop},
    {"call-pipe", ON_SPLIT, "a full pipe as call descriptor", AT_RUNNING, run_call_pipe},
};

const struct attack_table attacks_life = {rows, sizeof(rows) / sizeof(rows[0])};
