// Lists ports for `show` methods. A thousand ports take longer than one turn of the loop may. Control thread.
#include "port_list.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "ctrl/api/err.h"
#include "ctrl/api/method.h"
#include "port.h"

#define ROWS_PER_STEP 64

struct port_list {
	void (*row)(struct request *rq, const struct port *p, bool named);
	uint32_t at;
};

static int list_step(struct request *rq, void *state, struct err *e)
{
	struct port_list *l = state;

	(void)e;
	for (int rows = 0; l->at < MAX_PORTS && rows < ROWS_PER_STEP; l->at++) {
		const struct port *p = port_at(l->at);

		if (p == NULL || p->leaving)
			continue;
		l->row(rq, p, false);
		rows++;
	}
	return l->at < MAX_PORTS;
}

int port_list(struct request *rq, const char *name,
	      void (*row)(struct request *rq, const struct port *p, bool named), struct err *e)
{
	if (name != NULL) {
		const struct port *p = port_find(name);

		if (p == NULL)
			return err_set(e, -ENOENT, "port %s: no such port", name);
		row(rq, p, true);
		return 0;
	}
	struct port_list *l = malloc(sizeof(*l));

	if (l == NULL)
		return err_set(e, -ENOMEM, "port: out of memory");
	*l = (struct port_list){.row = row};
	return rq_more(rq, list_step, l, free);
}
