// Scripted extensions in the house. See ext_rig.h.
#include "ext_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dp/frame.h"
#include "dp/port.h"
#include "dp/snap.h"
#include "ext/ext_feature.h"

#define PATIENCE_S 30

struct hooks hooks[N_HOOKS];

static char notes[4096];

static bool some_left(void)
{
	for (uint16_t i = 0; i < MAX_EXTS; i++)
		if (ext_at(i) != NULL)
			return true;
	return false;
}

void ext_rig_drain(void)
{
	while (some_left())
		house_turn();
}

static void setup(void)
{
	memset(hooks, 0, sizeof(hooks));
	notes[0] = '\0';
	house_setup();
}

static void teardown(void)
{
	house_teardown();
	ext_rig_drain();
	for (int i = 0; i < N_HOOKS; i++)
		ck_assert_uint_eq(hooks[i].n_created, hooks[i].n_destroyed);
	house_flows(true);
}

TCase *ext_rig_case(Suite *s, const char *name)
{
	TCase *c = tcase_create(name);

	tcase_set_timeout(c, 0);
	tcase_add_checked_fixture(c, setup, teardown);
	suite_add_tcase(s, c);
	return c;
}

void ext_rig_trust(void)
{
	ext_trust_set("/nonexistent", true);
}

int ext_rig_run(Suite *s)
{
	ext_rig_trust();
	return house_run(s, 0);
}

// In the build they stand in a folder beside the test's; or all is in one.
static void built_path(const char *file, char path[512])
{
	char dir[256];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	ck_assert_int_gt(n, 0);
	dir[n] = '\0';
	*strrchr(dir, '/') = '\0';
	snprintf(path, 512, "%s/%s.so", dir, file);
	if (access(path, R_OK) == 0)
		return;
	*strrchr(dir, '/') = '\0';
	snprintf(path, 512, "%s/ext/%s.so", dir, file);
}

// A copy in a directory of our own: who owns the build is not said.
static void path_of(const char *file, char path[512])
{
	char from[512], bytes[65536];
	size_t n;

	snprintf(path, 512, "%s/%s.so", house_dir(), file);
	built_path(file, from);
	if (access(path, R_OK) == 0 || access(from, R_OK) != 0)
		return;
	FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");

	ck_assert_msg(in != NULL && out != NULL, "cannot copy %s", from);
	while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
		ck_assert_uint_eq(fwrite(bytes, 1, n, out), n);
	fclose(in);
	ck_assert_int_eq(fclose(out), 0);
	ck_assert_int_eq(chmod(path, 0600), 0);
}

static const char *conf_of(const char *name, const char *file, struct hooks *h, const char *more)
{
	static char text[1024];
	char path[512];

	path_of(file, path);
	h->name = name;
	snprintf(text, sizeof(text), "{'switch': 'sw0', 'path': '%s', 'config': {'hooks': %lu}%s%s}", path,
		 (unsigned long)(uintptr_t)h, more != NULL ? ", " : "", more != NULL ? more : "");
	return text;
}

void plug(const char *name, const char *file, struct hooks *h, const char *more)
{
	set("ext", name, conf_of(name, file, h, more));
}

void plug_refused(const char *name, const char *file, struct hooks *h, const char *more, const char *words)
{
	refused("ext", name, conf_of(name, file, h, more), words);
}

void unplug(const char *name)
{
	del("ext", name);
}

void until_published(void)
{
	uint64_t epoch = snap_now()->epoch;
	const time_t end = time(NULL) + PATIENCE_S;

	while (snap_now()->epoch == epoch) {
		ck_assert_msg(time(NULL) < end, "nothing was published");
		house_turn();
	}
	house_settle();
}

struct ext_counters counted(const char *name)
{
	struct ext_counters n;

	ck_assert_msg(ext_find(name) != NULL, "no extension %s", name);
	ext_counters_sum(ext_find(name), &n);
	return n;
}

void expect_ext_drops(const char *name, unsigned reason, uint64_t n)
{
	uint16_t detail = ext_find(name)->details[reason];

	ck_assert_uint_ne(detail, 0);
	ck_assert_uint_eq(drop_detail_count(detail), n);
}

void note(const struct hooks *h, const char *what)
{
	size_t n = strlen(notes);

	snprintf(notes + n, sizeof(notes) - n, "%s%s:%s", n > 0 ? " " : "", h->name, what);
}

void expect_notes(const char *words)
{
	ck_assert_str_eq(notes, words);
	notes[0] = '\0';
}

void note_in(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)f, (void)a;
	note(h, "in");
}

void note_out(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)f, (void)a;
	note(h, "out");
}

void ask_packets(struct hooks *h, const struct evs_flow *f, struct evs_answer *a)
{
	(void)h, (void)f;
	a->verdict = EVS_PACKETS;
}

void three_ports(void)
{
	sw("sw0", "external");
	port("a", "sw0", NULL);
	port("b", "sw0", NULL);
	port("c", "sw0", NULL);
	inject("b", eth(MAC_ALL, MAC_B));
	expect_last("a");
	expect_last("c");
	inject("c", eth(MAC_ALL, MAC_C));
	expect_last("a");
	expect_last("b");
}

uint32_t id_of(const char *name)
{
	return port_find(name)->id;
}

const struct frame *udp(const uint8_t dst[6], const uint8_t src[6], int version, uint8_t last, uint16_t dport)
{
	struct frame_spec s = {.has_ip = true, .proto = 17, .sport = 1000, .dport = dport};
	uint8_t bytes[256];
	const int end = version == 4 ? 3 : 15;

	memcpy(s.dst, dst, 6);
	memcpy(s.src, src, 6);
	s.ip_src.family = s.ip_dst.family = version == 4 ? AF_INET : AF_INET6;
	s.ip_src.bytes[0] = s.ip_dst.bytes[0] = version == 4 ? 10 : 0xfd;
	s.ip_src.bytes[end] = 1;
	s.ip_dst.bytes[end] = last;
	return from_bytes(bytes, frame_build(&s, bytes, sizeof(bytes)));
}
