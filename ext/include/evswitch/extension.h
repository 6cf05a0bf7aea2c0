// The extension interface of evswitch: all that a plug-in needs, and all that it can use.
//
// An extension is a shared object (.so) with one symbol, which EVS_EXTENSION() makes: a description with its
// name, its kind, what it reads of a packet, and its functions. It is loaded for one switch
// (`evsctl ext load NAME switch SW path FILE`) and may be loaded for several, each with a life of its own.
//
// Kinds, in the order in which a packet meets them on its way in (on its way out the order is reversed):
//   capture  looks on, and changes nothing
//   filter   drops packets on their way in, excludes destinations on their way out
//   forward  chooses destinations instead of the switch; one of a switch at most is enabled
//
// Decisions are about flows. A flow call gets the fields that the extension has declared to read (`reads`), and
// nothing else; so its answer holds for all packets that have them in common. The switch keeps the answer and does
// not ask again: extensions cost nothing on flows that are known. An extension that has to see each packet
// answers EVS_PACKETS, and gets them in batches.
//
// The promise: what is built against this header is loaded by every later evswitch. Structs grow at their
// end only; each begins with its size as its maker knew it, and what lies behind that size is not there. Numbers of
// enumerations are never given a second meaning.
//
// Threads. Functions marked [control] are called one at a time, may take locks and allocate, and should return
// within a second. Functions marked [worker] are called by several threads at once, on the packet path: they must not
// wait for anything. Flow calls are made by [control] too, for traces.
//
// C and C++. Nothing but the three headers below is needed, and no symbol of the daemon.
#ifndef EVSWITCH_EXTENSION_H
#define EVSWITCH_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVS_ABI 1

// Of the whole: no packet has it as its source but those that an extension or the switch has made.
#define EVS_NO_PORT 0

enum evs_kind { EVS_CAPTURE = 1, EVS_FILTER = 2, EVS_FORWARD = 3 };

// What flow calls may depend on. A flow call gets these fields of the packet, where the packet has them; all
// others are 0. Fewer are better: packets that differ in nothing that is read share a flow.
enum evs_reads {
	EVS_READ_ETHERNET = 0, // addresses, type, VLAN, priority; always given
	EVS_READ_IP = 1,       // version, protocol, addresses
	EVS_READ_PORTS = 2     // ports of TCP, UDP and SCTP; type and code of ICMP; goes with EVS_READ_IP
};

enum evs_flags {
	// Packet calls on the way in may change bytes: the packet is then looked at anew by what comes behind the
	// extension. Not for captures.
	EVS_MODIFIES = 1
};

// A port: a number that is never given to another one while the daemon runs. Names stay over restarts and
// migrations, numbers do not: save names.
struct evs_port {
	uint32_t size;
	uint32_t id;
	const char *name;
	const char *vm; // of the virtual machine; "" = not known
	uint32_t type;  // enum evs_port_type
	uint32_t mtu;   // bytes behind the Ethernet header and its tags
	uint8_t mac[6]; // its own address; all 0 = it has none, and whatever it sends is learned
	bool validates; // only asks whether such a port would do: nothing is to be kept for it
	bool connected; // frames can reach it
};

enum evs_port_type { EVS_PORT_GUEST = 1, EVS_PORT_UPLINK = 2, EVS_PORT_HOST = 3 };

// Steps of a port's life, in their order; CONNECT to DISCONNECT may come several times.
enum evs_port_step {
	EVS_PORT_CREATE = 1, // may be refused
	EVS_NIC_CREATE = 2,  // may be refused
	EVS_NIC_CONNECT = 3, // from here on it may be a destination
	EVS_NIC_UPDATED = 4,
	EVS_NIC_DISCONNECT = 5,
	EVS_NIC_DELETE = 6,
	EVS_PORT_TEARDOWN = 7,
	EVS_PORT_DELETE = 8
};

