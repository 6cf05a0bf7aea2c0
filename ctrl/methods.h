// The registry of all modules' methods, and `system.methods`, which describes them to clients.
//
// `system.methods` takes the optional parameter `object` ("port": only methods "port.*") and answers
//
//   {"methods": [
//      {"name": "port.add",            object "." verb; the list is sorted by name
//       "help": "one line",
//       "write": true,                 needs the writer role
//       "stream": false,               answers with `event` notifications until the client goes
//       "params": [                    in the order of the table; positional ones as they stand
//          {"name": "mtu",
//           "type": "int",             string name path bool int rate size enum mac ip prefix uuid
//                                      vlans names hex json input output
//           "help": "one line",
//           "required": false,
//           "positional": false,       on the command line the value stands first, without its name
//           "flag": false,             a bool that may stand alone as a word
//           "clears": false,           "" (or JSON null) is taken and means "set back to none"
//           "default": "1500",         as a person writes it; left out = absent stays absent
//           "unit": "bytes",           left out if there is none
//           "min": 68, "max": 9216,    int, rate and size only; left out if the table has no range
//           "live": true,              output: to be opened in place, as others read it while it is written; left
//                                      out = it gets its name when the answer is there
//           "count": "files",          output: the number that says how many there are (absent: one), F, F.2, F.3 …,
//                                      whose descriptors come one behind the other; left out = one
//           "values": ["a", "b"]}],    enum: the words; bool: ["on", "off"]; otherwise left out
//       "columns": [                   left out when the result is no table
//          {"name": "rx_bytes", "help": "one line", "unit": "bytes"}]}]}     unit may be left out
//
// A client sends parameters as an object keyed by name. Every value may be the string that a person
// typed ("1G", "on", "10-20,30", "a,b"), so that a client need not know types, except that
//   json    is sent as any JSON value,
//   input, output  are {"fd": I}, where I counts the descriptors sent by SCM_RIGHTS with the bytes
//           of this request (at most 8), and
//   JSON numbers for int, rate and size, booleans for bool, arrays of strings for names are taken too.
// The result of a method with columns is an array of objects keyed by the columns' names (keys may be
// absent, and a row may have more keys than there are columns); of others any JSON value, where an object
// with the key `text` is shown to people as that text; a change that has nothing to tell answers true.
//
// A stream answers true as soon as it is accepted; then each event is a notification of its own,
//   {"jsonrpc": "2.0", "method": "event", "params": {"time": "2026-01-31T12:00:00.123Z",
//    "kind": "port-up", "object": "vm1", "text": "…"}}    object left out if there is none
// and its columns name the keys of params. A reader that was too slow gets one event of kind "lost".
// Other methods may tell their progress before they answer, at most ten times a second:
//   {"jsonrpc": "2.0", "method": "progress", "params": {"id": ID, "done": N, "total": N}}
//
// Control thread. The registry keeps pointers to tables: modules' are static, and see methods_add().
#pragma once

#include <jansson.h>

#include "ctrl/api/method.h"
#include "ctrl/api/module.h"

// Collects the methods of a NULL-terminated list of modules. Refuses a name that is there twice and
// a table entry that cannot work (a default that its own type refuses, an enum without values).
int methods_init(const struct module *const *list, struct err *e);
void methods_fini(void);

const struct method *methods_find(const char *name);    // may be NULL
const struct method *methods_nearest(const char *name); // a likely meaning of a mistyped name; may be NULL
json_t *methods_describe(const char *object);           // the answer of system.methods; NULL = all

extern const struct module methods_module; // brings system.methods
