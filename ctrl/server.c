// The control sockets: listens, admits by credentials, limits the number of clients.
//
// A connection that is admitted becomes a client (client.c); whoever is not gets one sentence and is
// closed. Control thread; everything that may block (user database, stale sockets) happens in
// server_start().
#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "ctrl/api/log.h"
#include "dispatch.h"
#include "loop.h"
#include "peer.h"

#define MAX_CLIENTS 1024
#define BACKLOG     1024
#define STALL_US    5000000 // how often slow readers are looked for
#define WRITE_GROUP "evswitch"
#define READ_GROUP  "evswitch-ro"

struct listener {
	int fd;
	struct sockaddr_un address;
	struct watch *watch;
};

static struct listener main_listener = {.fd = -1}, reader_listener = {.fd = -1};
static int inherited[2] = {-1, -1}; // of the process before this one; the same order
static gid_t write_gid, read_gid;
static int spare_fd = -1; // given up for a moment to refuse a client when there are no descriptors
static struct timer *stall_timer;

static gid_t group_find(const char *name)
{
	const struct group *g = getgrnam(name);

	return g ? g->gr_gid : PEER_NO_GROUP;
}

// One sentence, as much of it as the socket takes at once.
static void refuse(int fd, int code, const char *text)
{
	json_t *message =
	    json_pack("{ss sn s{si ss}}", "jsonrpc", "2.0", "id", "error", "code", code, "message", text);
	char *line = json_dumps(message, JSON_COMPACT);

	if (line) {
		send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
		send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(line);
	json_decref(message);
	close(fd);
}

static void admit(int fd, bool readers_only)
{
	struct peer p;
	struct err e = {0};

	if (n_clients >= MAX_CLIENTS) {
		refuse(fd, RPC_REFUSED, "the control socket has its limit of 1024 clients, try again later");
		return;
	}
	if (peer_identify(fd, &p, &e) != 0) {
		refuse(fd, RPC_NOT_ALLOWED, e.text);
		return;
	}
	enum peer_role role = peer_role(&p, geteuid(), write_gid, read_gid);
	if (role == PEER_STRANGER) {
		err_set(&e, -EPERM,
			"user %u may not use evswitch: only root and members of the groups %s and %s", p.uid,
			WRITE_GROUP, READ_GROUP);
		log_warn("process %d: %s", p.pid, e.text);
		refuse(fd, RPC_NOT_ALLOWED, e.text);
		return;
	}
	if (!client_create(fd, p.uid, p.pid, role == PEER_WRITER && !readers_only))
		refuse(fd, RPC_REFUSED, "out of memory");
}

static int spare_open(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Without a free descriptor the connection would wait and wake the loop for ever.
static void accept_without_fd(int listen_fd)
{
	close(spare_fd);
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		refuse(fd, RPC_REFUSED, "the daemon has no free descriptor, raise its limit (LimitNOFILE=)");
	spare_fd = spare_open();
	log_warn("control socket: no free descriptor for a client");
}

static void on_connect(int fd, void *arg)
{
	struct listener *l = arg;
	int client_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client_fd >= 0)
		admit(client_fd, l == &reader_listener);
	else if (errno == EMFILE || errno == ENFILE)
		accept_without_fd(fd);
}

static int connect_error(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = fd < 0 ? errno : connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? errno : 0;

	if (fd >= 0)
		close(fd);
	return rc;
}

// Removes what a daemon that was killed left behind.
static int stale_remove(const struct sockaddr_un *address, struct err *e)
{
	const char *path = address->sun_path;
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0
				       : err_set(e, -errno, "control socket %s: %s", path, err_name(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST,
			       "control socket %s: another kind of file is in its place, remove it", path);
	if (connect_error(address) != ECONNREFUSED)
		return err_set(
		    e, -EADDRINUSE,
		    "control socket %s: another evswitchd answers on it; stop it or use another --run-dir",
		    path);
	if (unlink(path) != 0)
		return err_set(e, -errno, "control socket %s: cannot remove the stale one: %s", path,
			       err_name(errno));
	return 0;
}

// Nobody can connect before listen(), so the rights are set in time.
static int rights_set(const char *path, gid_t gid, struct err *e)
{
	mode_t mode = 0600;

	if (gid != PEER_NO_GROUP) {
		if (chown(path, (uid_t)-1, gid) == 0)
			mode = 0660;
		else
			log_warn(
			    "control socket %s: cannot give it to group %u, only user %u can connect: %s",
			    path, gid, geteuid(), err_name(errno));
	}
	if (chmod(path, mode) != 0)
		return err_set(e, -errno, "control socket %s: cannot set its rights: %s", path,
			       err_name(errno));
	return 0;
}

static void listener_close(struct listener *l)
{
	watch_stop(l->watch);
	if (l->fd >= 0) {
		close(l->fd);
		if (l->address.sun_path[0])
			unlink(l->address.sun_path);
	}
	*l = (struct listener){.fd = -1};
}

static int listener_make(struct listener *l, const struct sockaddr_un *address, gid_t gid, struct err *e)
{
	const char *path = address->sun_path;
	int rc = stale_remove(address, e);

	if (rc)
		return rc;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0 || bind(l->fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
		return err_set(e, -errno, "control socket %s: cannot make it: %s", path, err_name(errno));
	l->address = *address; // from here on it is ours to remove
	rc = rights_set(path, gid, e);
	if (rc == 0 && listen(l->fd, BACKLOG) != 0)
		rc = err_set(e, -errno, "control socket %s: %s", path, err_name(errno));
	return rc;
}

static int listener_open(struct listener *l, const char *run_dir, const char *name, gid_t gid, struct err *e)
{
	int *given = &inherited[l == &reader_listener];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t size = sizeof(address.sun_path);
	int rc = 0;

	if ((size_t)snprintf(address.sun_path, size, "%s/%s", run_dir, name) >= size)
		return err_set(
		    e, -ENAMETOOLONG,
		    "control socket %s/%s: the path is longer than %zu bytes, use a shorter --run-dir",
		    run_dir, name, size - 1);
	if (*given >= 0)
		*l = (struct listener){.fd = *given, .address = address};
	else
		rc = listener_make(l, &address, gid, e);
	*given = -1;
	if (rc == 0 && !(l->watch = watch_start("control socket", l->fd, on_connect, l)))
		rc = err_set(e, -ENOMEM, "control socket %s: out of memory", address.sun_path);
	if (rc)
		listener_close(l);
	return rc;
}

static void stalls_check(void *arg)
{
	uint64_t now = time_ns();
	struct client *next;

	(void)arg;
	for (struct client *c = client_list; c; c = next) {
		next = c->next;
		client_check_stall(c, now);
	}
}

int server_start(const char *run_dir, struct err *e)
{
	write_gid = group_find(WRITE_GROUP);
	read_gid = group_find(READ_GROUP);
	int rc = listener_open(&main_listener, run_dir, "control.sock", write_gid, e);
	if (rc == 0 && read_gid != PEER_NO_GROUP)
		rc = listener_open(&reader_listener, run_dir, "control-ro.sock", read_gid, e);
	if (rc == 0) {
		spare_fd = spare_open();
		stall_timer = timer_start("slow readers", STALL_US, STALL_US, stalls_check, NULL);
		if (spare_fd < 0 || !stall_timer)
			rc = err_set(e, -ENOMEM, "control socket: out of memory or descriptors");
	}
	if (rc)
		server_stop();
	return rc;
}

unsigned server_listeners(int *fds)
{
	unsigned n = 0;

	fds[n++] = main_listener.fd;
	if (reader_listener.fd >= 0)
		fds[n++] = reader_listener.fd;
	return n;
}

void server_deafen(void)
{
	watch_stop(main_listener.watch);
	watch_stop(reader_listener.watch);
	main_listener.watch = reader_listener.watch = NULL;
}

void server_inherit(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n && i < 2; i++)
		inherited[i] = fds[i];
}

void server_flush(void)
{
	for (struct client *c = client_list; c; c = c->next)
		client_send(c);
}

void server_stop(void)
{
	timer_stop(stall_timer);
	stall_timer = NULL;
	listener_close(&main_listener);
	listener_close(&reader_listener);
	server_flush();
	while (client_list)
		client_close(client_list);
	if (spare_fd >= 0)
		close(spare_fd);
	spare_fd = -1;
}
