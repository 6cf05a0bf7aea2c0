// Control methods of compiled flows: listed while their workers go on.
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/module.h"
#include "ctrl/api/value.h"
#include "flow.h"
#include "flow_kind.h"
#include "port.h"

#define LOOKS_PER_STEP 512 // flows, so that a step stays far below a millisecond
#define LOOKS_PER_ROW  16  // a row that is sent counts as so many

static const struct param show_params[] = {
    {"port", PARAM_NAME, PARAM_POSITIONAL, "only flows of packets that come from this port"},
    {"to", PARAM_NAME, 0, "only flows that are delivered to this port"},
    {"mac", PARAM_MAC, 0, "only flows from or to this address"},
    {"vlan", PARAM_INT, 0, "only flows in this VLAN, 0 = untagged", .min = 0, .max = 4094},
    {"limit", PARAM_INT, 0, "at most so many", .def = "1000", .min = 1, .max = 1 << 24},
    {0}};
static const struct column show_columns[] = {{"port", "where its packets come from", NULL},
					     {"queue", "receive queue", NULL},
					     {"vlan", "VLAN, 0 = untagged frames", NULL},
					     {"src", "source address", NULL},
					     {"dst", "destination address", NULL},
					     {"type", "Ethernet type", NULL},
					     {"l3", "addresses and ports, where they matter", NULL},
					     {"verdict", "where the packets go", NULL},
					     {"packets", "packets that it decided", "packets"},
					     {"bytes", "their bytes", "bytes"},
					     {0}};
static const struct param stats_params[] = {
    {"port", PARAM_NAME, PARAM_POSITIONAL, "only queues of this port"}, {0}};
static const struct column stats_columns[] = {
    {"port", "the port", NULL},
    {"queue", "receive queue", NULL},
    {"flows", "flows that the table holds", NULL},
    {"room", "flows it has room for", NULL},
    {"actions", "different decisions that these flows share", NULL},
    {"hits", "packets decided by a flow", "packets"},
    {"misses", "packets without a flow", "packets"},
    {"rechecked", "decisions looked at again as the configuration changed", NULL},
    {"rewalked", "decided anew as something had changed", "packets"},
    {"expired", "given back unused", NULL},
    {"evicted", "given back to make room", NULL},
    {"no_room", "not kept as the table was full", NULL},
    {0}};

struct flow_search {
	uint16_t port, queue; // where the listing stands
	uint32_t at;
	int64_t left;
	bool one_port;
	uint16_t to; // NO_PORT = all
	bool has_mac;
	uint8_t mac[6];
	int vlan; // -1 = all
};

static bool matches(const struct flow_search *s, const struct flow_view *v)
{
	bool to = s->to == NO_PORT;

	for (uint8_t i = 0; !v->plan.flood && i < v->plan.n_dests; i++)
		to = to || v->plan.dests[i].port == s->to;
	return to && (s->vlan < 0 || s->vlan == v->vid) &&
	       (!s->has_mac || memcmp(v->dst, s->mac, 6) == 0 || memcmp(v->src, s->mac, 6) == 0);
}

static void l3_text(const struct flow_view *v, char *out, size_t n)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	int af = v->ip_version == 6 ? AF_INET6 : AF_INET;

	out[0] = '\0';
	if (v->shape == FLOW_L2 || v->ip_version == 0)
		return;
	inet_ntop(af, v->ip_src, a, sizeof(a));
	inet_ntop(af, v->ip_dst, b, sizeof(b));
	if (v->shape == FLOW_L4)
		snprintf(out, n, "%s:%u>%s:%u protocol %u", a, v->sport, b, v->dport, v->proto);
	else
		snprintf(out, n, "%s>%s protocol %u", a, b, v->proto);
}

static void verdict_text(const struct flow_view *v, char *out, size_t n)
{
	size_t len = 0;

	if (v->again || v->plan.flood) {
		snprintf(out, n, "%s", v->again ? "look again" : "every port of the VLAN");
		return;
	}
	if (v->plan.drop != DROP_NONE || v->plan.again != 0) {
		snprintf(out, n, "%s",
			 v->plan.again != 0 ? "each packet is decided by itself" : drop_text(v->plan.drop));
		return;
	}
	for (uint8_t i = 0; i < v->plan.n_dests && len < n; i++) {
		const struct port *p = port_at(v->plan.dests[i].port);

		len += snprintf(out + len, n - len, "%s%s", i > 0 ? "," : "", p != NULL ? p->conf.name : "?");
	}
}

