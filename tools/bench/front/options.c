// Command line to struct conf, with everything checked that can be checked before a switch is met.

#include "tools/bench/front/options.h"

#include "tools/bench/front/attack.h"
#include "tools/bench/front/feature.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT = 256,
	DEVICES,
	FIRST,
	BUSY,
	SERVER,
	PACKED,
	RING,
	IDLE_RING,
	MRG,
	IN_ORDER,
	EVENT_IDX,
	LOG,
	DIRTY,
	HUGE,
	MODE,
	ONE_WAY,
	IN_FLIGHT,
	RATE,
	SIZE,
	FLOWS,
	MACS,
	TCP,
	STAMP,
	NO_STAMP,
	SECONDS,
	INTERVAL,
	DEADLINE,
	CORE,
	FRAMES,
	QUEUES,
	FEATURES,
	ODD_FEATURES,
	REQUIRE,
	LAYOUT,
	RX_LAYOUT,
	RX_BUFFER,
	OFFLOAD,
	UDP,
	IP6,
	ECN,
	GSO_SIZE,
	BLIND,
	ATTACK,
	SEED,
	HANG_UP,
	NAP,
	PATIENCE,
	LIST_ATTACKS,
	HELP
};

static const char *const mode_names[] = {
    [MODE_LOOP] = "loop", [MODE_PACED] = "paced", [MODE_BLAST] = "blast"};

static const struct option options[] = {
    {"devices", 1, 0, DEVICES},
    {"first", 1, 0, FIRST},
    {"busy", 1, 0, BUSY},
    {"server", 0, 0, SERVER},
    {"packed", 0, 0, PACKED},
    {"ring", 1, 0, RING},
    {"idle-ring", 1, 0, IDLE_RING},
    {"mrg", 0, 0, MRG},
    {"in-order", 0, 0, IN_ORDER},
    {"event-idx", 0, 0, EVENT_IDX},
    {"log", 0, 0, LOG},
    {"dirty", 1, 0, DIRTY},
    {"huge", 0, 0, HUGE},
    {"mode", 1, 0, MODE},
    {"one-way", 0, 0, ONE_WAY},
    {"in-flight", 1, 0, IN_FLIGHT},
    {"rate", 1, 0, RATE},
    {"size", 1, 0, SIZE},
    {"flows", 1, 0, FLOWS},
    {"macs", 1, 0, MACS},
    {"tcp", 0, 0, TCP},
    {"stamp", 0, 0, STAMP},
    {"no-stamp", 0, 0, NO_STAMP},
    {"seconds", 1, 0, SECONDS},
    {"frames", 1, 0, FRAMES},
    {"interval", 1, 0, INTERVAL},
    {"deadline", 1, 0, DEADLINE},
    {"core", 1, 0, CORE},
    {"queues", 1, 0, QUEUES},
    {"features", 1, 0, FEATURES},
    {"odd-features", 1, 0, ODD_FEATURES},
    {"require", 0, 0, REQUIRE},
    {"layout", 1, 0, LAYOUT},
    {"rx-layout", 1, 0, RX_LAYOUT},
    {"rx-buffer", 1, 0, RX_BUFFER},
    {"offload", 1, 0, OFFLOAD},
    {"udp", 0, 0, UDP},
    {"ip6", 0, 0, IP6},
    {"ecn", 0, 0, ECN},
    {"gso-size", 1, 0, GSO_SIZE},
    {"blind", 0, 0, BLIND},
    {"attack", 1, 0, ATTACK},
    {"seed", 1, 0, SEED},
    {"nap", 1, 0, NAP},
    {"hang-up", 1, 0, HANG_UP},
    {"patience", 1, 0, PATIENCE},
    {"list-attacks", 0, 0, LIST_ATTACKS},
    {"help", 0, 0, HELP},
    {},
};

__attribute__((format(printf, 1, 2))) static int refuse(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	fputs("bench-front: ", stderr);
	vfprintf(stderr, format, ap);
	fputs("; see --help\n", stderr);
	va_end(ap);
	return -EINVAL;
}

static int number(const char *name, const char *text, double min, double max, double *out)
{
	char *end;
	*out = strtod(text, &end);
	if (end == text || *end || !(*out >= min && *out <= max))
		return refuse("--%s %s: a number from %.0f to %.0f is needed", name, text, min, max);
	return 0;
}

