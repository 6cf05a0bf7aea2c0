// Names of virtio-net features (virtio 1.2, 5.1.3 and 6). Pure.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FEATURE(n)     (1ull << (n))
#define F_CSUM         FEATURE(0)
#define F_GUEST_CSUM   FEATURE(1)
#define F_HOST_TSO4    FEATURE(11)
#define F_HOST_TSO6    FEATURE(12)
#define F_HOST_ECN     FEATURE(13)
#define F_HOST_UFO     FEATURE(14)
#define F_MRG_RXBUF    FEATURE(15)
#define F_MQ           FEATURE(22)
#define F_LOG_ALL      FEATURE(26)
#define F_INDIRECT     FEATURE(28)
#define F_EVENT_IDX    FEATURE(29)
#define F_PROTOCOL     FEATURE(30)
#define F_VERSION_1    FEATURE(32)
#define F_IOMMU        FEATURE(33)
#define F_RING_PACKED  FEATURE(34)
#define F_IN_ORDER     FEATURE(35)
#define F_NOTIFICATION FEATURE(38)
#define F_HOST_USO     FEATURE(56)

// Comma-separated names, "offloads" for all of checksum and segmentation, "none" for none. 0, or -EINVAL and the
// word that is none in `bad`.
int features_parse(const char *text, uint64_t *out, char *bad, size_t bad_bytes);
// Names with commas between; what has no name is left out.
void features_print(uint64_t features, char *out, size_t bytes);
