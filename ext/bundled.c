// The extension that comes with the daemon, loaded when it is wanted. Control thread.
#include "bundled.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/log.h"
#include "dp/switch.h"
#include "load.h"
#include "methods.h"

static struct ext described; // no instance: for its description

// Beside the program in a build tree, else where `make install` puts it. Whoever can change what lies there can change
// the program, too: so no signature is asked for.
static bool path_find(char path[PATH_MAX])
{
	static const char *const places[] = {"ext/capture.so", "../lib/evswitch/capture.so"};
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (n <= 0)
		return false;
	program[n] = '\0';
	*(strrchr(program, '/') + 1) = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char there[2 * PATH_MAX];

		snprintf(there, sizeof(there), "%s%s", program, places[i]);
		if (realpath(there, path) != NULL)
			return true;
	}
	return false;
}

void bundled_init(void)
{
	struct err e = {0};

	snprintf(described.conf.name, sizeof(described.conf.name), "capture");
	described.bundled = true;
	if (!path_find(described.conf.path))
		log_warn("capture: the extension capture.so is not installed; there are no captures");
	else if (ext_examine(&described, &e) < 0)
		log_error("%s; there are no captures", e.text);
	else
		ext_methods_add(&described);
}

static void stop_over(void *x)
{
	ext_end(x);
}

// What is asked for by now is published when all workers have passed what was published before.
static void stop_unlinked(void *x)
{
	change_touch(stop_over, x);
}

static void stop(struct ext *x)
{
	x->leaving = true;
	ext_switch_dirty(x->switch_index);
	change_touch(stop_unlinked, x);
}

struct ext *bundled_get(uint16_t sw, struct err *e)
{
	const char *sw_name = switch_at(sw)->name;
	char name[2 * PORT_NAME_SIZE];

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x == NULL || !x->bundled || x->leaving || x->switch_index != sw)
			continue;
		if (x->state == EXT_UP || x->state == EXT_LOADING)
			return x;
		stop(x);
	}
	snprintf(name, sizeof(name), "capture:%s", sw_name);
	json_t *conf = json_pack("{s:s, s:s}", "switch", sw_name, "path", described.conf.path);
	struct ext *x = ext_start(name, conf, e);

	json_decref(conf);
	return x;
}

void bundled_look(void)
{
	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		struct ext *x = ext_at(i);

		if (x == NULL || !x->bundled || x->leaving)
			continue;
		const struct vswitch *sw = switch_at(x->switch_index);

		if (sw == NULL)
			stop(x);
		else // another one may have taken its place: what is loaded serves that
			snprintf(x->conf.switch_name, sizeof(x->conf.switch_name), "%s", sw->name);
	}
}
