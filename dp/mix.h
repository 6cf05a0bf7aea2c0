// One keyed mixing step for hashes over packet bytes. Any thread.
//
// A full 64x64 multiplication, folded. Unlike a CRC it is not linear: with `b` secret, which inputs collide
// cannot be computed beforehand, so a sender cannot fill one bucket on purpose.
#pragma once

#include <stdint.h>

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}
