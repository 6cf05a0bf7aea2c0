// The conversation of an upgrade. See handover.h.
#include "ctrl/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "ctrl/api/timer.h"
#include "ctrl/must.h"

#define MAX_BYTES (64 << 10)
#define RETRY_US  500

struct unsaid {
	struct unsaid *next;
	char *text;
	int fds[HANDOVER_FDS];
	unsigned n_fds;
};

struct handover {
	int fd;
	void (*heard)(const json_t *m, const int *fds, unsigned n_fds, void *arg);
	void *arg;
	struct watch *watch;
	struct timer *retry;
	struct unsaid *first, **last;
};

const char *handover_word_of(const json_t *m)
{
	const char *word = json_string_value(json_object_get(m, "word"));

	return word ? word : "";
}

static int packet_send(int fd, const char *text, const int *fds, unsigned n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(HANDOVER_FDS * sizeof(int))] = {0};
	struct iovec v = {(char *)text, strlen(text)};
	struct msghdr h = {.msg_iov = &v, .msg_iovlen = 1};

	if (n_fds) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

// -EAGAIN: there is none; -EPIPE: nor will there be.
static int packet_receive(int fd, json_t **m, int *fds, unsigned *n_fds)
{
	static char bytes[MAX_BYTES];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
	struct iovec v = {bytes, sizeof(bytes)};
	struct msghdr h = {
	    .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*n_fds = 0;
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EPIPE;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
	}
	*m = json_loadb(bytes, n, 0, NULL);
	return *m ? 0 : -EPROTO;
}

static void unsaid_free(struct unsaid *u)
{
	for (unsigned i = 0; i < u->n_fds; i++)
		close(u->fds[i]);
	free(u->text);
	free(u);
}

static void unsaid_send(void *arg)
{
	struct handover *h = arg;

	h->retry = NULL;
	while (h->first) {
		struct unsaid *u = h->first;

		int rc = packet_send(h->fd, u->text, u->fds, u->n_fds);

		// An end that is gone is heard of by reading.
		if (rc < 0 && rc != -EAGAIN && rc != -EPIPE)
			log_error("upgrade: cannot say %.60s: %s", u->text, err_name(-rc));
		if (rc == -EAGAIN) {
			h->retry = must(timer_start("hand-over", RETRY_US, 0, unsaid_send, h));
			return;
		}
		h->first = u->next;
		if (!h->first)
			h->last = &h->first;
		unsaid_free(u);
	}
}

void handover_say(struct handover *h, json_t *m, const int *fds, unsigned n_fds)
{
	struct unsaid *u = must(calloc(1, sizeof(*u)));

	u->text = must(json_dumps(must(m), JSON_COMPACT));
	json_decref(m);
	for (unsigned i = 0; i < n_fds; i++)
		u->fds[u->n_fds++] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	*h->last = u;
	h->last = &u->next;
	if (!h->retry)
		unsaid_send(h);
}

void handover_word(struct handover *h, const char *word)
{
	handover_say(h, json_pack("{s:s}", "word", word), NULL, 0);
}

bool handover_is_busy(const struct handover *h)
{
	return h->first != NULL;
}

// One at a time: what is heard may take long.
static void readable(int fd, void *arg)
{
	struct handover *h = arg;
	int fds[HANDOVER_FDS];
	unsigned n_fds;
	json_t *m = NULL;
	int rc = packet_receive(fd, &m, fds, &n_fds);

	if (rc == -EAGAIN)
		return;
	if (rc < 0) {
		watch_stop(h->watch);
		h->watch = NULL;
	}
	h->heard(m, fds, n_fds, h->arg);
	json_decref(m);
}

struct handover *handover_open(int fd,
			       void (*heard)(const json_t *m, const int *fds, unsigned n_fds, void *arg),
			       void *arg)
{
	struct handover *h = must(calloc(1, sizeof(*h)));

	*h = (struct handover){.fd = fd, .heard = heard, .arg = arg, .last = &h->first};
	h->watch = must(watch_start("hand-over", fd, readable, h));
	return h;
}

void handover_close(struct handover *h)
{
	if (!h)
		return;
	watch_stop(h->watch);
	timer_stop(h->retry);
	for (struct unsaid *u = h->first, *next; u; u = next) {
		next = u->next;
		unsaid_free(u);
	}
	close(h->fd);
	free(h);
}

json_t *handover_wait(int fd, json_t *m, int wait_ms, struct err *e)
{
	char *text = must(json_dumps(must(m), JSON_COMPACT));
	struct pollfd p = {fd, POLLIN, 0};
	int fds[HANDOVER_FDS];
	unsigned n_fds;
	json_t *answer = NULL;
	int rc = packet_send(fd, text, NULL, 0);

	json_decref(m);
	free(text);
	if (rc == 0 && poll(&p, 1, wait_ms) == 1)
		rc = packet_receive(fd, &answer, fds, &n_fds);
	if (!answer)
		err_set(e, rc ? rc : -ETIMEDOUT,
			"upgrade: the switch process that is to be replaced does not answer");
	return answer;
}
