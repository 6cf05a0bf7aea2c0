// What a scripted test extension and its test share: the test's functions that it calls, and what it knows of the daemon.
//
// The test owns it, and gives its address in the extension's configuration: {"hooks": NUMBER}. It outlives the instance, and
// goes along to the next version.
#pragma once

#include <evswitch/extension.h>

struct hooks {
	// The test's; NULL = nothing happens. Called on the threads that the public header says.
	int (*port)(struct hooks *h, uint32_t step, const struct evs_port *port, struct evs_why *why);
	void (*flow_in)(struct hooks *h, const struct evs_flow *f, struct evs_answer *a);
	void (*flow_out)(struct hooks *h, const struct evs_flow *f, struct evs_answer *a);
	void (*packets_in)(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p,
			   uint32_t n);
	void (*packets_out)(struct hooks *h, const struct evs_call *c, struct evs_packet *const *p,
			    uint32_t n);
	int (*upgrade)(struct hooks *h, const char *version, struct evs_why *why);
	const char *name; // for what the test writes down
	// The extension's
	const struct evs_host *host;
	struct evs_instance *instance;
	const char *version; // of the newest instance
	uint32_t n_created, n_destroyed;
	uint32_t n_in, n_out;             // flow calls, but for traces
	uint32_t n_packets_in, n_packets; // packets in packet calls on the way in, and in both
};
