// Loading extensions. Jobs thread.
#include "load.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blame.h"
#include "ctrl/api/value.h"
#include "dp/flow_end.h"
#include "ext_feature.h"
#include "host.h"
#include "methods.h"
#include "ports.h"

#define MAX_WORKER_BYTES 65536
#define MAX_SAVED        (1 << 20)

static struct trust_rules rules;
// What comes with the daemon needs no signature: bundled.c
static const struct trust_rules beside_us = {.dir = "/nonexistent", .allow_unsigned = true};

void ext_trust_set(const char *trusted_dir, bool allow_unsigned)
{
	rules = (struct trust_rules){trusted_dir, allow_unsigned};
}

static int refuse(const struct ext *x, struct err *e, const char *what)
{
	return err_set(e, -EINVAL, "ext %s: %s %s", x->conf.name, x->conf.path, what);
}

static int check_kind(const struct ext *x, struct err *e)
{
	const struct evs_extension *is = &x->is;

	if (is->kind < EVS_CAPTURE || is->kind > EVS_FORWARD)
		return refuse(x, e, "is neither a capture, a filter nor a forward extension");
	if (is->flags & ~EVS_MODIFIES || is->reads & ~(EVS_READ_IP | EVS_READ_PORTS))
		return refuse(x, e, "asks for what this evswitch does not know; it needs a newer one");
	if (is->flags & EVS_MODIFIES && is->kind != EVS_FILTER)
		return refuse(x, e, "says that it modifies packets, which filters alone may");
	if (is->worker_bytes > MAX_WORKER_BYTES)
		return refuse(x, e, "wants more than 64 KiB of memory for each worker");
	return 0;
}

// Whether the description is as long as it says: the object's table of symbols knows, if its linker has noted it.
static bool is_long_enough(const struct evs_extension *its)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	return dladdr1(its, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || symbol == NULL ||
	       symbol->st_size == 0 || symbol->st_size >= its->size;
}

// What it says of itself, as far as this daemon knows such things.
static int describe(struct ext *x, struct err *e)
{
	const struct evs_extension *its = dlsym(x->library, "evs_extension");
	uint8_t uuid[16];

	if (its == NULL)
		return refuse(x, e, "is no extension: it has no symbol evs_extension");
	if (its->abi != EVS_ABI)
		return err_set(
		    e, -EINVAL,
		    "ext %s: %s was built for version %u of the extension interface; this evswitch has "
		    "version %u",
		    x->conf.name, x->conf.path, its->abi, EVS_ABI);
	if (its->size < offsetof(struct evs_extension, create) || its->size > 4096 || !is_long_enough(its))
		return refuse(x, e, "describes itself with an impossible size");
	memset(&x->is, 0, sizeof(x->is));
	memcpy(&x->is, its, its->size < sizeof(x->is) ? its->size : sizeof(x->is));
	if (x->is.name == NULL || !value_is_name(x->is.name) || x->is.version == NULL ||
	    !value_is_printable(x->is.version) || strlen(x->is.version) >= PORT_NAME_SIZE)
		return refuse(x, e, "has no proper name or version");
	if (x->is.id == NULL || value_parse_uuid(x->is.id, uuid) < 0)
		return refuse(x, e, "has no UUID as its id");
	for (x->n_reasons = 0; x->is.reasons != NULL && x->is.reasons[x->n_reasons] != NULL;)
		if (!value_is_printable(x->is.reasons[x->n_reasons]) || ++x->n_reasons > EXT_MAX_REASONS)
			return refuse(x, e,
				      "has more than 32 reasons for drops, or one that cannot be printed");
	return check_kind(x, e) < 0 ? e->code : ext_methods_check(x, e);
}

static int locals_make(struct ext *x, struct err *e)
{
	size_t bytes = (x->is.worker_bytes + 63u) & ~(size_t)63;

	for (int i = 0; bytes > 0 && i < EXT_THREADS; i++) {
		x->threads[i].local = aligned_alloc(64, bytes);
		if (x->threads[i].local == NULL)
			return err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
		memset(x->threads[i].local, 0, bytes);
	}
	return 0;
}

static void locals_free(struct ext *x)
{
	for (int i = 0; i < EXT_THREADS; i++) {
		free(x->threads[i].local);
		x->threads[i].local = NULL;
	}
}

static int create(struct ext *x, struct err *e)
{
	struct evs_why why = {.size = sizeof(why)};

	if (x->is.create == NULL)
		return 0;
	blame_enter(BLAME_JOBS, x->index);
	int ret = x->is.create(&ext_host, (struct evs_instance *)x, x->conf.config, &x->self, &why);

	blame_leave(BLAME_JOBS);
	return ret == 0 ? 0 : ext_refusal(x, &why, "does not start", e);
}

