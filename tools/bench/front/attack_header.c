// Attacks by virtio-net headers: requests that the frame behind them cannot fulfil. Each header stands before frames of
// TCP and UDP over IPv4 and IPv6, short and long, and before one that is no IP at all.

#include "tools/bench/front/attack.h"

#include <string.h>

static unsigned frame_make(struct foe *f, unsigned kind, unsigned slot)
{
	struct stream_conf c = {
	    .udp = kind & 1, .ip6 = kind & 2, .frame_bytes = kind & 4 ? 9014 : 110, .gso_bytes = 1448};
	struct stream s;
	struct virtio_header *h = (void *)foe_data(f, slot);
	uint8_t *frame = foe_data(f, slot) + VIRTIO_HEAD;
	unsigned len = c.frame_bytes;
	stream_init(&s, &c, 0xee00, 0xffff);
	stream_write(&s, h, frame);
	memset(frame, 0xff, 6);
	if (kind == 8) {
		len = 60;
		foe_frame(f, slot, len);
	}
	return len;
}

static void send_with(struct foe *f, const struct virtio_header *h)
{
	for (unsigned kind = 0; kind < 9; kind++) {
		unsigned slot = kind * 6, len = frame_make(f, kind, slot);
		memcpy(foe_data(f, slot), h, sizeof(*h));
		foe_post(f, FOE_TX, &(struct ring_desc){foe_data_gpa(slot), VIRTIO_HEAD + len, 0, 0}, 1);
	}
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 50);
}

static void run_header(struct foe *f)
{
	send_with(f, f->attack->arg);
}

static void run_random(struct foe *f)
{
	uint64_t bits[2] = {foe_random(f), foe_random(f)};
	struct virtio_header h;
	memcpy(&h, bits, sizeof(h));
	h.gso_type %= 8;
	h.flags %= 4;
	if (f->rounds % 2)
		h.csum_start %= 128;
	send_with(f, &h);
}

// Segmentation of a frame that ends within its own headers.
static void run_short(struct foe *f)
{
	struct virtio_header h = {1, 1 + f->rounds % 5, 54, 8 + f->rounds % 100, 34, 16, 0};
	unsigned len = 14 + f->rounds % 60;
	frame_make(f, f->rounds % 4, 0);
	memcpy(foe_data(f, 0), &h, sizeof(h));
	foe_post(f, FOE_TX, &(struct ring_desc){foe_data_gpa(0), VIRTIO_HEAD + len, 0, 0}, 1);
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 50);
}

// IP and TCP lengths that are not the frame's, with segmentation.
static void run_lengths(struct foe *f)
{
	struct virtio_header h = {1, GSO_TCP4, 54, 1448, 34, 16, 0};
	unsigned len = frame_make(f, 4, 0);
	uint8_t *ip = foe_data(f, 0) + VIRTIO_HEAD + 14;
	memcpy(foe_data(f, 0), &h, sizeof(h));
	switch (f->rounds % 5) {
	case 0:
		ip[0] = 0x40 | f->rounds / 5 % 16;
		break;
	case 1:
		memset(ip + 2, f->rounds % 2 ? 0xff : 0, 2);
		break;
	case 2:
		ip[20 + 12] = f->rounds / 5 % 16 << 4;
		break;
	case 3:
		memset(ip + 6, 0xff, 2);
		break;
	default:
		ip[9] = f->rounds;
	}
	foe_post(f, FOE_TX, &(struct ring_desc){foe_data_gpa(0), VIRTIO_HEAD + len, 0, 0}, 1);
	foe_kick(f, FOE_TX);
	foe_wait(f, FOE_TX, 50);
}

// flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers
#define HEADER(name, text, ...)                                                                            \
	{                                                                                                  \
		name, ON_BOTH, text, AT_RUNNING, run_header, &(const struct virtio_header){__VA_ARGS__}, 1 \
	}

static const struct attack rows[] = {
    HEADER("hdr-csum-start", "a checksum that starts behind the frame", 1, 0, 0, 0, 65535, 16, 0),
    HEADER("hdr-csum-last", "a checksum that starts at the last byte", 1, 0, 0, 0, 109, 0, 0),
    HEADER("hdr-csum-offset", "a checksum field behind the frame", 1, 0, 0, 0, 34, 65535, 0),
    HEADER("hdr-csum-sum", "start and field whose sum wraps around", 1, 0, 0, 0, 65535, 65535, 0),
    HEADER("hdr-csum-mac", "a checksum over and into the addresses", 1, 0, 0, 0, 0, 0, 0),
    HEADER("hdr-gso-size-0", "segments of no size", 1, GSO_TCP4, 54, 0, 34, 16, 0),
    HEADER("hdr-gso-size-1", "segments of one byte", 1, GSO_TCP4, 54, 1, 34, 16, 0),
    HEADER("hdr-gso-size-max", "segments larger than the frame", 1, GSO_TCP4, 54, 65535, 34, 16, 0),
    HEADER("hdr-gso6-size-0", "IPv6 segments of no size", 1, GSO_TCP6, 74, 0, 54, 16, 0),
    HEADER("hdr-gso-type", "a segmentation that does not exist", 1, 0x7f, 54, 1448, 34, 16, 0),
    HEADER("hdr-gso-type-2", "the one that was taken away", 1, 2, 54, 1448, 34, 16, 0),
    HEADER("hdr-gso-no-csum", "segmentation without a checksum request", 0, GSO_TCP4, 54, 1448, 0, 0, 0),
    HEADER("hdr-gso-ecn", "ECN without segmentation", 1, GSO_ECN, 54, 1448, 34, 16, 0),
    HEADER("hdr-ufo-1", "fragments of one byte", 1, GSO_UDP, 42, 1, 34, 6, 0),
    HEADER("hdr-uso-0", "UDP segments of no size", 1, GSO_UDP_L4, 42, 0, 34, 6, 0),
    HEADER("hdr-uso-1", "UDP segments of one byte", 1, GSO_UDP_L4, 42, 1, 34, 6, 0),
    HEADER("hdr-len-0", "headers of no length", 1, GSO_TCP4, 0, 1448, 34, 16, 0),
    HEADER("hdr-len-max", "headers longer than the frame", 1, GSO_TCP4, 65535, 1448, 34, 16, 0),
    HEADER("hdr-flags", "all flags", 0xff, 0, 0, 0, 34, 16, 0),
    HEADER("hdr-buffers", "a count of buffers in a frame that is sent", 0, 0, 0, 0, 0, 0, 65535),
    {"hdr-short", ON_BOTH, "segmentation of frames that end within their headers", AT_RUNNING, run_short},
    {"hdr-lengths", ON_BOTH, "lengths in the frame's headers that are not the frame's", AT_RUNNING,
     run_lengths},
    {"hdr-random", ON_BOTH, "headers by chance", AT_RUNNING, run_random},
};

const struct attack_table attacks_header = {rows, sizeof(rows) / sizeof(rows[0])};
