// What is known of a drop beside its reason: who dropped and why in their own words, as numbers that plans hold.
//
// A number is taken when its owner is loaded, and given back when no worker uses it any more. Workers count by it
// (worker.details); a number begins with what was counted under it before, so readers subtract that.
#pragma once

#include <stdint.h>

#define MAX_DROP_DETAILS 512

// control thread

// A number for `text` of `owner`, which must stay valid; 0 = there is none left.
uint16_t drop_detail_take(const char *owner, const char *text);
void drop_detail_give(uint16_t number); // accepts 0
const char *drop_detail_owner(uint16_t number);
const char *drop_detail_text(uint16_t number);
uint64_t drop_detail_count(uint16_t number); // packets, since it was taken