// What was examined is what is loaded, and by each instance anew: by its own descriptor, which stays open as long, as the
// loader knows libraries by their names.
static int library_open(struct ext *x, struct err *e)
{
	char object[PORT_NAME_SIZE + 8], path[32];

	snprintf(object, sizeof(object), "ext %s", x->conf.name);
	x->file = trust_check(x->bundled ? &beside_us : &rules, object, x->conf.path, x->signer, e);
	if (x->file < 0)
		return x->file;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", x->file);
	x->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (x->library != NULL)
		return 0;
	close(x->file);
	return err_set(e, -ENOEXEC, "ext %s: cannot load %s: %s", x->conf.name, x->conf.path, dlerror());
}

static void library_close(struct ext *x)
{
	if (x->library == NULL)
		return;
	blame_enter(BLAME_JOBS, x->index); // its destructors
	dlclose(x->library);
	blame_leave(BLAME_JOBS);
	blame_code(x->index, 0, 0);
	close(x->file);
	x->library = NULL;
}

struct where {
	uintptr_t base, from, to; // from, to: of the code
};

static int where_look(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct where *w = arg;

	(void)size;
	if (info->dlpi_addr != w->base)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];

		if (h->p_type == PT_LOAD && h->p_flags & PF_X)
			*w = (struct where){w->base, w->base + h->p_vaddr, w->base + h->p_vaddr + h->p_memsz};
	}
	return 1;
}

static void code_note(const struct ext *x)
{
	struct where w = {.base = ((const struct link_map *)x->library)->l_addr};

	dl_iterate_phdr(where_look, &w);
	blame_code(x->index, w.from, w.to);
}

// All of it may run its code, or be led astray by what it says.
static int library_load(struct ext *x, struct err *e)
{
	blame_enter(BLAME_JOBS, x->index);
	int ret = library_open(x, e);

	if (ret == 0) {
		code_note(x);
		ret = describe(x, e);
	}
	blame_leave(BLAME_JOBS);
	return ret;
}

int ext_examine(struct ext *x, struct err *e)
{
	return library_load(x, e);
}

int ext_load(struct ext *x, struct err *e)
{
	int ret = library_load(x, e);

	if (ret == 0)
		ret = locals_make(x, e);
	if (ret == 0 && x->is.flows_ended != NULL && flow_ends_open() < 0)
		ret = err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
	if (ret == 0)
		ret = create(x, e);
	if (ret == 0) {
		atomic_store(&x->loaded, true);
		return 0;
	}
	locals_free(x);
	library_close(x);
	return ret;
}

static int state_move(struct ext *x, struct ext *old, const struct evs_port *port, void *room, struct err *e)
{
	struct evs_why why = {.size = sizeof(why)};

	blame_enter(BLAME_JOBS, old->index);
	size_t n = old->is.save(old->self, port, room, MAX_SAVED);

	blame_leave(BLAME_JOBS);
	if (n == 0)
		return 0;
	if (n > MAX_SAVED)
		return err_set(e, -EMSGSIZE, "ext %s: what it has saved is longer than the room it was given",
			       x->conf.name);
	blame_enter(BLAME_JOBS, x->index);
	int ret = x->is.restore(x->self, port, old->is.version, room, n, &why);

	blame_leave(BLAME_JOBS);
	return ret == 0 ? 0 : ext_refusal(x, &why, "does not take over", e);
}

static int states_move(struct ext *x, struct ext *old, struct err *e)
{
	struct evs_port port = {.size = sizeof(port)};
	void *room = malloc(MAX_SAVED);
	uint32_t at = 0;

	if (room == NULL)
		return err_set(e, -ENOMEM, "ext %s: out of memory", x->conf.name);
	int ret = state_move(x, old, NULL, room, e);

	while (ret == 0 && ext_port_next(x, &at, &port))
		ret = state_move(x, old, &port, room, e);
	free(room);
	return ret;
}

int ext_take_over(struct ext *x, struct ext *old, struct err *e)
{
	struct evs_why why = {.size = sizeof(why)};

	if (strcasecmp(x->is.id, old->is.id) != 0)
		return err_set(e, -EINVAL,
			       "ext %s: %s is another extension (%s), not a version of %s; unload and load",
			       x->conf.name, x->conf.path, x->is.name, old->is.name);
	if (x->is.upgrade != NULL) {
		blame_enter(BLAME_JOBS, x->index);
		int ret = x->is.upgrade(x->self, old->self, old->is.version, &why);

		blame_leave(BLAME_JOBS);
		return ret == 0 ? 0 : ext_refusal(x, &why, "does not take over", e);
	}
	return old->is.save != NULL && x->is.restore != NULL ? states_move(x, old, e) : 0;
}

void ext_unload(struct ext *x)
{
	if (!atomic_load(&x->loaded))
		return;
	if (atomic_load(&x->fault) != EXT_FAULT_NONE) {
		locals_free(x); // no call uses them any more
		return;
	}
	if (x->is.destroy != NULL) {
		blame_enter(BLAME_JOBS, x->index);
		x->is.destroy(x->self);
		blame_leave(BLAME_JOBS);
	}
	atomic_store(&x->loaded, false);
	locals_free(x);
	library_close(x);
}
