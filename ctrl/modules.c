// The table of modules, in the order in which they start.
//
// A new feature is one line in the table. Kinds of objects are opened in this order too.
#include "ctrl/modules.h"

#include <stddef.h>

extern const struct module config_module, doctor_module, dp_module, drop_module, event_module, ext_module,
    fdb_module, flow_module, hv_module, hypervisor_module, methods_module, port_module, queue_module,
    saved_module, switch_module, system_module, trace_module, vlan_module, worker_module;

// clang-format off
const struct module *const modules[] = {
	&dp_module,
	&hv_module,
	&switch_module,
	&port_module,
	&hypervisor_module,
	&queue_module,
	&vlan_module,
	&ext_module,
	&fdb_module,
	&drop_module,
	&flow_module,
	&worker_module,
	&trace_module,
	&config_module,
	&saved_module,
	&event_module,
	&system_module,
	&doctor_module,
	&methods_module,
	NULL,
};
// clang-format on

static void modules_fini_before(size_t n)
{
	while (n-- > 0)
		if (modules[n]->fini)
			modules[n]->fini();
}

int modules_init(struct err *e)
{
	for (size_t i = 0; modules[i]; i++) {
		if (modules[i]->init && modules[i]->init(e)) {
			modules_fini_before(i);
			return e->code;
		}
	}
	return 0;
}

void modules_fini(void)
{
	size_t n = 0;

	while (modules[n])
		n++;
	modules_fini_before(n);
}
