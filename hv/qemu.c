// QEMU's arguments for a vhost-user port, as a shell takes them. Control thread.
//
// QEMU is the opposite of the port on the socket, and has the defaults of its virtio network card for all that the port
// does not decide.
#include "hypervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/value.h"
#include "dp/port.h"
#include "shell.h"

#define DEFAULT_MTU 1500

bool hypervisor_says_mtu(const struct port_conf *c)
{
	return c->mtu != DEFAULT_MTU;
}

// What QEMU allows in an identifier; a port's name may have colons, too.
static void id_print(const struct port_conf *c, char id[PORT_NAME_SIZE])
{
	snprintf(id, PORT_NAME_SIZE, "%s", c->name);
	for (char *colon = id; (colon = strchr(colon, ':')) != NULL;)
		*colon = '_';
}

// A comma ends a value unless it is doubled.
static void path_print(const char *path, char *buf)
{
	for (; *path; path++) {
		*buf++ = *path;
		if (*path == ',')
			*buf++ = ',';
	}
	*buf = '\0';
}

static void option_add(json_t *args, const char *option, json_t *value)
{
	json_array_append_new(args, json_string(option));
	json_array_append_new(args, value);
}

static void memory_add(json_t *args, int64_t bytes)
{
	char size[VALUE_NUMBER_LEN] = "SIZE";

	if (bytes == 0)
		return;
	if (bytes > 0)
		value_print_size(bytes, size);
	option_add(args, "-m", json_string(size));
	option_add(args, "-object",
		   json_sprintf("memory-backend-memfd,id=evs-memory,size=%s,share=on", size));
	option_add(args, "-numa", json_string("node,memdev=evs-memory"));
}

static json_t *device(const struct port_conf *c, const char *id)
{
	char mac[sizeof(",mac=") + VALUE_MAC_LEN] = "", mq[48] = "", mtu[24] = "", text[VALUE_MAC_LEN];

	if (c->has_mac)
		snprintf(mac, sizeof(mac), ",mac=%s", value_print_mac(c->mac, text));
	if (c->n_queues > 1)
		snprintf(mq, sizeof(mq), ",mq=on,vectors=%u", 2 * c->n_queues + 2);
	if (hypervisor_says_mtu(c))
		snprintf(mtu, sizeof(mtu), ",host_mtu=%u", c->mtu);
	return json_sprintf("virtio-net-pci,netdev=net-%s%s%s%s", id, mac, mq, mtu);
}

static json_t *args_make(const struct port_conf *c, int64_t memory_bytes)
{
	char id[PORT_NAME_SIZE], path[2 * sizeof(c->socket)], queues[16] = "";
	json_t *args = json_array();

	id_print(c, id);
	path_print(c->socket, path);
	if (c->n_queues > 1)
		snprintf(queues, sizeof(queues), ",queues=%u", c->n_queues);
	memory_add(args, memory_bytes);
	option_add(args, "-chardev",
		   json_sprintf("socket,id=chr-%s,path=%s,%s", id, path,
				c->server ? "reconnect=1" : "server=on,wait=off"));
	option_add(args, "-netdev", json_sprintf("vhost-user,id=net-%s,chardev=chr-%s%s", id, id, queues));
	option_add(args, "-device", device(c, id));
	return args;
}

static json_t *notes_make(const struct port_conf *c, int64_t memory_bytes)
{
	json_t *notes = json_array();

	if (memory_bytes < 0)
		json_array_append_new(
		    notes, json_sprintf("SIZE is the guest's memory, such as 2G, the same in both places: "
					"'evsctl port qemu-args %s memory 2G' fills it in",
					c->name));
	if (memory_bytes != 0)
		json_array_append_new(
		    notes, json_string("-m, -object and -numa stand once for a guest, however many ports it "
				       "has: 'memory 0' leaves them out"));
	if (!c->has_mac)
		json_array_append_new(
		    notes, json_string("the port has no mac: add mac=… to -device, as QEMU gives the first "
				       "card of every guest the same address"));
	json_array_append_new(
	    notes,
	    json_string("only without hardware virtualization (accel=tcg): vectors=0 at the end of -device, "
			"or QEMU 7.2 crashes when the guest's driver starts"));
	return notes;
}

// One option on each line; what is to be known stands behind, where it does not part them.
static json_t *text_make(const json_t *args, const json_t *notes)
{
	char *text = NULL, word[SHELL_WORD_MAX(512)]; // longer than any of them
	const json_t *item;
	size_t len, i;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	json_array_foreach (args, i, item) {
		fputs(i == 0 ? "" : i % 2 == 0 ? " \\\n" : " ", f);
		fputs(shell_word(json_string_value(item), word, sizeof(word)), f);
	}
	fputc('\n', f);
	json_array_foreach (notes, i, item)
		fprintf(f, "# %s\n", json_string_value(item));
	fclose(f);
	json_t *out = json_string(text);

	free(text);
	return out;
}

json_t *qemu_args(const struct port_conf *c, int64_t memory_bytes)
{
	json_t *args = args_make(c, memory_bytes), *notes = notes_make(c, memory_bytes);

	return json_pack("{s:o, s:o, s:o}", "text", text_make(args, notes), "args", args, "notes", notes);
}