static int whole(const char *name, const char *text, double min, double max, unsigned *out)
{
	double v;
	int ret = number(name, text, min, max, &v);
	if (ret == 0)
		*out = v;
	return ret;
}

static int ring_size(const char *name, const char *text, unsigned *out)
{
	int ret = whole(name, text, 16, RING_MAX, out);
	return ret == 0 && *out & (*out - 1) ? refuse("--%s %s: not a power of two", name, text) : ret;
}

static int sizes(struct packet_conf *p, const char *text)
{
	if (!strcmp(text, "imix"))
		text = "64,594,64,64,594,64,64,1514,594,64,64,594";
	char *copy = strdup(text), *rest = copy;
	int ret = copy ? 0 : -ENOMEM;
	p->n_sizes = 0;
	for (char *word; ret == 0 && (word = strsep(&rest, ",")) != NULL;) {
		unsigned size = 0;
		ret = p->n_sizes == PACKET_SIZES ? refuse("--size: more than %u sizes", PACKET_SIZES)
						 : whole("size", word, PACKET_MIN, 65535, &size);
		if (ret == 0)
			p->sizes[p->n_sizes++] = size;
	}
	free(copy);
	return ret;
}

static int choose(const char *option, const char *text, const char *const *names, unsigned n, unsigned *out)
{
	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(text, names[i])) {
			*out = i;
			return 0;
		}
	}
	return refuse("--%s %s: no such kind", option, text);
}

static int features(const char *option, const char *text, uint64_t *out)
{
	char bad[64];
	return features_parse(text, out, bad, sizeof(bad)) ? refuse("--%s: %s is no feature", option, bad)
							   : 0;
}

static int shape_option(struct conf *c, int which, const char *arg)
{
	unsigned kind = 0;
	int ret;
	switch (which) {
	case LAYOUT:
		ret = choose("layout", arg, layout_names, N_LAYOUTS, &kind);
		c->layout = kind;
		return ret;
	case RX_LAYOUT:
		ret = choose("rx-layout", arg, layout_names, N_LAYOUTS, &kind);
		c->rx_layout = kind;
		return ret;
	case RX_BUFFER:
		c->mrg = true;
		return whole("rx-buffer", arg, VIRTIO_HEAD, SCRATCH_BYTES, &c->rx_buffer);
	case OFFLOAD:
		c->streams = true;
		ret = choose("offload", arg, offload_names, N_OFFLOADS, &kind);
		c->stream.offload = kind;
		return ret;
	case GSO_SIZE:
		ret = whole("gso-size", arg, 8, 65528, &c->stream.gso_bytes);
		return ret == 0 && c->stream.gso_bytes % 8 ? refuse("--gso-size %s: not a multiple of 8", arg)
							   : ret;
	case FEATURES:
		return features("features", arg, &c->may[0]);
	default:
		c->odd = true;
		return features("odd-features", arg, &c->may[1]);
	}
}

static bool *flag_of(struct conf *c, int option)
{
	switch (option) {
	case SERVER:
		return &c->server;
	case PACKED:
		return &c->packed;
	case MRG:
		return &c->mrg;
	case HUGE:
		return &c->huge;
	case LOG:
		return &c->log;
	case ONE_WAY:
		return &c->one_way;
	case REQUIRE:
		return &c->require;
	case TCP:
		return &c->packet.tcp;
	case UDP:
		return &c->stream.udp;
	case IP6:
		return &c->stream.ip6;
	case ECN:
		return &c->stream.ecn;
	case BLIND:
		return &c->stream.blind;
	default:
		return NULL;
	}
}

static int flag(struct conf *c, int option)
{
	bool *f = flag_of(c, option);
	switch (option) {
	case IN_ORDER:
		c->in_order = true;
		return 0;
	case EVENT_IDX:
		c->event_idx = true;
		return 0;
	case STAMP:
	case NO_STAMP:
		c->stamp = option == STAMP;
		return 0;
	case LIST_ATTACKS:
		attacks_list();
		return 1;
	case HELP:
		fputs(front_help, stdout);
		return 1;
	}
	if (!f)
		return refuse("the command line is wrong");
	*f = true;
	return 0;
}

