// Pipes, terminals and sockets of clients, used by the control thread, which must never wait for one.
//
// That one of them is ready says little: others may use it at the same time, and a terminal with room for a byte keeps
// who writes two. Any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "api/err.h"

struct tube {
	int fd; // our own
	bool is_socket;
};

// Of a client's descriptor, for O_RDONLY or O_WRONLY. -errno with a sentence without a subject.
int tube_open(struct tube *s, int fd, int mode, struct err *e);
// As read() and write(): -1 with EAGAIN instead of waiting.
ssize_t tube_read(const struct tube *s, void *to, size_t n);
ssize_t tube_write(const struct tube *s, const void *from, size_t n);