static void flow_row(struct request *rq, const struct port *p, uint16_t queue, const struct flow_view *v)
{
	char src[VALUE_MAC_LEN], dst[VALUE_MAC_LEN], type[8], l3[128], verdict[600];

	value_print_mac(v->src, src);
	value_print_mac(v->dst, dst);
	snprintf(type, sizeof(type), "0x%04x", v->ether_type);
	l3_text(v, l3, sizeof(l3));
	verdict_text(v, verdict, sizeof(verdict));
	rq_row(rq, json_pack("{s:s, s:i, s:i, s:s, s:s, s:s, s:s*, s:s, s:I, s:I}", "port", p->conf.name,
			     "queue", queue, "vlan", v->vid, "src", src, "dst", dst, "type", type, "l3",
			     l3[0] ? l3 : NULL, "verdict", verdict, "packets", (json_int_t)v->packets,
			     "bytes", (json_int_t)v->bytes));
}

// The table that the listing stands in; NULL at the end.
static const struct port *search_port(struct flow_search *s)
{
	for (; s->port < MAX_PORTS; s->port++, s->queue = 0) {
		const struct port *p = port_at(s->port);

		if (p != NULL && !p->leaving && s->queue < p->conf.n_queues)
			return p;
		if (s->one_port)
			return NULL;
	}
	return NULL;
}

static int show_step(struct request *rq, void *state, struct err *e)
{
	struct flow_search *s = state;
	struct flow_view v;

	(void)e;
	for (int looked = 0; looked < LOOKS_PER_STEP; looked++) {
		const struct port *p = search_port(s);

		if (p == NULL || s->left == 0)
			return 0;
		if (!flow_next(p->rxqs[s->queue].flows, &s->at, &v)) {
			s->queue++;
			s->at = 0;
		} else if (matches(s, &v)) {
			flow_row(rq, p, s->queue, &v);
			s->left--;
			looked += LOOKS_PER_ROW - 1;
		}
	}
	return 1;
}

static int port_param(struct request *rq, const char *key, uint16_t *index, struct err *e)
{
	const char *name = rq_str(rq, key);
	const struct port *p = name != NULL ? port_find(name) : NULL;

	if (name != NULL && p == NULL)
		return err_set(e, -ENOENT, "port %s: no such port", name);
	if (p != NULL)
		*index = p->index;
	return 0;
}

static int flow_show(struct request *rq, struct err *e)
{
	struct flow_search *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set(e, -ENOMEM, "flow: out of memory");
	s->to = NO_PORT;
	s->left = rq_int(rq, "limit");
	s->vlan = rq_has(rq, "vlan") ? (int)rq_int(rq, "vlan") : -1;
	s->one_port = rq_has(rq, "port");
	s->has_mac = rq_has(rq, "mac") && value_parse_mac(rq_str(rq, "mac"), s->mac) == 0;
	if (port_param(rq, "port", &s->port, e) < 0 || port_param(rq, "to", &s->to, e) < 0) {
		free(s);
		return e->code;
	}
	return rq_more(rq, show_step, s, free);
}

static void stats_row(struct request *rq, const struct port *p, uint16_t queue)
{
	const struct flow_table *t = p->rxqs[queue].flows;
	struct flow_stats n;

	flow_stats(t, &n);
	rq_row(rq,
	       json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "port", p->conf.name,
			 "queue", queue, "flows", (json_int_t)flow_count(t), "room", (json_int_t)flow_size(t),
			 "actions", (json_int_t)flow_actions(t), "hits", (json_int_t)n.hits, "misses",
			 (json_int_t)n.misses, "rechecked", (json_int_t)n.rechecked, "rewalked",
			 (json_int_t)n.rewalked, "expired", (json_int_t)n.expired, "evicted",
			 (json_int_t)n.evicted, "no_room", (json_int_t)n.no_room));
}

static int flow_stats_show(struct request *rq, struct err *e)
{
	uint16_t only = NO_PORT;

	if (port_param(rq, "port", &only, e) < 0)
		return e->code;
	for (uint16_t i = 0; i < MAX_PORTS; i++) {
		const struct port *p = port_at(i);

		for (uint16_t q = 0; p != NULL && !p->leaving && q < p->conf.n_queues; q++)
			if (only == NO_PORT || only == i)
				stats_row(rq, p, q);
	}
	return 0;
}

static const struct method methods[] = {
    {"flow.show", "list compiled flows", show_params, show_columns, METHOD_READ, flow_show},
    {"flow.stats", "show how full flow tables are and what they save", stats_params, stats_columns,
     METHOD_READ, flow_stats_show},
    {0}};

const struct module flow_module = {.name = "flow", .init = flow_init, .fini = flow_fini, .methods = methods};
