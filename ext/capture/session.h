// A session: what one `capture start` asked for, from then until it ends.
//
// Workers put packets into its lanes; a thread of its own, the writer, takes them out in the order of their times and
// writes them. It ends when it is asked to, when its file cannot be written to any more, or with the extension.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <evswitch/extension.h>
#include <pcap/pcap.h>

#include "lane.h"

#define MAX_FILES 8
#define NAME_SIZE 64

enum side {
	SIDE_IN,
	SIDE_OUT
}; // the port's packets as they enter the switch, as they leave it; interfaces 0 and 1

struct session {
	char name[NAME_SIZE], port_name[NAME_SIZE];
	uint32_t port;
	bool packets, drops; // which it wants
	uint32_t snaplen, sample;
	char *filter_text; // NULL = none
	struct bpf_program filter;
	uint64_t max_bytes; // of a file, 0 = no bound
	unsigned n_files;
	int files[MAX_FILES];
	const struct evs_request *request;
	void (*unlink)(struct session *s); // writer: takes it away from the workers, for good
	void *owner;

	pthread_t writer;
	_Atomic uint32_t one_in; // control: of the packets that it is given
	uint64_t give_up_ns; // writer: when it has been stopped, until then its reader may take what is left
	bool regular;        // its files are
	unsigned file;       // writer: which is written to
	uint64_t file_bytes; // writer
	_Atomic uint64_t n_bytes;
	_Atomic bool stop;       // any
	_Atomic bool ended;      // writer: it may be joined
	const char *_Atomic why; // literal text; NULL = it was asked to
	struct lane lanes[EVS_MAX_WORKERS];
};

// control

// Takes over the files of the request. NULL with a sentence.
struct session *session_create(const struct evs_request *r, struct evs_why *why);
bool session_start(struct session *s, struct evs_why *why);
void session_destroy(struct session *s); // its writer has ended, or never began
uint64_t session_count(const struct session *s, bool lost);

// worker

struct take { // what is put into a lane
	const struct evs_host *host;
	const struct evs_call *call;
	const struct evs_packet *packet;
	enum side side;
	uint64_t time_ns;
	const char *comment; // NULL = none
};
void session_take(struct session *s, const struct take *t);
