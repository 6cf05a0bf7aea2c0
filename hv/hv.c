// The hypervisor side's module: makes its port drivers known. Control thread.
#include "ctrl/api/module.h"
#include "tap.h"
#include "vhost.h"

static int hv_init(struct err *e)
{
	(void)e;
	port_driver_register(&vhost_driver);
	port_driver_register(&tap_driver);
	return 0;
}

const struct module hv_module = {.name = "hv", .init = hv_init};
