// Guests by vhost-user in an upgrade: the conversation with the front end goes over to the next switch process, and the
// front end does not notice.
//
// The old process stops listening to it, between two messages, and describes what was agreed: features, memory, rings. The
// new one tells all that to its own library, as if a front end had just said it, and passes the conversation on from
// there (relay.h). What cannot be passed on is closed, and the front end connects again.
#pragma once

#include <stdbool.h>

#include "dp/port.h"

struct vhost;

// The old process. Jobs thread, when workers have ended and relays rest.

// From now on the library hears nothing of any front end: whoever says something is answered by the next process.
void vhost_pass_hush(void);
// What the next process needs; nothing if the conversation is not at a point where it can go over.
void vhost_pass_describe(struct vhost *v, struct port_gift *g);

// The new process, jobs thread. Tells the library, which has just got `back`, what `g` describes. False: it does not
// understand.
bool vhost_pass_tell(const struct port_gift *g, int back);
// A connection from us to the library, by a socket that only it knows: `open` is called when somebody listens there.
int vhost_pass_connect(struct vhost *v);
