// The data plane's module: tells the change engine how snapshots are made and used. Control thread.
#include "ctrl/api/module.h"
#include "ethdev.h"
#include "metrics.h"
#include "snap.h"

static int dp_init(struct err *e)
{
	static const struct change_target target = {snap_build, snap_discard, snap_publish, snap_grace_over};

	(void)e;
	change_target_set(&target);
	port_driver_register(&afpacket_driver);
	port_driver_register(&ethdev_driver);
	return 0;
}

const struct module dp_module = {.name = "dp", .init = dp_init, .metrics = dp_metrics};
