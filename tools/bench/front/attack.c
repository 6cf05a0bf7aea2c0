// Runs one attack again and again, beside a feeder that is well-behaved. Its own process, two threads.

#include "tools/bench/front/attack.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	DULL_ROUNDS = 3,
	FEED_BURST = 8,
	ENTER_S = 3,
	ROUND_US = 1000
}; // a flood that is too much for a guest that behaves proves nothing

static const struct attack_table *const tables[] = {&attacks_message, &attacks_memory, &attacks_life,
						    &attacks_chain,   &attacks_ring,   &attacks_header};

enum { N_TABLES = sizeof(tables) / sizeof(tables[0]) };

static atomic_bool over;

static const struct attack *attack_find(const char *name)
{
	for (unsigned t = 0; t < N_TABLES; t++)
		for (unsigned i = 0; i < tables[t]->n; i++)
			if (!strcmp(tables[t]->rows[i].name, name))
				return &tables[t]->rows[i];
	return NULL;
}

bool attack_is(const char *name)
{
	return attack_find(name) != NULL;
}

void attacks_list(void)
{
	static const char *const rings[] = {[ON_SPLIT] = "split", [ON_PACKED] = "packed", [ON_BOTH] = "both"};
	for (unsigned t = 0; t < N_TABLES; t++)
		for (unsigned i = 0; i < tables[t]->n; i++) {
			const struct attack *a = &tables[t]->rows[i];
			printf("%-22s %-6s %s\n", a->name, rings[a->rings], a->text);
		}
}

static void *feed(void *arg)
{
	struct foe *f = arg;
	while (!over) {
		if (f->fd >= 0 && (foe_is_gone(f) || f->dull > DULL_ROUNDS))
			foe_leave(f);
		if (f->fd < 0 && foe_enter(f, AT_RUNNING) == 0)
			foe_fill(f, 128);
		if (f->fd >= 0) {
			foe_send(f, FEED_BURST);
			foe_wait(f, FOE_TX, 100);
			foe_look(f);
		}
		usleep(1000);
	}
	return NULL;
}

static void attack_rounds(struct foe *f, double seconds)
{
	f->end_s = foe_now() + ENTER_S;
	while (foe_enter(f, f->attack->from) != 0 && foe_now() < f->end_s)
		usleep(2000);
	f->end_s = foe_now() + seconds;
	while (foe_now() < f->end_s) {
		if (f->fd < 0 && foe_enter(f, f->attack->from) != 0) {
			f->refused++;
			usleep(2000);
			continue;
		}
		f->attack->run(f);
		f->rounds++;
		if (f->attack->from == AT_RUNNING)
			usleep(ROUND_US);
		if (f->fd >= 0 && foe_is_gone(f)) {
			f->closed++;
			foe_leave(f);
		} else if (f->dull >= DULL_ROUNDS) {
			foe_leave(f);
		}
	}
}

int attack_run(const struct conf *c)
{
	struct foe feeder = {.path = c->sockets[c->n_sockets - 1], .server = c->server, .random = 1};
	struct foe f = {.attack = attack_find(c->attack),
			.path = c->sockets[0],
			.server = c->server,
			.packed = c->packed,
			.random = c->seed * 0x9e3779b97f4a7c15ull | 1};
	pthread_t thread;
	if (!(f.attack->rings & (c->packed ? ON_PACKED : ON_SPLIT))) {
		fprintf(stderr, "bench-front: --attack %s is not of %s rings\n", c->attack,
			c->packed ? "packed" : "split");
		return -1;
	}
	signal(SIGPIPE, SIG_IGN);
	bool feeds = c->n_sockets == 2;
	if (foe_open(&f) != 0 || (feeds && foe_open(&feeder) != 0))
		return -1;
	f.feeder = feeds ? &feeder : NULL;
	if (feeds && pthread_create(&thread, NULL, feed, &feeder) != 0)
		return -1;
	attack_rounds(&f, c->seconds ? c->seconds : 1);
	over = true;
	if (feeds) {
		pthread_join(thread, NULL);
		foe_close(&feeder);
	}
	foe_close(&f);
	printf("{\"event\":\"attack\",\"name\":\"%s\",\"rounds\":%lu,\"closed\":%lu,\"sent\":%lu,\"stalled\":"
	       "%lu,"
	       "\"refused\":%lu,\"fed\":%lu,\"seen\":%lu,\"forged\":%lu}\n",
	       c->attack, f.rounds, f.closed, f.sent, f.stalled, f.refused, feeder.sent, feeder.seen,
	       feeder.forged);
	return 0;
}
