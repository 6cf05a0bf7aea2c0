// `trace packet`: what would happen with a packet, stage by stage, by the same code that handles real ones.
//
// Nothing is sent, learned or counted. Control thread.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/module.h"
#include "ctrl/api/value.h"
#include "drop_detail.h"
#include "frame.h"
#include "parse.h"
#include "port.h"
#include "walk.h"

#define FRAME_SIZE (FRAME_MAX_MTU + 22) // with header and two tags

static const struct param packet_params[] = {
    {"port", PARAM_NAME, PARAM_REQUIRED, "the port that it would come from"},
    {"hex", PARAM_HEX, 0, "the frame, from its Ethernet header on; or the words below"},
    {"dst", PARAM_MAC, 0, "destination address"},
    {"src", PARAM_MAC, 0, "source address"},
    {"vlan", PARAM_INT, 0, "VLAN tag", .min = 0, .max = 4094},
    {"ip", PARAM_STRING, 0, "addresses, IPv4 or IPv6: 10.0.0.1>10.0.0.2"},
    {"tcp", PARAM_STRING, 0, "ports: 1024>80"},
    {"udp", PARAM_STRING, 0, "ports: 1024>53"},
    {0}};
static const struct column packet_columns[] = {{"stage", "where in the switch", NULL},
					       {"step", "what looked at it", NULL},
					       {"port", "destination looked at; none on ingress", NULL},
					       {"verdict", "pass, drop or deliver", NULL},
					       {"detail", "what was found, or why it is dropped", NULL},
					       {0}};

static int spec_ip(struct request *rq, struct frame_spec *s, struct err *e)
{
	const char *text = rq_str(rq, "ip");
	char a[VALUE_IP_LEN], b[VALUE_IP_LEN];

	s->has_ip = text != NULL;
	if (text == NULL)
		return 0;
	if (!frame_split(text, a, b, sizeof(a)) || value_parse_ip(a, &s->ip_src) < 0 ||
	    value_parse_ip(b, &s->ip_dst) < 0 || s->ip_src.family != s->ip_dst.family)
		return err_set(
		    e, -EINVAL,
		    "trace packet: ip %s is not two addresses of one family such as 10.0.0.1>10.0.0.2", text);
	return 0;
}

static int spec_ports(struct request *rq, const char *proto, uint8_t number, struct frame_spec *s,
		      struct err *e)
{
	const char *text = rq_str(rq, proto);
	char a[8], b[8];
	int64_t from, to;

	if (text == NULL)
		return 0;
	if (!s->has_ip || s->proto != 0)
		return err_set(e, -EINVAL, "trace packet: %s goes with ip, and tcp not with udp", proto);
	if (!frame_split(text, a, b, sizeof(a)) || value_parse_int(a, &from) < 0 ||
	    value_parse_int(b, &to) < 0 || from < 0 || from > 65535 || to < 0 || to > 65535)
		return err_set(e, -EINVAL, "trace packet: %s %s is not two ports such as 1024>80", proto,
			       text);
	s->proto = number;
	s->sport = from;
	s->dport = to;
	return 0;
}

// The frame's bytes from either form. Returns the length or -errno.
static int frame_from(struct request *rq, uint8_t *out, struct err *e)
{
	const char *hex = rq_str(rq, "hex"), *dst = rq_str(rq, "dst"), *src = rq_str(rq, "src");
	struct frame_spec s = {.tagged = rq_has(rq, "vlan"),
			       .vlan = rq_has(rq, "vlan") ? rq_int(rq, "vlan") : 0};

	if ((hex != NULL) == (dst != NULL || src != NULL))
		return err_set(e, -EINVAL, "trace packet: give either hex, or dst and src");
	if (hex != NULL) {
		int n = value_parse_hex(hex, out, FRAME_SIZE);

		return n >= 0 ? n
			      : err_set(e, -E2BIG, "trace packet: hex holds more than %d bytes", FRAME_SIZE);
	}
	if (dst == NULL || src == NULL)
		return err_set(e, -EINVAL, "trace packet: dst and src are both needed");
	value_parse_mac(dst, s.dst);
	value_parse_mac(src, s.src);
	if (spec_ip(rq, &s, e) < 0 || spec_ports(rq, "tcp", 6, &s, e) < 0 ||
	    spec_ports(rq, "udp", 17, &s, e) < 0)
		return e->code;
	return frame_build(&s, out, FRAME_SIZE);
}

static void row(struct request *rq, const char *stage, const char *step, const char *port,
		const char *verdict, const char *detail)
{
	rq_row(rq, json_pack("{s:s, s:s, s:s*, s:s, s:s}", "stage", stage, "step", step, "port", port,
			     "verdict", verdict, "detail", detail));
}

static void parse_row(struct request *rq, const struct pkt *p, enum drop drop)
{
	char text[96];
	int n = snprintf(text, sizeof(text), "%u bytes, type 0x%04x", p->len, p->ether_type);

	if (drop == DROP_NONE && p->ip_version != 0)
		snprintf(text + n, sizeof(text) - n, ", IPv%u, protocol %u%s", p->ip_version, p->ip_proto,
			 p->flags & PKT_FRAG ? ", fragment" : "");
	row(rq, "parse", "headers", NULL, drop == DROP_NONE ? "pass" : "drop",
	    drop == DROP_NONE ? text : drop_text(drop));
}

