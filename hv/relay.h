// A front end's conversation that did not begin here: passed on, as it is, between the connection that was taken over and
// one that the vhost library believes to be the front end's.
//
// Bytes and descriptors only; what they mean is the library's business. Control thread, unless it says otherwise.
#pragma once

#include <stdbool.h>

struct relay;

// Takes over both descriptors, of stream sockets. NULL: out of memory, and they are closed.
struct relay *relay_start(int front, int back);
// Passes nothing on any more. Afterwards any thread may call those below.
void relay_pause(struct relay *r);
// Whether nothing is under way in either direction; answers that are there are passed on first.
bool relay_is_quiet(struct relay *r);
int relay_front(const struct relay *r); // -1 = the conversation is over
void relay_free(struct relay *r);       // accepts NULL; closes both