static int option(struct conf *c, int which, const char *arg)
{
	unsigned core = 0;
	int ret;
	switch (which) {
	case DEVICES:
		return whole("devices", arg, 2, 1000, &c->n_devices);
	case FIRST:
		return whole("first", arg, 0, 60000, &c->first);
	case BUSY:
		return whole("busy", arg, 0, 1000, &c->busy);
	case RING:
		return ring_size("ring", arg, &c->ring_size);
	case IDLE_RING:
		return ring_size("idle-ring", arg, &c->idle_ring_size);
	case MODE:
		ret = choose("mode", arg, mode_names, 3, &core);
		c->mode = core;
		return ret;
	case QUEUES:
		return whole("queues", arg, 1, MAX_QUEUES, &c->queues);
	case LAYOUT:
	case RX_LAYOUT:
	case RX_BUFFER:
	case OFFLOAD:
	case GSO_SIZE:
	case FEATURES:
	case ODD_FEATURES:
		return shape_option(c, which, arg);
	case ATTACK:
		c->attack = arg;
		return attack_is(arg) ? 0
				      : refuse("--attack %s: no such attack; --list-attacks names them", arg);
	case NAP:
		return whole("nap", arg, 0, 1000000, &c->nap_us);
	case HANG_UP:
		return whole("hang-up", arg, 1, 3600000, &c->hang_up_ms);
	case DIRTY:
		c->log = true;
		return whole("dirty", arg, 1, 1e9, &c->dirty);
	case SEED:
		return whole("seed", arg, 0, 4e9, &c->seed);
	case IN_FLIGHT:
		return whole("in-flight", arg, 1, RING_MAX, &c->in_flight);
	case RATE:
		return number("rate", arg, 1, 1e9, &c->rate_pps);
	case SIZE:
		return sizes(&c->packet, arg);
	case FLOWS:
		return whole("flows", arg, 1, 1 << 26, &c->packet.flows);
	case MACS:
		return whole("macs", arg, 1, 1 << 24, &c->packet.macs);
	case SECONDS:
		return number("seconds", arg, 0, 1e9, &c->seconds);
	case FRAMES:
		return number("frames", arg, 0, 1e18, &c->frames);
	case INTERVAL:
		return whole("interval", arg, 10, 3600000, &c->interval_ms);
	case PATIENCE:
		return number("patience", arg, 0, 1e6, &c->patience_s);
	case DEADLINE:
		return number("deadline", arg, 0, 1e6, &c->deadline_s);
	case CORE:
		ret = whole("core", arg, 0, 1023, &core);
		c->core = ret ? -1 : (int)core;
		return ret;
	default:
		return flag(c, which);
	}
}

static bool uses_tables(enum layout l)
{
	return l == LAYOUT_INDIRECT || l == LAYOUT_MIXED || l == LAYOUT_TAIL;
}

static void features_settle(struct conf *c)
{
	uint64_t all = F_VERSION_1 | (c->packed ? F_RING_PACKED : 0) | (c->mrg ? F_MRG_RXBUF : 0) |
		       (c->queues > 1 ? F_MQ : 0) | (c->log ? F_LOG_ALL : 0) |
		       (uses_tables(c->layout) || uses_tables(c->rx_layout) ? F_INDIRECT : 0);
	if (!c->odd)
		c->may[1] = c->may[0];
	for (unsigned i = 0; i < 2; i++) {
		c->must[i] = all | (c->require ? c->may[i] : 0);
		if (c->streams && !(i && c->one_way))
			c->must[i] |= stream_needs(&c->stream);
		c->may[i] |= (c->in_order ? F_IN_ORDER : 0) | (c->event_idx ? F_EVENT_IDX : 0);
	}
}

static int stream_settle(struct conf *c)
{
	struct stream_conf *s = &c->stream;
	enum offload o = s->offload;
	if (c->packet.n_sizes != 1)
		return refuse("--offload needs one --size");
	s->ip6 |= o == OFFLOAD_TSO6;
	s->udp |= o == OFFLOAD_UFO || o == OFFLOAD_USO;
	if ((s->udp && (o == OFFLOAD_TSO4 || o == OFFLOAD_TSO6)) || (s->ip6 && o == OFFLOAD_TSO4))
		return refuse("--offload %s: the protocol is another", offload_names[o]);
	s->frame_bytes = c->packet.sizes[0];
	if (s->frame_bytes < STREAM_HEAD + 8)
		return refuse("--offload needs frames of at least %u bytes", STREAM_HEAD + 8);
	return 0;
}

