// Scripted extensions (tests/ext) in the house: loaded through the change engine, doing what the test's functions say.
//
//     plug("fw", "filter", &(struct hooks){.flow_in = drop}, NULL);
//     inject("a", eth(MAC_B, MAC_A));
//     expect_drops("a", "extension", 1);
// After each test all of them must have been destroyed.
#pragma once

#include "house.h"

#include "ext/ext.h"
#include "tests/ext/hooks.h"

#define N_HOOKS 24

extern struct hooks hooks[N_HOOKS]; // all 0 when a test begins

int ext_rig_run(Suite *s);
void ext_rig_trust(void);                        // for programs that run otherwise: any file may be loaded
void ext_rig_drain(void);                        // until all extensions that were unloaded have ended
TCase *ext_rig_case(Suite *s, const char *name); // with what stands before and behind each test

// Loads tests/ext/FILE.c, or changes what is loaded under this name. `more`: keys of JSON, as "'rank': 1"; NULL = none.
void plug(const char *name, const char *file, struct hooks *h, const char *more);
void plug_refused(const char *name, const char *file, struct hooks *h, const char *more, const char *words);
void unplug(const char *name);
void until_published(void); // until the next snapshot that comes by itself

struct ext_counters counted(const char *name);
void expect_ext_drops(const char *name, unsigned reason, uint64_t n);

// What is written down, word by word; expect_notes() compares, and begins anew.
void note(const struct hooks *h, const char *what); // "name:what"
void expect_notes(const char *words);
void note_in(struct hooks *h, const struct evs_flow *f, struct evs_answer *a); // flow calls that do no more
void note_out(struct hooks *h, const struct evs_flow *f, struct evs_answer *a);
void ask_packets(struct hooks *h, const struct evs_flow *f, struct evs_answer *a); // a flow call: EVS_PACKETS

// A switch sw0 with guests a, b, c; b and c have been heard of: MAC_B, MAC_C.
void three_ports(void);
uint32_t id_of(const char *port);
// UDP from 10.0.0.1 to 10.0.0.LAST, or the like of IPv6.
const struct frame *udp(const uint8_t dst[6], const uint8_t src[6], int version, uint8_t last,
			uint16_t dport);
