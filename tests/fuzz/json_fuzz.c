// What a client sends: lines, JSON, JSON-RPC and parameters, on the server's own path from received
// bytes to the answer. Every answer must be one line of JSON that carries a result or a sentence.
#include <event2/buffer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctrl/api/log.h"
#include "ctrl/client.h"
#include "ctrl/event.h"
#include "ctrl/loop.h"
#include "ctrl/methods.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int echo_call(struct request *rq, struct err *e)
{
	(void)e;
	rq_result(rq, rq_params(rq, NULL));
	return 0;
}

static const struct param params[] = {
    {.name = "name", .type = PARAM_NAME, .flags = PARAM_POSITIONAL},
    {.name = "string", .type = PARAM_STRING},
    {.name = "path", .type = PARAM_PATH},
    {.name = "bool", .type = PARAM_BOOL},
    {.name = "int", .type = PARAM_INT, .min = -5, .max = 5000},
    {.name = "rate", .type = PARAM_RATE},
    {.name = "size", .type = PARAM_SIZE, .flags = PARAM_CLEARS},
    {.name = "enum", .type = PARAM_ENUM, .values = "a|bc"},
    {.name = "mac", .type = PARAM_MAC},
    {.name = "ip", .type = PARAM_IP},
    {.name = "prefix", .type = PARAM_PREFIX},
    {.name = "uuid", .type = PARAM_UUID},
    {.name = "vlans", .type = PARAM_VLANS},
    {.name = "names", .type = PARAM_NAMES},
    {.name = "hex", .type = PARAM_HEX},
    {.name = "json", .type = PARAM_JSON},
    {.name = "input", .type = PARAM_INPUT},
    {0},
};
static const struct method methods[] = {
    {.name = "t.echo", .help = "h", .params = params, .call = echo_call},
    {.name = "t.write", .help = "h", .params = params, .flags = METHOD_WRITE, .call = echo_call},
    {0},
};
static const struct module module = {.name = "fuzz", .methods = methods};
static const struct module *const list[] = {&module, &event_module, &methods_module, NULL};

static void require(int truth)
{
	if (!truth)
		abort();
}

static void answers_check(struct client *c)
{
	size_t len;
	char *line;

	while ((line = evbuffer_readln(c->out, &len, EVBUFFER_EOL_LF)) != NULL) {
		json_t *m = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
		json_t *error = json_object_get(m, "error");
		require(m && (json_object_get(m, "result") ||
			      json_string_length(json_object_get(error, "message"))));
		json_decref(m);
		free(line);
	}
	require(evbuffer_get_length(c->out) == 0);
}

static bool has_line(const struct client *c)
{
	return c->in_end > c->in_start && memchr(c->in + c->in_start, '\n', c->in_end - c->in_start);
}

static void turns(struct client *c)
{
	while (has_line(c) && !c->closing) {
		client_turn(c);
		answers_check(c);
	}
}

// Bytes in two pieces, so that lines are also cut; after each, all lines are answered.
static void feed(struct client *c, const uint8_t *data, size_t size)
{
	size_t first = data[0] % size;

	if (first)
		client_input(c, data, first, NULL, 0);
	turns(c);
	client_input(c, data + first, size - first, NULL, 0);
	turns(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ready;
	int pair[2];

	if (!ready) {
		log_init(LOG_LEVEL_ERROR, false);
		require(loop_init(NULL) == 0 && methods_init(list, NULL) == 0);
		ready = 1;
	}
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	struct client *c = client_create(pair[0], 0, 1, true);
	require(c != NULL);
	if (size)
		feed(c, data, size);
	require(n_clients == 1);
	client_close(c);
	close(pair[1]);
	return 0;
}