static int shape_settle(struct conf *c)
{
	c->shaped = c->layout || c->rx_layout || c->rx_buffer || c->streams || c->dirty;
	if (!c->shaped && packet_longest(&c->packet) > 9216)
		return refuse("--size: frames of more than 9216 bytes need --offload");
	if (c->mrg && c->shaped && !c->rx_buffer)
		c->rx_buffer = BUFFER_BYTES - BUFFER_HEAD;
	if (c->packed && (c->layout == LAYOUT_TAIL || c->rx_layout == LAYOUT_TAIL))
		return refuse("tail-indirect is of split rings only");
	return c->streams ? stream_settle(c) : 0;
}

// Frames that both rings have room for.
static unsigned most_in_flight(const struct conf *c)
{
	if (!c->shaped)
		return c->ring_size / frame_buffers(c, packet_longest(&c->packet));
	unsigned tx = c->ring_size / layout_most(c->layout);
	unsigned buffers = (tx_room_bytes(c) + rx_room_bytes(c) - 1) / rx_room_bytes(c);
	unsigned rx = c->ring_size / (layout_most(c->rx_layout) * buffers);
	return tx < rx ? tx : rx;
}

static int devices_settle(struct conf *c)
{
	bool pattern = c->n_sockets == 1 && strstr(c->sockets[0], "%d");
	if (c->n_sockets == 0)
		return refuse("no SOCKET is given");
	if (c->attack)
		return c->n_sockets > 2 ? refuse("--attack: one SOCKET and one FEEDER") : 0;
	if (c->n_devices == 0)
		c->n_devices = pattern ? 2 : c->n_sockets;
	if (c->n_devices % 2 != 0)
		return refuse("%u devices: they work in pairs", c->n_devices);
	if (!pattern && c->n_devices != c->n_sockets)
		return refuse("%u devices and %u SOCKETs", c->n_devices, c->n_sockets);
	c->busy = c->busy < c->n_devices ? c->busy : c->n_devices;
	if (c->dirty && (c->n_devices != 2 || c->queues != 1))
		return refuse("--dirty: two devices with one queue pair each");
	return c->busy % 2 != 0 ? refuse("--busy %u: they work in pairs", c->busy) : 0;
}

static int settle(struct conf *c)
{
	int ret = devices_settle(c);
	if (ret == 0)
		ret = shape_settle(c);
	if (ret)
		return ret;
	features_settle(c);
	c->packet.flows = c->packet.flows < c->packet.macs ? c->packet.macs : c->packet.flows;
	c->packet.stamp = c->stamp < 0 ? c->mode != MODE_LOOP : c->stamp;
	c->packet.stamp &= !c->streams;
	for (unsigned i = 0; c->packet.tcp && i < c->packet.n_sizes; i++)
		if (c->packet.sizes[i] < PACKET_HEAD)
			return refuse("--tcp needs frames of at least %u bytes", PACKET_HEAD);
	// An odd number of lines, so that buffers spread over all sets of a cache.
	unsigned whole_frame = (packet_longest(&c->packet) + BUFFER_HEAD + VIRTIO_HEAD + 63) | 64;
	whole_frame &= ~63u;
	c->buffer_bytes = c->mrg || whole_frame < BUFFER_BYTES ? BUFFER_BYTES : whole_frame;
	unsigned most = most_in_flight(c);
	c->in_flight = c->in_flight ? c->in_flight : (most + 1) / 2;
	if (c->in_flight > most || most == 0)
		return refuse("--in-flight %u: the ring has room for %u such frames", c->in_flight, most);
	return 0;
}

int front_conf_parse(struct conf *c, int argc, char **argv)
{
	*c = (struct conf){
	    .ring_size = 256,
	    .idle_ring_size = 64,
	    .busy = 1000,
	    .stamp = -1,
	    .rate_pps = 100000,
	    .deadline_s = 30,
	    .patience_s = 1,
	    .interval_ms = 1000,
	    .core = -1,
	    .queues = 1,
	    .seed = 1,
	    .stream = {.gso_bytes = 1448},
	    .packet = {.flows = 1, .macs = 1, .sizes = {64}, .n_sizes = 1},
	};
	int which, ret = 0;
	while (ret == 0 && (which = getopt_long(argc, argv, "", options, NULL)) >= 0)
		ret = option(c, which, optarg);
	if (ret)
		return ret;
	c->sockets = (const char **)argv + optind;
	c->n_sockets = argc - optind;
	return settle(c);
}