// What a packet's flow call may decide on. Numbers are in the machine's byte order, addresses in the wire's.
struct evs_flow {
	uint32_t size;
	uint32_t source;      // port; EVS_NO_PORT = made by an extension that is trusted
	uint32_t destination; // on the way out: the port in question; else EVS_NO_PORT
	bool trace;           // nobody sent it: answer as ever, and keep nothing of it
	bool has_ports;       // sport and dport are known: the packet has them, and it is no later fragment
	uint8_t dst[6], src[6];
	uint16_t ether_type;            // behind the outer tag
	uint16_t vlan;                  // that the packet is of; 0 = untagged
	uint8_t priority;               // of its tag, 0 without one
	uint8_t ip_version;             // 4, 6; 0 = neither, or not declared
	uint8_t ip_proto;               // behind extension headers
	uint8_t ip_src[16], ip_dst[16]; // IPv4 in the first four bytes
	uint16_t sport, dport;          // of ICMP: type, code
};

enum evs_verdict {
	EVS_PASS = 0,
	EVS_DROP = 1,   // on the way in: the packet; on the way out: this destination is excluded
	EVS_PACKETS = 2 // pass each packet of the flow to the packet call
};

enum evs_sets { EVS_SET_DST = 1, EVS_SET_SRC = 2, EVS_SET_DSCP = 4 };

#define EVS_MAX_DESTINATIONS 8

// An answer; it comes all 0 but for its size, which means to let the flow pass. What the extension's kind may not
// ask for is refused, counted as its fault, and taken as EVS_PASS.
struct evs_answer {
	uint32_t size;
	uint32_t verdict; // enum evs_verdict
	uint32_t reason;  // of a drop: number in the description's list of reasons
	uint32_t
	    sets; // enum evs_sets; filters and forwards, on the way in: fields that all packets are given
	uint8_t dst[6], src[6];
	uint8_t dscp; // 0..63
	// Forwards, on the way in. Not `chosen`: the switch forwards by its addresses.
	bool chosen;
	bool flood;             // to every port that would get an unknown address
	uint8_t n_destinations; // chosen, and none and no flood: the packet is dropped
	uint32_t destinations[EVS_MAX_DESTINATIONS];
	bool
	    notice; // with EVS_PASS or EVS_PACKETS, on the way in: `flows_ended` is to hear of the flow's end
};

// A packet, for packet calls. `data` is valid during the call.
struct evs_packet {
	uint32_t size;
	uint32_t length;      // of the frame, without its check sequence
	uint8_t *data;        // Ethernet header; to be written to with EVS_MODIFIES on the way in only
	uint32_t safe;        // bytes at data: the rest is where its sender may still write
	uint32_t source;      // port
	uint32_t destination; // on the way out; else EVS_NO_PORT
	uint16_t vlan;
	uint16_t ether_type;
	uint16_t l3, l4; // where the headers begin; 0 = none
	uint8_t ip_version, ip_proto;
	bool fragment;
	// Answer
	uint8_t verdict; // EVS_PASS as it comes, or EVS_DROP; captures: EVS_PASS
	uint32_t reason;
	// On the way out: the tag that the packet leaves with, whatever tag is in its bytes.
	bool tagged;
	uint16_t tci;
};

// Why a packet is dropped. Texts are valid while the extension is loaded.
struct evs_drop {
	uint32_t size;
	const char *stage;     // "egress policy"
	const char *reason;    // a stable word: "mtu-exceeded"
	const char *text;      // a sentence without subject; of an extension in its own words
	const char *extension; // whose doing it is; "" = the switch's
};

// What is known of a call on the packet path.
struct evs_call {
	uint32_t size;
	uint32_t worker; // that makes the call: 0 … EVS_MAX_WORKERS - 1
	uint64_t now_ns; // time since some moment in the past; read once for a burst of packets
	void *local;     // this worker's memory of `worker_bytes`, zero at first; NULL in a trace
};

#define EVS_MAX_WORKERS 17

