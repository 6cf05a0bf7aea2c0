// Rules of steer: what a packet must be like, and where it then goes. Made from the configuration's JSON text once, and
// const from then on but for the ports' numbers, which come and go with the ports.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <evswitch/extension.h>

#define MAX_RULES 1024

enum rule_to { TO_PORTS, TO_LEARN, TO_FLOOD, TO_DROP };

struct rule_mac {
	uint8_t mac[6], mask[6];
};

struct rule_prefix {
	uint8_t version; // 4, 6; 0 = any packet
	uint8_t bits;
	uint8_t address[16];
};

struct rule_port {
	char *name;             // NULL = any
	_Atomic uint32_t id;    // EVS_NO_PORT = it is not there; writer: control, workers: r
	_Atomic bool connected; // the same
};

struct rule {
	struct rule_port from;
	struct rule_mac src, dst;
	int vlan;  // -1 = any
	int type;  // behind the tag, -1 = any
	int proto; // of IP, -1 = any
	struct rule_prefix ip_src, ip_dst;
	enum rule_to to, absent; // where to; and if none of its ports is there
	struct rule_port ports[EVS_MAX_DESTINATIONS];
	uint32_t n_ports;
};

struct rules {
	uint32_t n;
	struct rule list[];
};

// From the text of {"rules": [{…}, …]}; NULL, with a sentence in `why`, if it is not right.
struct rules *rules_create(const char *config, struct evs_why *why);
void rules_destroy(struct rules *r); // NULL is accepted
// [worker] The first rule that this packet is like; NULL.
const struct rule *rules_find(const struct rules *r, const struct evs_flow *f);
