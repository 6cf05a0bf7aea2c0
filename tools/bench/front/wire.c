// Sends and receives bytes with descriptors. Any thread.

#include "tools/bench/front/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

int wire_send(int fd, const void *bytes, size_t n, const int *fds, unsigned n_fds)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(MESSAGE_FDS * sizeof(int))] = {0};
	struct iovec v = {(void *)bytes, n};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};
	if (n_fds) {
		h.msg_control = room;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		*c = (struct cmsghdr){CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &h, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -EPIPE;
}

int wire_receive(int fd, void *to, size_t n, int timeout_ms)
{
	for (size_t at = 0; at < n;) {
		struct pollfd p = {fd, POLLIN};
		if (poll(&p, 1, timeout_ms) <= 0)
			return -ETIMEDOUT;
		ssize_t got = recv(fd, (char *)to + at, n - at, 0);
		if (got <= 0)
			return -EPIPE;
		at += got;
	}
	return 0;
}