// The end of a flow for which an answer asked for notice: it was not used for ten seconds, or had to make room, its port was
// deleted, or it was decided anew without such an answer.
struct evs_flow_end {
	uint32_t size;
	const struct evs_flow *flow; // the fields that were declared
	uint64_t packets,
	    bytes;         // since it began; those that no flow decides, as fragments, are not among them
	uint8_t tcp_flags; // seen in its packets, or'ed
};

// For errors: a sentence without the extension's name.
struct evs_why {
	uint32_t size;
	char text[508];
};

enum evs_log_level { EVS_LOG_ERROR = 3, EVS_LOG_WARN = 4, EVS_LOG_INFO = 6, EVS_LOG_DEBUG = 7 };

struct evs_instance; // an extension loaded for a switch, as the daemon knows it

// What the daemon does for an extension. A function that lies behind `size`, or is NULL, is not offered.
struct evs_host {
	uint32_t size;
	uint32_t abi; // of the daemon
	const char *version;
	// any thread but workers
	void (*log)(struct evs_instance *i, int level, const char *text);
	// To all who watch events. `kind` is a stable word.
	void (*event)(struct evs_instance *i, const char *kind, const char *text);
	// any thread
	uint64_t (*now_ns)(void);
	// Takes answers back: flow calls are made again, of all flows or of those from and to a port. Packets that are
	// handled later than a few milliseconds after it are decided anew.
	void (*revoke)(struct evs_instance *i, uint32_t port);
	// Packet calls get one packet in about `rate`, chosen at random; 0 and 1 = each. Not with EVS_MODIFIES.
	void (*sample)(struct evs_instance *i, uint32_t rate);
	// [control] calls only. The switch's ports, from *at (0 = first) on; false = there is none more. Names are valid
	// until the call that it was made in returns.
	bool (*port_next)(struct evs_instance *i, uint32_t *at, struct evs_port *port);
	bool (*port_find)(struct evs_instance *i, const char *name, struct evs_port *port);
	// Sends a frame of `length` bytes (14 to 9,238). From a port, behind the extension on the way in, as if that port
	// had sent it: what follows applies to it. From EVS_NO_PORT: from nobody, to `destination` alone, which no policy
	// for sources hinders. Any thread. False: it was not taken, as there is no room. Filters and forwards; captures
	// from EVS_NO_PORT only.
	bool (*send)(struct evs_instance *i, const void *frame, uint32_t length, uint32_t source,
		     uint32_t destination);
	// [worker] In a packet call or a drop notice: copies up to `n` bytes of the frame from `offset` on, also of those
	// behind `safe`, which are as their sender has them at this moment. Returns how many.
	uint32_t (*read)(const struct evs_packet *packet, uint32_t offset, void *to, uint32_t n);
	// Captures: whether drop notices are made, which they are not at first. Any thread but workers; in effect a few
	// milliseconds later.
	void (*watch_drops)(struct evs_instance *i, bool on);
};

// Control methods: `evsctl OBJECT METHOD ...`, with help, completion and a manual as the switch's own have them.

enum evs_param_type {
	EVS_PARAM_STRING = 1, // 1 to 255 printable bytes
	EVS_PARAM_NAME = 2,
	EVS_PARAM_BOOL = 3,
	EVS_PARAM_INT = 4,    // min to max
	EVS_PARAM_SIZE = 5,   // bytes: "4K"; min to max
	EVS_PARAM_RATE = 6,   // bits per second: "1G"; min to max
	EVS_PARAM_ENUM = 7,   // one of `values`, "a|b|c"
	EVS_PARAM_PORT = 8,   // the name of a port of the switch
	EVS_PARAM_INPUT = 9,  // a file that the caller opens; "-" = its standard input
	EVS_PARAM_OUTPUT = 10 // a file that the caller makes; "-" = its standard output
};

enum evs_param_flags {
	EVS_REQUIRED = 1,
	EVS_POSITIONAL = 2, // on the command line its value stands first, without its name
	// Of an output: others may read it while it is written. (Else it has its name once the method has been answered.)
	EVS_LIVE = 4
};