static void vlan_text(char *text, size_t n, uint16_t vid)
{
	if (vid == 0)
		snprintf(text, n, "untagged VLAN");
	else
		snprintf(text, n, "VLAN %u", vid);
}

static void note_text(const struct trace_note *t, const struct pkt *p, char *text, size_t n)
{
	char mac[VALUE_MAC_LEN], vlan[24];

	text[0] = '\0';
	vlan_text(vlan, sizeof(vlan), t->vid);
	if (t->drop == DROP_EXTENSION)
		snprintf(text, n, "%s", drop_detail_text(t->why));
	else if (t->drop != DROP_NONE)
		snprintf(text, n, "%s", drop_text(t->drop));
	else if (t->stage == STAGE_CLASSIFY && strcmp(t->step, "vlan") == 0)
		snprintf(text, n, "%s", vlan);
	else if (t->stage == STAGE_LEARN)
		snprintf(text, n, "%s in %s", value_print_mac(p->data + 6, mac), vlan);
	else if (t->stage == STAGE_FORWARD && t->port != NO_PORT)
		snprintf(text, n, "%s is known there", value_print_mac(p->data, mac));
	else if (t->stage == STAGE_FORWARD)
		snprintf(text, n, "%s address: to the ports of %s", p->data[0] & 1 ? "group" : "unknown",
			 vlan);
	else if (t->stage == STAGE_TRANSMIT && t->dest.tagged)
		snprintf(text, n, "tagged %u", t->dest.tci & 0xfffu);
	else if (t->stage == STAGE_TRANSMIT)
		snprintf(text, n, "untagged");
}

static void walk_rows(struct request *rq, const struct snap *s, const struct trace *t, const struct pkt *p)
{
	for (uint32_t i = 0; i < t->n; i++) {
		const struct trace_note *n = &t->notes[i];
		char text[160];

		note_text(n, p, text, sizeof(text));
		row(rq, stage_name(n->stage), n->step, n->port != NO_PORT ? s->ports[n->port]->name : NULL,
		    n->drop == DROP_NONE ? "pass" : "drop", text);
	}
}

// What comes out: one row per delivery, or one with the reason.
static void outcome_rows(struct request *rq, const struct snap *s, const struct trace *t, enum drop drop)
{
	char text[96];
	uint32_t n_out = 0, n_down = 0;

	for (uint32_t i = 0; drop == DROP_NONE && i < t->n; i++) {
		const struct trace_note *n = &t->notes[i];

		if (n->stage != STAGE_TRANSMIT)
			continue;
		n_out += n->drop == DROP_NONE;
		n_down += n->drop != DROP_NONE;
		if (n->drop != DROP_NONE)
			continue;
		note_text(n, NULL, text, sizeof(text));
		row(rq, "outcome", "deliver", s->ports[n->port]->name, "deliver", text);
	}
	if (drop == DROP_NONE && n_out == 0)
		drop = n_down == 1 ? DROP_PORT_DOWN : DROP_NO_DESTINATION;
	if (drop != DROP_NONE)
		row(rq, "outcome", "drop", NULL, "drop", drop_name(drop));
	if (t->n_left_out > 0) {
		snprintf(text, sizeof(text), "%u more steps are not shown", t->n_left_out);
		row(rq, "outcome", "trace", NULL, "pass", text);
	}
}

struct trace_work {
	struct walk walk;
	struct trace trace;
	struct pkt pkt;
	uint8_t frame[PKT_HEADROOM + FRAME_SIZE];
};

static void trace_run(struct request *rq, struct trace_work *t, const struct port *p, int n)
{
	t->pkt.data = t->frame + PKT_HEADROOM;
	t->pkt.len = t->pkt.head_len = n;
	t->pkt.src = p->index;
	t->walk.snap = snap_now();
	t->walk.in = t->walk.snap->ports[p->index];
	t->walk.sw = t->walk.snap->switches[t->walk.in->sw]; // not p's: a change may be under way
	t->walk.trace = &t->trace;
	enum drop drop = parse(&t->pkt);

	parse_row(rq, &t->pkt, drop);
	if (drop == DROP_NONE) {
		walk_packet(&t->walk, &t->pkt, 0);
		walk_rows(rq, t->walk.snap, &t->trace, &t->pkt);
		drop = t->walk.plan.drop;
	}
	outcome_rows(rq, t->walk.snap, &t->trace, drop);
}

static int trace_packet(struct request *rq, struct err *e)
{
	struct port *p = port_find(rq_str(rq, "port"));

	if (p != NULL && port_is_held(p))
		return err_set(e, -EAGAIN, "port %s: waits for its state; until then nothing passes",
			       p->conf.name);
	if (p == NULL || p->part == NULL)
		return err_set(e, -ENOENT, "port %s: no such port", rq_str(rq, "port"));
	struct trace_work *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return err_set(e, -ENOMEM, "trace packet: out of memory");
	int n = frame_from(rq, t->frame + PKT_HEADROOM, e);

	if (n >= 0)
		trace_run(rq, t, p, n);
	free(t);
	return n < 0 ? n : 0;
}

static const struct method methods[] = {{"trace.packet", "show what would happen with a packet",
					 packet_params, packet_columns, METHOD_READ, trace_packet},
					{0}};

const struct module trace_module = {.name = "trace", .methods = methods};
