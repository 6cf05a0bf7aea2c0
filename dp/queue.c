// Receive queues and their workers: places, hand-over, and the configured kind "queue". See queue.h. Control thread.
#include "queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/err.h"
#include "ctrl/api/log.h"
#include "queue_kind.h"
#include "worker.h"

static bool worker_stays(uint16_t index)
{
	const struct worker *w = worker_at(index);

	return w != NULL && !w->leaving;
}

uint16_t queue_place(uint32_t k)
{
	uint16_t stay[MAX_WORKERS], n = 0;

	for (uint16_t i = 0; i < workers_n(); i++)
		if (worker_stays(i))
			stay[n++] = i;
	return n > 0 ? stay[k % n] : 0;
}

// Ports that are being deleted keep their queues where they are: no snapshot lists them any more.
static void queues_each(void (*fn)(struct rxq *q, uint16_t worker), uint16_t worker)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		struct port *p = port_at(i);

		for (uint16_t q = 0; p != NULL && !p->leaving && q < p->conf.n_queues; q++)
			fn(&p->rxqs[q], worker);
	}
}

static void leave(struct rxq *q, uint16_t worker)
{
	if (q->worker == worker)
		q->worker = queue_place(q->port_index + q->id);
}

void queues_leave(uint16_t worker)
{
	queues_each(leave, worker);
}

static bool claim(const char *name, const json_t *conf, void *arg)
{
	const uint16_t *worker = arg;
	struct rxq *q = queue_find(name);

	if (q != NULL && json_integer_value(json_object_get(conf, "worker")) == *worker)
		q->worker = *worker;
	return true;
}

void queues_claim(uint16_t worker)
{
	conf_each(NULL, "queue", claim, &worker);
}

static void take_back(struct rxq *q, uint16_t worker)
{
	if (q->worker == worker || q->owner == worker)
		q->worker = q->owner;
}

void queues_take_back(uint16_t worker)
{
	queues_each(take_back, worker);
}

static void hand_over(struct rxq *q, uint16_t worker)
{
	(void)worker;
	if (q->owner != q->worker)
		atomic_store_explicit(&q->owner, q->worker, memory_order_release);
}

void queues_hand_over(void *arg)
{
	(void)arg;
	queues_each(hand_over, 0);
}

// Names: the port's, a dot, the number

void queue_name(const struct rxq *q, char out[QUEUE_NAME_SIZE])
{
	snprintf(out, QUEUE_NAME_SIZE, "%s.%u", q->port->conf.name, q->id);
}

// False if the name is not one that queue_name() makes.
static bool name_split(const char *name, char port[PORT_NAME_SIZE], long *id)
{
	const char *dot = strrchr(name, '.');
	char again[QUEUE_NAME_SIZE];

	if (dot == NULL || dot - name >= PORT_NAME_SIZE)
		return false;
	snprintf(port, PORT_NAME_SIZE, "%.*s", (int)(dot - name), name);
	*id = strtol(dot + 1, NULL, 10);
	snprintf(again, sizeof(again), "%s.%ld", port, *id);
	return *id >= 0 && strcmp(name, again) == 0;
}

struct rxq *queue_find(const char *name)
{
	char port[PORT_NAME_SIZE];
	long id;
	struct port *p = name_split(name, port, &id) ? port_find(port) : NULL;

	return p != NULL && id < p->conf.n_queues ? &p->rxqs[id] : NULL;
}

// The kind

int queue_validate(const struct conf_view *target, const char *name, const json_t *conf, struct err *e)
{
	const char *of = json_string_value(json_object_get(conf, "port"));
	const json_t *row = conf_get(target, "port", of);
	char port[PORT_NAME_SIZE];
	long id, n = json_integer_value(json_object_get(row, "queues"));

	if (!name_split(name, port, &id) || strcmp(port, of) != 0)
		return err_add(e, -EINVAL, "queue %s: its name must be %s, a dot and a number", name, of);
	if (row != NULL && id >= n)
		return err_add(e, -EINVAL, "queue %s: port %s has %ld queue%s, numbered from 0", name, of, n,
			       n == 1 ? "" : "s");
	return 0;
}

struct move { // what an undo needs
	struct rxq *q;
	uint16_t from;
};

static void move_undo(void *arg)
{
	struct move *m = arg;

	m->q->worker = m->from;
	free(m);
}

static void move_close(void *arg)
{
	queues_hand_over(NULL);
	free(arg);
}

// A row that goes leaves the queue where it is.
int queue_open(struct change *ch, const char *name, const json_t *old, const json_t *now, struct err *e)
{
	struct rxq *q = queue_find(name);
	uint16_t to = json_integer_value(json_object_get(now, "worker"));

	(void)old;
	if (q == NULL || now == NULL)
		return 0;
	if (!worker_stays(to)) {
		log_warn("queue %s: worker %u is not there; worker %u polls it until it is", name, to,
			 q->worker);
		return 0;
	}
	struct move *m = malloc(sizeof(*m));

	if (m == NULL)
		return err_set(e, -ENOMEM, "queue %s: out of memory", name);
	*m = (struct move){q, q->worker};
	change_undo(ch, move_undo, m);
	change_close(ch, move_close, m);
	q->worker = to;
	return 0;
}
