// Tells watchers of ports. Control thread.
#include "port_watch.h"

#include <stddef.h>
#include <stdlib.h>

#define MAX_WATCHERS 4

static const struct port_watcher *watchers[MAX_WATCHERS];

void port_watch(const struct port_watcher *w)
{
	for (int i = 0; i < MAX_WATCHERS; i++) {
		if (watchers[i] == NULL || watchers[i] == w) {
			watchers[i] = w;
			return;
		}
	}
	abort();
}

int port_watch_adding(struct change *ch, struct port *p, struct err *e)
{
	for (int i = 0; i < MAX_WATCHERS && watchers[i] != NULL; i++) {
		int ret = watchers[i]->adding != NULL ? watchers[i]->adding(ch, p, e) : 0;

		if (ret < 0)
			return ret;
	}
	return 0;
}

void port_watch_removed(struct port *p, uint16_t sw)
{
	for (int i = 0; i < MAX_WATCHERS && watchers[i] != NULL; i++)
		if (watchers[i]->removed != NULL)
			watchers[i]->removed(p, sw);
}

void port_watch_updated(struct port *p)
{
	for (int i = 0; i < MAX_WATCHERS && watchers[i] != NULL; i++)
		if (watchers[i]->updated != NULL)
			watchers[i]->updated(p);
}

void port_watch_up(struct port *p, bool up)
{
	for (int i = 0; i < MAX_WATCHERS && watchers[i] != NULL; i++)
		if (watchers[i]->up != NULL)
			watchers[i]->up(p, up);
}
