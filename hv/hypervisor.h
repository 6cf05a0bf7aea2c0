// What a hypervisor has to be told to attach a guest to a vhost-user port: QEMU's arguments, libvirt's XML.
//
// Pure functions of the port's conf, which has a socket. Each returns an object whose "text" is for people to copy and
// whose other members are the pieces of it. Control thread.
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct port_conf;

#define HYPERVISOR_MEMORY_UNKNOWN (-1)

// {"text", "args": as QEMU's main() gets them, "notes": sentences}. `memory_bytes` is that of the guest, a whole number
// of megabytes: unknown = SIZE stands in its place, 0 = the guest has shared memory already.
json_t *qemu_args(const struct port_conf *c, int64_t memory_bytes);

// {"text", "interface": the element} and what stands elsewhere in the domain: "memory" and, for an MTU that the guest
// has to know, "override". `domain`: the text has these, too.
json_t *libvirt_xml(const struct port_conf *c, bool domain);

// The MTU is said to a guest only if it is not what every guest begins with.
bool hypervisor_says_mtu(const struct port_conf *c);
