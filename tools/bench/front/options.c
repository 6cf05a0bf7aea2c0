// Command line to struct conf, with everything checked that can be checked before a switch is met.

#include "tools/bench/front/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "bench-front [OPTION]... SOCKET...\n"
    "\n"
    "Guests of a virtual switch: virtio-net devices that speak vhost-user and exchange frames in pairs (0 "
    "and 1,\n"
    "2 and 3 …). Each first tells its MAC addresses by broadcast; the traffic starts when every peer has "
    "heard\n"
    "them. Either one SOCKET per device, or one with a %d that stands for the device's number.\n"
    "\n"
    "devices\n"
    "  --devices N      number of devices, even, at most 1000 (default: number of SOCKETs, or 2)\n"
    "  --first N        number of the first device in SOCKET's %d (0)\n"
    "  --busy N         only the first N send; the others are connected and silent (all)\n"
    "  --server         listen on the sockets; without it, connect to them and wait until they are there\n"
    "  --packed         packed rings (default: split)\n"
    "  --ring N         descriptors per ring, a power of two (256)\n"
    "  --idle-ring N    the same of silent devices (64)\n"
    "  --mrg            mergeable receive buffers of 2 KB (default: one buffer holds a frame)\n"
    "  --in-order, --event-idx\n"
    "                   negotiate this if it is offered\n"
    "  --huge           memory of 2 MB pages for those that send\n"
    "\n"
    "traffic\n"
    "  --mode loop      --in-flight frames per sender; what arrives is sent again by its sender (default)\n"
    "  --mode paced     --rate frames per second, all senders together\n"
    "  --mode blast     as fast as the switch takes them\n"
    "  --one-way        only even devices send\n"
    "  --in-flight N    (half of what --ring has room for)\n"
    "  --rate N         (100000)\n"
    "  --size N[,N]…    frame sizes in bytes without FCS, in turn; or imix = 7 × 64, 4 × 594, 1 × 1514 (64)\n"
    "  --flows N        pairs of ports per direction, visited in an order far from their numbers' (1)\n"
    "  --macs N         pairs of MAC addresses per direction (1); flows are at least as many\n"
    "  --tcp            TCP instead of UDP\n"
    "  --stamp, --no-stamp\n"
    "                   sequence and time in each frame, for lost, dup, late and latency (default: not with "
    "loop)\n"
    "\n"
    "run\n"
    "  --seconds S      of traffic; 0 = until SIGINT or SIGTERM (0)\n"
    "  --frames N       end once about N frames are sent (0 = no limit)\n"
    "  --interval MS    between lines of output (1000)\n"
    "  --deadline S     for connecting and for being heard (30)\n"
    "  --core N         the processor for everything\n"
    "\n"
    "Output: one JSON object per line. {\"event\":\"ready\"} once all addresses are heard; then per "
    "interval\n"
    "\"interval\", with figures of the interval, and last \"final\", with those of the whole run after the "
    "frames on\n"
    "their way have arrived. tx_pps, rx_pps; tx, rx, lost, dup, late (came after a later one), stray (not "
    "the\n"
    "peer's, flooded ones for example), bad, ring_errors are counts since the start; in \"final\" lost is "
    "exactly\n"
    "what did not arrive. busy: share of time in rounds that moved a frame; cycles: of these, per frame sent "
    "or\n"
    "received. latency_ns: from writing the stamp to reading it. SIGSTOP and SIGCONT pause it.\n"
    "Status 0; 1 if it could not run.\n";

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
	HUGE,
	MODE
};
enum {
	ONE_WAY = MODE + 1,
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
	DEADLINE
};
enum { CORE = DEADLINE + 1, FRAMES, HELP };

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
						 : whole("size", word, PACKET_MIN, 9216, &size);
		if (ret == 0)
			p->sizes[p->n_sizes++] = size;
	}
	free(copy);
	return ret;
}

static int mode(struct conf *c, const char *text)
{
	static const char *const names[] = {
	    [MODE_LOOP] = "loop", [MODE_PACED] = "paced", [MODE_BLAST] = "blast"};
	for (unsigned i = 0; i < 3; i++) {
		if (!strcmp(text, names[i])) {
			c->mode = i;
			return 0;
		}
	}
	return refuse("--mode %s: loop, paced or blast", text);
}

static int flag(struct conf *c, int option)
{
	switch (option) {
	case SERVER:
		c->server = true;
		return 0;
	case PACKED:
		c->packed = true;
		return 0;
	case MRG:
		c->mrg = true;
		return 0;
	case IN_ORDER:
		c->in_order = true;
		return 0;
	case EVENT_IDX:
		c->event_idx = true;
		return 0;
	case HUGE:
		c->huge = true;
		return 0;
	case ONE_WAY:
		c->one_way = true;
		return 0;
	case TCP:
		c->packet.tcp = true;
		return 0;
	case STAMP:
	case NO_STAMP:
		c->stamp = option == STAMP;
		return 0;
	case HELP:
		fputs(help, stdout);
		return 1;
	default:
		return refuse("the command line is wrong");
	}
}

static int option(struct conf *c, int which, const char *arg)
{
	unsigned core;
	int ret;
	switch (which) {
	case DEVICES:
		return whole("devices", arg, 2, 1000, &c->n_devices);
	case FIRST:
		return whole("first", arg, 0, 1000000, &c->first);
	case BUSY:
		return whole("busy", arg, 0, 1000, &c->busy);
	case RING:
		return ring_size("ring", arg, &c->ring_size);
	case IDLE_RING:
		return ring_size("idle-ring", arg, &c->idle_ring_size);
	case MODE:
		return mode(c, arg);
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

static int settle(struct conf *c)
{
	if (c->n_sockets == 0)
		return refuse("no SOCKET is given");
	bool pattern = c->n_sockets == 1 && strstr(c->sockets[0], "%d");
	if (c->n_devices == 0)
		c->n_devices = pattern ? 2 : c->n_sockets;
	if (c->n_devices % 2 != 0)
		return refuse("%u devices: they work in pairs", c->n_devices);
	if (!pattern && c->n_devices != c->n_sockets)
		return refuse("%u devices and %u SOCKETs", c->n_devices, c->n_sockets);
	c->busy = c->busy < c->n_devices ? c->busy : c->n_devices;
	if (c->busy % 2 != 0)
		return refuse("--busy %u: they work in pairs", c->busy);
	c->packet.flows = c->packet.flows < c->packet.macs ? c->packet.macs : c->packet.flows;
	c->packet.stamp = c->stamp < 0 ? c->mode != MODE_LOOP : c->stamp;
	for (unsigned i = 0; c->packet.tcp && i < c->packet.n_sizes; i++)
		if (c->packet.sizes[i] < PACKET_HEAD)
			return refuse("--tcp needs frames of at least %u bytes", PACKET_HEAD);
	// An odd number of lines, so that buffers spread over all sets of a cache.
	unsigned whole_frame = (packet_longest(&c->packet) + BUFFER_HEAD + VIRTIO_HEAD + 63) | 64;
	whole_frame &= ~63u;
	c->buffer_bytes = c->mrg || whole_frame < BUFFER_BYTES ? BUFFER_BYTES : whole_frame;
	unsigned most = c->ring_size / frame_buffers(c, packet_longest(&c->packet));
	c->in_flight = c->in_flight ? c->in_flight : most / 2;
	if (c->in_flight > most)
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
	    .interval_ms = 1000,
	    .core = -1,
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
