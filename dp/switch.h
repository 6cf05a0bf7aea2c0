// Switches: isolated learning domains that ports are attached to.
//
// external: guests, host vNICs and uplinks; internal: guests and host vNICs; private: guests only.
// Control thread.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fdb.h"
#include "port.h"

#define MAX_SWITCHES 256

enum switch_kind { SWITCH_EXTERNAL, SWITCH_INTERNAL, SWITCH_PRIVATE };

struct vswitch {
	char name[PORT_NAME_SIZE];
	enum switch_kind kind;
	uint16_t index;
	bool leaving; // being deleted: not in the next snapshot
	bool dirty;   // its part of the snapshot must be rebuilt
	struct fdb *fdb;
	struct snap_switch *part; // snap.c
};

struct vswitch *switch_find(const char *name); // NULL
struct vswitch *switch_at(uint16_t index);     // NULL
uint16_t switches_n(void);                     // one above the highest index
