// The control server on a real socket, in one thread: the test plays the clients between turns of the
// loop.
//
// Its methods: t.echo answers its parameters, t.refuse refuses, t.write counts, t.later waits for
// rq_done(held), t.many answers with a long table in steps, t.copy copies one descriptor to another.
#pragma once

#include "ctrl/api/err.h"
#include "ctrl/api/module.h"
#include "ctrl/client.h"
#include "ctrl/request.h"

extern struct request *held; // by t.later
extern unsigned n_writes, n_gone, n_released, n_steps;
extern const struct module test_module;
extern char server_dir[64], server_path[96];

int echo_call(struct request *rq, struct err *e); // t.echo

void server_setup(void);
void server_teardown(void);

int dial(void);
void say(int fd, const char *text);
const char *hear(int fd); // the next line and no byte behind it; "" = the server has closed
const char *ask(int fd, const char *text);

#define CALL(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}\n"
#define OK(result) "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":" result "}"
void expect_error(const char *line, int code, const char *part);

struct client *the_client(void); // there is one
void turn_until_clients(unsigned n);
