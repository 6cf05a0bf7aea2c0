// Guests by vhost-user, notification: what a worker waits for while a guest's transmit ring is silent.
//
// Each such ring has an epoll set, `watch`, which is the same while the port is open. In it are our own duplicate of the
// guest's present kick descriptor, so that what the library closes is never in a set, and the port's bell, which
// rings whenever rings come or go: then a worker looks again, and asks the guest again. Kicks are edges and are never
// read: a guest may give us any kind of descriptor. Jobs thread (open, close), vhost thread.
#include "vhost.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_vhost.h>

static int watch_add(int watch, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(watch, EPOLL_CTL_ADD, fd, &ev);
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

// Without descriptors left the rings are polled.
void vhost_kick_open(struct vhost *v)
{
	v->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (uint16_t i = 0; i < 2 * v->n_queues; i++) {
		struct vhost_ring *r = &v->rings[i];

		r->kick = r->watch = -1;
		if (i % 2 == 0)
			continue;
		r->watch = epoll_create1(EPOLL_CLOEXEC);
		if (watch_add(r->watch, v->bell) < 0) {
			fd_close(r->watch);
			r->watch = -1;
		}
	}
}

void vhost_kick_close(struct vhost *v)
{
	for (uint16_t i = 0; i < 2 * v->n_queues; i++) {
		fd_close(atomic_load(&v->rings[i].kick));
		fd_close(v->rings[i].watch);
	}
	fd_close(v->bell);
}

void vhost_kick_follow(struct vhost_ring *r, int vid)
{
	struct rte_vhost_vring vring;
	int fd = -1;

	if (atomic_load(&r->kick) >= 0)
		return;
	if (rte_vhost_get_vhost_vring(vid, r->index, &vring) == 0 && vring.kickfd >= 0)
		fd = fcntl(vring.kickfd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && watch_add(r->watch, fd) < 0) {
		close(fd);
		fd = -1;
	}
	atomic_store(&r->kick, fd);
}

// The guest has the descriptor, too, so closing ours would leave it in the set.
void vhost_kick_forget(struct vhost_ring *r)
{
	int fd = atomic_exchange(&r->kick, -1);

	if (fd < 0)
		return;
	epoll_ctl(r->watch, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

void vhost_kick_bell(struct vhost *v)
{
	eventfd_write(v->bell, 1);
}
