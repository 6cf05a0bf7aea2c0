// Connections of all devices. A device whose back end leaves is parked, and set up again when one is there:
// its rings go on where they were. Control thread.

#include "tools/bench/front/front.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <x86intrin.h>

static int say(const struct device *d, const char *what, const char *why)
{
	fprintf(stderr, "bench-front: guest %u on %s: %s%s\n", d->index, d->path, what, why);
	return -1;
}

static int socket_open(const struct device *d, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(a->sun_path, d->path, strlen(d->path));
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int device_listen(struct device *d)
{
	struct sockaddr_un a;
	d->listener = socket_open(d, &a);
	unlink(d->path);
	if (d->listener >= 0 && bind(d->listener, (void *)&a, sizeof(a)) == 0 && listen(d->listener, 1) == 0)
		return 0;
	say(d, "cannot listen: ", strerror(errno));
	return -EADDRNOTAVAIL;
}

static int device_connect(const struct device *d)
{
	struct sockaddr_un a;
	int fd = socket_open(d, &a);
	if (fd >= 0 && connect(fd, (void *)&a, sizeof(a)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void park(struct load *l, struct device *d)
{
	d->want_parked = true;
	atomic_fetch_add(&l->changes, 1);
	while (!d->parked)
		usleep(100);
}

static void device_leave(struct load *l, struct device *d)
{
	park(l, d);
	close(d->fd);
	d->fd = -1;
	d->connected = false;
	l->n_connected--;
}

// With d->fd connected. A back end that goes away in between is looked for again.
static int device_enter(struct load *l, struct device *d)
{
	char why[160];
	int ret = vhost_set_up(d, l->conf, why, sizeof(why));
	if (ret == 0) {
		epoll_ctl(l->set, EPOLL_CTL_ADD, d->fd, &(struct epoll_event){EPOLLIN, {.u32 = d->index}});
		l->n_connected++;
		d->connected = true;
		d->want_parked = false;
		atomic_fetch_add(&l->changes, 1);
		return 0;
	}
	close(d->fd);
	d->fd = -1;
	if (ret != -EPIPE)
		say(d, why, "");
	return ret == -EPIPE ? 0 : ret;
}

int control_open(struct load *l)
{
	int ret = 0;
	l->set = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; l->conf->server && i < l->n_devices && ret == 0; i++)
		ret = device_listen(&l->devices[i]);
	return ret;
}

static int device_poll(struct load *l, struct device *d, short events)
{
	if (d->connected) {
		if (events)
			device_leave(l, d);
		return 0;
	}
	if (!l->conf->server)
		d->fd = device_connect(d);
	else if (events)
		d->fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
	return d->fd < 0 ? 0 : device_enter(l, d);
}

static void hang_up(struct load *l)
{
	uint64_t now = __rdtsc();
	struct device *d = &l->devices[l->n_hung_up % l->n_devices];
	if (l->phase != PHASE_RUN || now < l->hang_up_tsc || !d->connected)
		return;
	device_leave(l, d);
	l->n_hung_up++;
	l->hang_up_tsc = now + l->conf->hang_up_ms * l->tsc_hz / 1000;
}

// All are connected: then looking at each of a thousand would take time from the load.
static int connected_poll(struct load *l, int timeout_ms)
{
	struct epoll_event ready[32];
	int ret = 0, n = epoll_wait(l->set, ready, 32, timeout_ms);
	for (int i = 0; i < n && ret == 0; i++)
		ret = device_poll(l, &l->devices[ready[i].data.u32], POLLIN);
	return ret ? ret : (int)l->n_connected;
}

int control_poll(struct load *l, int timeout_ms)
{
	if (l->conf->hang_up_ms)
		hang_up(l);
	if (l->n_connected == l->n_devices)
		return connected_poll(l, timeout_ms);
	struct pollfd *fds = calloc(l->n_devices, sizeof(*fds));
	int ret = 0;
	if (!fds)
		return -ENOMEM;
	for (unsigned i = 0; i < l->n_devices; i++) {
		const struct device *d = &l->devices[i];
		fds[i] = (struct pollfd){d->connected ? d->fd : d->listener, POLLIN};
	}
	poll(fds, l->n_devices, timeout_ms);
	for (unsigned i = 0; i < l->n_devices && ret == 0; i++)
		ret = device_poll(l, &l->devices[i], fds[i].revents);
	free(fds);
	return ret ? ret : (int)l->n_connected;
}

void control_close(struct load *l)
{
	for (unsigned i = 0; l->devices && i < l->n_devices; i++) {
		struct device *d = &l->devices[i];
		if (d->fd >= 0)
			close(d->fd);
		if (d->listener >= 0) {
			close(d->listener);
			unlink(d->path);
		}
	}
}
