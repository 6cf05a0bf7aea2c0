// Clients' pipes, terminals and sockets. See tube.h.
//
// Whether calls wait is a property that a descriptor shares with those of the client, so it is left alone: a pipe or a
// terminal is opened once more. Where that is not allowed, as it is another user's, a pipe takes and gives so many bytes
// without waiting as it said that it is ready for.
#include "tube.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int tube_open(struct tube *s, int fd, int mode, struct err *e)
{
	char path[32];
	struct stat st;

	*s = (struct tube){.fd = -1};
	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s", err_name(errno));
	s->is_socket = S_ISSOCK(st.st_mode);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!s->is_socket)
		s->fd = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (s->fd < 0 && (s->is_socket || S_ISFIFO(st.st_mode)))
		s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (s->fd < 0)
		return err_set(e, -errno,
			       "%s; evswitchd has to open a terminal by itself: use a file or a pipe",
			       err_name(errno));
	return 0;
}

static bool is_ready(const struct tube *s, short events)
{
	struct pollfd p = {.fd = s->fd, .events = events};

	if (poll(&p, 1, 0) == 1)
		return true;
	errno = EAGAIN;
	return false;
}

ssize_t tube_read(const struct tube *s, void *to, size_t n)
{
	if (s->is_socket)
		return recv(s->fd, to, n, MSG_DONTWAIT);
	return is_ready(s, POLLIN) ? read(s->fd, to, n) : -1;
}

ssize_t tube_write(const struct tube *s, const void *from, size_t n)
{
	if (s->is_socket)
		return send(s->fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return is_ready(s, POLLOUT) ? write(s->fd, from, n < PIPE_BUF ? n : PIPE_BUF) : -1;
}
