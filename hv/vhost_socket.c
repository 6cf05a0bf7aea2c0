// Guests by vhost-user, sockets: what stands in the way of connecting or listening, as a sentence.
//
// The library says only that it failed. For connecting the reason comes from the file, as a trial connection
// would take QEMU's only place; for listening it takes a connection to tell a stale socket from a live one.
#include "vhost.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rights.h"

int vhost_socket_check(const char *path, struct err *e)
{
	struct stat st;
	char owner[RIGHTS_OWNER_LEN];

	if (stat(path, &st) != 0) {
		int code = -errno;

		if (code == -ENOENT)
			return err_set(e, code, "waits for the socket %s: no such file", path);
		return err_set(e, code, "cannot reach the socket %s: %s; check the rights of its directories",
			       path, err_name(-code));
	}
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -ENOTSOCK, "cannot connect to %s: not a socket", path);
	if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0)
		return err_set(e, -EACCES,
			       "cannot connect to %s: permission denied; the socket is owned by %s", path,
			       rights_owner_print(&st, owner));
	return 0;
}

// 0 when somebody listens.
static int connect_try(const char *path)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	int rc = connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 ? 0 : -errno;

	close(fd);
	return rc == -EAGAIN ? 0 : rc;
}

int vhost_socket_clear(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return 0; // nothing there, or bind will say why
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST,
			       "cannot listen on %s: a file that is not a socket stands there; "
			       "remove it or choose another path",
			       path);
	int rc = connect_try(path);

	if (rc == 0)
		return err_set(e, -EADDRINUSE,
			       "cannot listen on %s: another program listens there; "
			       "stop it, choose another path, or use mode client",
			       path);
	if (rc != -ECONNREFUSED)
		return err_set(e, rc, "cannot listen on %s: a socket stands there: %s", path, err_name(-rc));
	if (unlink(path) != 0)
		return err_set(e, -errno, "cannot listen on %s: cannot remove the stale socket: %s", path,
			       err_name(errno));
	return 0;
}

int vhost_socket_refusal(const char *path, struct err *e)
{
	char copy[sizeof(((struct vhost *)0)->path)], owner[RIGHTS_OWNER_LEN];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	const char *dir = dirname(copy);

	if (stat(dir, &st) != 0)
		return err_set(e, -errno, "cannot listen on %s: directory %s: %s", path, dir,
			       err_name(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "cannot listen on %s: %s is not a directory", path, dir);
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0)
		return err_set(e, -EACCES,
			       "cannot listen on %s: directory %s: permission denied; it is owned by %s",
			       path, dir, rights_owner_print(&st, owner));
	return err_set(e, -EIO,
		       "cannot listen on %s: the vhost-user library refuses; it serves about 500 listening "
		       "or 1,000 connecting ports",
		       path);
}

// Who was accepted has the name that we listen by, who connected has none.
static bool is_of_mode(int fd, bool server)
{
	struct sockaddr_un own;
	socklen_t n = sizeof(own);

	return getsockname(fd, (struct sockaddr *)&own, &n) == 0 && (n > sizeof(own.sun_family)) == server;
}

static bool is_librarys(int fd)
{
	int domain = 0, type = 0;
	struct sockaddr_un peer;
	socklen_t n = sizeof(int), n_peer = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
	       getpeername(fd, (struct sockaddr *)&peer, &n_peer) == 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

// A connection of the library's that is not bound yet.
static bool bound(int fd)
{
	struct timeval wait = {.tv_usec = VHOST_SOCKET_WAIT_MS * 1000}, before;
	socklen_t n = sizeof(before);

	return is_librarys(fd) && getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &before, &n) == 0 &&
	       before.tv_sec == 0 && before.tv_usec == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0;
}

// The library does not say which descriptor it is. Its connections are the streams of this process that block, and no
// name is asked for, as a peer may have any.
int vhost_socket_bound(bool server, int likely)
{
	if (likely >= 0 && bound(likely) && is_of_mode(likely, server))
		return likely;
	int found = -1;
	DIR *all = opendir("/proc/self/fd");
	struct dirent *one;

	while (all != NULL && (one = readdir(all)) != NULL) {
		int fd = atoi(one->d_name);

		if (bound(fd) && is_of_mode(fd, server))
			found = fd;
	}
	if (all != NULL)
		closedir(all);
	return found;
}
