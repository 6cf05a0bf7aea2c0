// The channel between the supervisor and a switch process. See role.h. Both, one thread each.
#include "ctrl/role.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROLE_ENV "EVSWITCHD_SWITCH"

static void keep_over_exec(int fd, bool keep)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void keep_all_over_exec(const struct role *r, bool keep)
{
	keep_over_exec(r->channel, keep);
	keep_over_exec(r->predecessor, keep);
	keep_over_exec(r->lock_fd, keep);
}

void role_give(const struct role *r)
{
	char text[96];

	keep_all_over_exec(r, true);
	snprintf(text, sizeof(text), "%d %d %d %d %u", r->channel, r->lock_fd, r->supervisor, r->predecessor,
		 r->generation);
	setenv(ROLE_ENV, text, 1);
}

bool role_take(struct role *r)
{
	const char *text = getenv(ROLE_ENV);

	if (!text ||
	    sscanf(text, "%d %d %d %d %u", &r->channel, &r->lock_fd, &r->supervisor, &r->predecessor,
		   &r->generation) != 5 ||
	    r->supervisor != getppid())
		return false;
	unsetenv(ROLE_ENV);
	keep_all_over_exec(r, false);
	return true;
}

int role_channel(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) ? -errno : 0;
}

int role_send(int channel, enum role_word word, int value, const int fds[ROLE_FDS])
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(ROLE_FDS * sizeof(int))] = {0};
	struct role_message m = {word, value};
	struct iovec v = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};

	if (fds) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(ROLE_FDS * sizeof(int));
		memcpy(CMSG_DATA(c), fds, ROLE_FDS * sizeof(int));
	}
	return sendmsg(channel, &h, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int role_receive(int channel, struct role_message *m, int fds[ROLE_FDS])
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(ROLE_FDS * sizeof(int))];
	struct iovec v = {m, sizeof(*m)};
	struct msghdr h = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	for (int i = 0; i < ROLE_FDS; i++)
		fds[i] = -1;
	if (n <= 0)
		return n < 0 ? -errno : 0;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return n == sizeof(*m) ? 1 : -EPROTO;
}
