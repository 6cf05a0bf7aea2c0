// What the supervisor and a switch process tell each other: how one is started, over one channel for as long as both live.
//
// Supervisors stay when switch processes of other versions come and go: what stands here may grow, and not change. A
// message is one packet of a seqpacket socket.
#pragma once

#include <stdbool.h>
#include <stdint.h>

// What a switch process is started with.
struct role {
	int channel;         // to the supervisor
	int predecessor;     // to the switch process whose place it takes; -1 = none
	unsigned generation; // how many switch processes this supervisor has had, with this one
	int lock_fd;         // keeps the run directory
	int supervisor;      // process id
};

enum role_word {
	ROLE_READY = 'R', // switch: it is the switch now
	ROLE_START =
	    'S', // switch: start a successor, of this program (descriptor 0), which gets descriptor 1
	ROLE_ABORT = 'A', // switch: kill it
	ROLE_ENDED =
	    'E', // supervisor: it has ended, with `value` as its status of waitpid(), or was not started: -errno
	ROLE_HEIR = 'H', // supervisor, to a successor: the process before it has ended
};

#define ROLE_FDS 2

struct role_message {
	int32_t word, value;
};

// Puts it into the environment of a process that is about to be executed. Its descriptors stay open over that.
void role_give(const struct role *r);
// Takes it out of the environment again. False: no supervisor has started this process. To be called once.
bool role_take(struct role *r);

int role_channel(int fds[2]); // two ends, closed on exec, non-blocking; -errno
// -errno. Waits for nothing: there is room for all that is ever under way.
int role_send(int channel, enum role_word word, int value, const int fds[ROLE_FDS]); // fds NULL = none
// 1 with a message and its descriptors (-1 = none), 0 at the end, -errno (-EAGAIN: nothing there).
int role_receive(int channel, struct role_message *m, int fds[ROLE_FDS]);
