// The hypervisor side's module: makes its port drivers known, and leaves no dead sockets behind. Control thread.
#include <stdlib.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "ctrl/api/module.h"
#include "dp/port.h"
#include "hole.h"
#include "journal.h"
#include "sriov.h"
#include "tap.h"
#include "vhost.h"

// Without it guests with packed rings have to start their devices anew after a crash; that is no reason not to run.
static void journal_start(void)
{
	const char *dir = getenv("RUNTIME_DIRECTORY"); // set for DPDK, too
	struct err e = {0};

	if (dir != NULL && journal_open(dir, &e) != 0)
		log_warn("%s", e.text);
}

static int hv_init(struct err *e)
{
	journal_start();
	port_driver_register(&vhost_driver);
	port_driver_register(&tap_driver);
	bypass_driver_register(&sriov_driver);
	int rc = hole_init(e);

	return rc != 0 ? rc : vhost_init(e);
}

// Ports stay open at the end of the process, so that host interfaces outlive it; but nobody listens any more.
static void hv_fini(void)
{
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		if (p != NULL && p->open && p->conf.server)
			unlink(p->conf.socket);
	}
}

const struct module hv_module = {.name = "hv", .init = hv_init, .fini = hv_fini};
