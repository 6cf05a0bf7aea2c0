// What a switch process and its successor tell each other in an upgrade: JSON objects, and descriptors that go along.
//
// One packet of a seqpacket socket each. The key "word" says what it is:
//
//   successor                          predecessor
//   hello {protocol, version, huge}    welcome {cores, level}      before it starts DPDK
//   ready                              load                        no change is made any more, the store is free
//   loaded                             state …                     {port, owner, state}: as in an exported port
//                                      up {ports} …, learned       names of the ports that are up
//   learned                            gift {port, what} + …       workers have stopped: what ports leave to the next
//                                      go + listening sockets      they are the successor's
//   live                               state …, end                what is final only now
//   done {up, before}                  (ends)                      how many ports are up, and were
//   error {text}                                                   at any time before go
//
// Control thread, but handover_wait(), which is for the time before there is a loop.
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "ctrl/api/err.h"

#define HANDOVER_PROTOCOL 1
#define HANDOVER_FDS      128

struct handover;

// `heard` gets what the other side says, borrowed, with its descriptors, which it takes over; NULL: it is gone.
struct handover *handover_open(int fd,
			       void (*heard)(const json_t *m, const int *fds, unsigned n_fds, void *arg),
			       void *arg);
void handover_close(struct handover *h); // accepts NULL
// Takes over the reference; descriptors are duplicated.
void handover_say(struct handover *h, json_t *m, const int *fds, unsigned n_fds);
void handover_word(struct handover *h, const char *word);
bool handover_is_busy(const struct handover *h); // says more than the other side takes

const char *handover_word_of(const json_t *m);

// Says m (takes over the reference) and waits for the answer. NULL with a sentence.
json_t *handover_wait(int fd, json_t *m, int wait_ms, struct err *e);