struct evs_param {
	uint32_t size;
	uint32_t type;  // enum evs_param_type
	uint32_t flags; // enum evs_param_flags, or'ed
	const char *name;
	const char *help; // one line
	const char *def;  // as people write it; NULL = absent stays absent
	const char *unit; // "bytes"; NULL = none. Of an output: the number that says how many files there are
	const char *values; // EVS_PARAM_ENUM
	int64_t min, max;
};

struct evs_column {
	uint32_t size;
	const char *name;
	const char *help;
	const char *unit; // NULL = none
};

// A call of a method, until it is answered.
struct evs_request {
	uint32_t size;
	// Values, by the parameter's name. Absent: NULL, 0, -1.
	const char *(*text)(const struct evs_request *r, const char *param);
	int64_t (*number)(const struct evs_request *r, const char *param); // BOOL: 0, 1; PORT: its number
	int (*file)(const struct evs_request *r,
		    const char *param); // the next of them; to be closed by the extension
	// A row of the answer: a JSON object with the columns' names as keys.
	void (*row)(const struct evs_request *r, const char *json);
	// Answers a request that stays, once: NULL = well, else refused with this sentence. Any thread but workers.
	void (*done)(const struct evs_request *r, const struct evs_why *why);
};

enum evs_method_flags {
	EVS_CHANGES = 1, // for those only who may change the switch, and noted in the log
	// The request stays when `call` has returned 0, until `done`; or until the client goes: `gone` says so, and
	// `done` is still to be called.
	EVS_STAYS = 2
};

// The instance that a call goes to is that of the switch of its EVS_PARAM_PORT. Without one, all instances of the extension
// are called, and the answer is what they give together; it is a refusal if all refuse.
struct evs_method {
	uint32_t size;
	uint32_t flags; // enum evs_method_flags, or'ed
	const char *name;
	const char *help;                 // one line
	const struct evs_param *params;   // ended by one without a name
	const struct evs_column *columns; // ended by one without a name; NULL = the answer has no rows
	// [control] 0, or refused with a sentence.
	int (*call)(void *self, const struct evs_request *r, struct evs_why *why);
	void (*gone)(void *self, const struct evs_request *r); // [control]
};

enum evs_property_type {
	EVS_BOOL = 1,   // "on", "off"
	EVS_INT = 2,    // min to max
	EVS_STRING = 3, // 1 to 255 printable bytes
	EVS_ENUM = 4,   // one of `values`, "a|b|c"
	EVS_RATE = 5,   // bits per second, given as a decimal number
	EVS_ADDRESS = 6 // IPv4 or IPv6
};

enum evs_scope { EVS_OF_PORT = 1, EVS_OF_SWITCH = 2 };

// A property that people set: `evsctl ext policy set NAME [port PORT] KEY VALUE`. It is kept over restarts and goes
// along with a port that moves.
struct evs_property {
	uint32_t size;
	uint32_t type;  // enum evs_property_type
	uint32_t scope; // enum evs_scope
	const char *name;
	const char *help;
	const char *def;    // NULL = unset
	const char *values; // EVS_ENUM
	int64_t min, max;   // EVS_INT, EVS_RATE
};

// The description. Pointers stay valid, and contents the same, while the extension is loaded. Every function
// may be NULL.
struct evs_extension {
	uint32_t size;
	uint32_t abi;
	const char *name;                      // what it is, in a word: "no-telnet"
	const char *version;                   // "1.0"
	const char *id;                        // a UUID, the same in all versions: who owns what was saved
	uint32_t kind;                         // enum evs_kind
	uint32_t reads;                        // enum evs_reads, or'ed
	uint32_t flags;                        // enum evs_flags, or'ed
	uint32_t worker_bytes;                 // of `local`, up to 64 KiB for each worker
	const char *const *reasons;            // texts for drops, ended by NULL; up to 32
	const struct evs_property *properties; // ended by one without a name; up to 64

