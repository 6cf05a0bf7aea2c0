// A packet socket with mapped rings (packet(7), TPACKET_V2): what workers use of a port on a kernel interface.
// Made by open (jobs thread) before any worker sees it, freed by close when none does any more.
#pragma once

#include <linux/if_packet.h>

#include "port.h"

// Behind the kernel's header in a transmit slot: the virtio header, then the frame.
#define AFPACKET_TX_OFFSET (TPACKET2_HDRLEN - sizeof(struct sockaddr_ll))

struct afpacket {
	// set by open, then const
	int fd;
	uint32_t frame_bytes; // of a slot, a power of two; the same in both rings
	uint32_t n_frames;    // a power of two
	uint8_t *rx_ring, *tx_ring;
	const struct port_live *live;

	// receiving worker
	alignas(64) uint32_t rx_next; // slot to look at
	uint32_t rx_lent;             // first slot that is still lent out; == rx_next: none
	struct iovec rest[PKT_BURST];

	// holder of the transmit queue
	alignas(64) uint32_t tx_next;
};

// workers
uint16_t afpacket_rx(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
void afpacket_rx_done(struct worker *w, struct rxq *q, struct pkt *pkts, uint16_t n);
int afpacket_notify(struct worker *w, struct rxq *q, bool on);
uint16_t afpacket_tx(struct worker *w, struct txq *q, struct pkt **pkts, uint16_t n);