	// [control] A new instance: its own memory goes to *self. `config` is the JSON text given by `ext load`, or NULL.
	// 0, or refused with a sentence in `why`. The ports that there are come as steps of their lives behind it.
	int (*create)(const struct evs_host *host, struct evs_instance *i, const char *config, void **self,
		      struct evs_why *why);
	// [control] No worker is inside any more, nor will be.
	void (*destroy)(void *self);
	// [control] 0, or, where a step may be refused, refused with a sentence. Captures do not refuse.
	int (*port)(void *self, uint32_t step, const struct evs_port *port, struct evs_why *why);
	// [control] A property's new value, NULL = unset; of `port`, NULL = of the switch. `only_check`: whether it would be
	// taken. Without this function every value that fits the description is.
	int (*property)(void *self, const struct evs_port *port, const char *name, const char *value,
			bool only_check, struct evs_why *why);

	// [worker] Flow calls: a packet on its way in, and on its way out to one of its destinations.
	void (*flow_in)(void *self, const struct evs_call *call, const struct evs_flow *f,
			struct evs_answer *a);
	void (*flow_out)(void *self, const struct evs_call *call, const struct evs_flow *f,
			 struct evs_answer *a);
	// [worker] Packet calls: up to 32 packets of one source, whose flow call in the same direction answered
	// EVS_PACKETS.
	void (*packets_in)(void *self, const struct evs_call *call, struct evs_packet *const *packets,
			   uint32_t n);
	void (*packets_out)(void *self, const struct evs_call *call, struct evs_packet *const *packets,
			    uint32_t n);

	// [control] State that goes along with a port that moves to another host, or with the switch process that is
	// upgraded: at most `room` bytes to `to`, returns how many, 0 = there is none. No port number may be in it.
	size_t (*save)(void *self, const struct evs_port *port, void *to, size_t room);
	// [control] 0, or refused with a sentence: then the port does not move. `version` is that of who saved it.
	int (*restore)(void *self, const struct evs_port *port, const char *version, const void *from,
		       size_t bytes, struct evs_why *why);
	// [control] Takes over from `old`, the instance of another version (its `version`) of this extension. `create` and the
	// steps of the ports came before; workers call `old` until this one has taken its place, and then it is destroyed. Its
	// memory is to be understood only where both versions agree. 0, or refused with a sentence: the old one stays.
	// Without this function what `save` of the old one gives goes to `restore` of this one.
	int (*upgrade)(void *self, void *old, const char *version, struct evs_why *why);
	// [control] Ends of flows, in batches, within a second. What is too much to be told is left out, and counted in `ext show`.
	void (*flows_ended)(void *self, const struct evs_flow_end *const *ends, uint32_t n);

	// Control methods, ended by one without a name, under this word: `evsctl OBJECT METHOD`. `destroy` answers requests
	// that stay.
	const char *object;
	const struct evs_method *methods;
	// [worker] Captures: a packet that is dropped, or that a packet call takes away from one of its destinations, once
	// host->watch_drops() has asked for it. `destination` is EVS_NO_PORT where none was known.
	void (*dropped)(void *self, const struct evs_call *call, const struct evs_packet *packet,
			const struct evs_drop *why);
};

#if defined(__GNUC__)
#define EVS_PUBLIC __attribute__((visibility("default")))
#else
#define EVS_PUBLIC
#endif

// The one symbol.
EVS_PUBLIC extern const struct evs_extension evs_extension;

// What is not given is 0, which C++ compilers else warn of. The last line is for the semicolon.
#define EVS_EXTENSION(...)                                                                                \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"") \
	    const struct evs_extension evs_extension = {                                                  \
		.size = sizeof(struct evs_extension), .abi = EVS_ABI, __VA_ARGS__};                       \
	_Pragma("GCC diagnostic pop") struct evs_extension

#ifdef __cplusplus
}
#endif
#endif
