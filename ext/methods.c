// Tables of control methods, made from what extensions say of theirs. Control thread; the check on any.
#include "methods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/api/conf.h"
#include "ctrl/api/log.h"
#include "ctrl/api/value.h"

static struct ext_object *objects;

static const enum param_type types[] = {
    [EVS_PARAM_STRING] = PARAM_STRING, [EVS_PARAM_NAME] = PARAM_NAME, [EVS_PARAM_BOOL] = PARAM_BOOL,
    [EVS_PARAM_INT] = PARAM_INT,       [EVS_PARAM_SIZE] = PARAM_SIZE, [EVS_PARAM_RATE] = PARAM_RATE,
    [EVS_PARAM_ENUM] = PARAM_ENUM,     [EVS_PARAM_PORT] = PARAM_NAME, [EVS_PARAM_INPUT] = PARAM_INPUT,
    [EVS_PARAM_OUTPUT] = PARAM_OUTPUT,
};

// What an extension was built with may be shorter or longer than ours: arrays of its structs have its stride.
#define AT(list, i)        ((const void *)((const char *)(list) + (size_t)(i) * (list)->size))
#define TAKE(to, from)     taken((to), sizeof(*(to)), (from), (from)->size)
#define SIZE_IS_SANE(list) ((list)->size >= sizeof(uint32_t) + 2 * sizeof(void *) && (list)->size <= 4096)

static void taken(void *to, size_t room, const void *from, size_t size)
{
	memset(to, 0, room);
	memcpy(to, from, size < room ? size : room);
}

static bool is_text(const char *text)
{
	return text != NULL && value_is_printable(text) && strlen(text) < 256;
}

static bool is_word(const char *text)
{
	return text != NULL && value_is_name(text) && strpbrk(text, ".:") == NULL && strlen(text) < 24;
}

static bool param_is_sane(const struct evs_param *p)
{
	return is_word(p->name) && is_text(p->help) && p->type >= EVS_PARAM_STRING &&
	       p->type <= EVS_PARAM_OUTPUT && (p->def == NULL || is_text(p->def)) &&
	       (p->unit == NULL || is_text(p->unit)) && (p->type != EVS_PARAM_ENUM || is_text(p->values));
}

static int params_check(const struct ext *x, const struct evs_method *m, struct err *e)
{
	struct evs_param p;

	for (uint32_t i = 0; m->params != NULL; i++) {
		if (!SIZE_IS_SANE(m->params) || i > EXT_MAX_PARAMS)
			return err_set(e, -EINVAL, "ext %s: its method %s has more than %d parameters",
				       x->conf.name, m->name, EXT_MAX_PARAMS);
		TAKE(&p, (const struct evs_param *)AT(m->params, i));
		if (p.name == NULL)
			break;
		if (!param_is_sane(&p))
			return err_set(
			    e, -EINVAL,
			    "ext %s: parameter %u of its method %s has no proper name, help or type",
			    x->conf.name, i + 1, m->name);
	}
	return 0;
}

static bool columns_are_sane(const struct evs_method *m)
{
	struct evs_column c;

	for (uint32_t i = 0; m->columns != NULL; i++) {
		if (!SIZE_IS_SANE(m->columns) || i > EXT_MAX_PARAMS)
			return false;
		TAKE(&c, (const struct evs_column *)AT(m->columns, i));
		if (c.name == NULL)
			break;
		if (!value_is_name(c.name) || !is_text(c.help) || (c.unit != NULL && !is_text(c.unit)))
			return false;
	}
	return true;
}

int ext_methods_check(const struct ext *x, struct err *e)
{
	const struct evs_method *list = x->is.methods;
	struct evs_method m;

	if (list == NULL)
		return 0;
	if (!is_word(x->is.object))
		return err_set(e, -EINVAL, "ext %s: has methods, but no proper word for its object",
			       x->conf.name);
	if (!x->bundled && methods_are_static(x->is.object))
		return err_set(e, -EEXIST, "ext %s: its methods are called %s, as methods of the switch are",
			       x->conf.name, x->is.object);
	for (uint32_t i = 0; SIZE_IS_SANE(list) && i <= EXT_MAX_METHODS; i++) {
		TAKE(&m, (const struct evs_method *)AT(list, i));
		if (m.name == NULL)
			return 0;
		if (!is_word(m.name) || !is_text(m.help) || m.call == NULL || !columns_are_sane(&m))
			break;
		if (params_check(x, &m, e) < 0)
			return e->code;
	}
	return err_set(e, -EINVAL, "ext %s: one of its methods has no proper name, help, columns or function",
		       x->conf.name);
}

// Copies

static void *keep(struct ext_object *o, void *made)
{
	char **more = realloc(o->texts, (o->n_texts + 1) * sizeof(*more));

	if (more == NULL || made == NULL)
		abort();
	o->texts = more;
	o->texts[o->n_texts++] = made;
	return made;
}

static const char *copy(struct ext_object *o, const char *text)
{
	return text != NULL ? keep(o, strdup(text)) : NULL;
}

static unsigned flags_of(const struct evs_param *p)
{
	return (p->flags & EVS_REQUIRED ? PARAM_REQUIRED : 0) |
	       (p->flags & EVS_POSITIONAL ? PARAM_POSITIONAL : 0) | (p->flags & EVS_LIVE ? PARAM_LIVE : 0) |
	       (p->type == EVS_PARAM_BOOL ? PARAM_FLAG : 0);
}

static const struct param *params_make(struct ext_object *o, const struct evs_method *m, struct ext_verb *v)
{
	struct param *list = keep(o, calloc(EXT_MAX_PARAMS + 1, sizeof(*list)));
	struct evs_param p;

	for (uint32_t i = 0; m->params != NULL && i < EXT_MAX_PARAMS; i++) {
		TAKE(&p, (const struct evs_param *)AT(m->params, i));
		if (p.name == NULL)
			break;
		bool is_file = p.type == EVS_PARAM_OUTPUT;

		list[i] = (struct param){.name = copy(o, p.name),
					 .type = types[p.type],
					 .flags = flags_of(&p),
					 .help = copy(o, p.help),
					 .def = copy(o, p.def),
					 .unit = is_file ? NULL : copy(o, p.unit),
					 .min = p.min,
					 .max = p.max,
					 .values = copy(o, is_file ? p.unit : p.values)};
		if (p.type == EVS_PARAM_PORT)
			v->port = list[i].name;
	}
	return list;
}

static const struct column *columns_make(struct ext_object *o, const struct evs_method *m)
{
	struct column *list;
	struct evs_column c;

	if (m->columns == NULL)
		return NULL;
	list = keep(o, calloc(EXT_MAX_PARAMS + 1, sizeof(*list)));
	for (uint32_t i = 0; i < EXT_MAX_PARAMS; i++) {
		TAKE(&c, (const struct evs_column *)AT(m->columns, i));
		if (c.name == NULL)
			break;
		list[i] = (struct column){copy(o, c.name), copy(o, c.help), copy(o, c.unit)};
	}
	return list;
}

static void method_make(struct ext_object *o, const struct evs_method *m)
{
	struct ext_verb *v = &o->verbs[o->n];
	char *name;

	v->flags = m->flags;
	if (asprintf(&name, "%s.%s", o->word, m->name) < 0)
		abort();
	o->methods[o->n++] = (struct method){.name = keep(o, name),
					     .help = copy(o, m->help),
					     .params = params_make(o, m, v),
					     .columns = columns_make(o, m),
					     .flags = m->flags & EVS_CHANGES ? METHOD_WRITE : METHOD_READ,
					     .call = ext_method_call};
}

static struct ext_object *object_make(const struct ext *x)
{
	struct ext_object *o = calloc(1, sizeof(*o));
	struct evs_method m;

	if (o == NULL)
		abort();
	o->word = keep(o, strdup(x->is.object));
	o->id = keep(o, strdup(x->is.id));
	o->bundled = x->bundled;
	for (uint32_t i = 0; i < EXT_MAX_METHODS; i++) {
		TAKE(&m, (const struct evs_method *)AT(x->is.methods, i));
		if (m.name == NULL)
			break;
		method_make(o, &m);
	}
	return o;
}

// Lives

static void object_free(struct ext_object *o)
{
	struct ext_object **at = &objects;

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	for (size_t i = 0; i < o->n_texts; i++)
		free(o->texts[i]);
	free(o->texts);
	free(o);
}

static void object_settle(struct ext_object *o)
{
	if (o->passed && o->users == 0)
		object_free(o);
}

static void object_passed(void *arg)
{
	struct ext_object *o = arg;

	o->passed = true;
	object_settle(o);
}

// Requests that wait for their turn stand before this one.
static void object_retire(struct ext_object *o)
{
	o->retired = true;
	methods_del(o->methods);
	change_touch(object_passed, o);
}

void ext_object_give(struct ext_object *o)
{
	o->users--;
	object_settle(o);
}

struct ext_object *ext_object_of(const struct method *m)
{
	struct ext_object *o = objects;

	while (m < o->methods || m >= o->methods + EXT_MAX_METHODS)
		o = o->next;
	return o;
}

static struct ext_object *object_find(const char *id)
{
	struct ext_object *o = objects;

	while (o != NULL && (o->retired || strcasecmp(o->id, id) != 0))
		o = o->next;
	return o;
}

void ext_methods_add(struct ext *x)
{
	struct ext_object *was = object_find(x->is.id), *o;
	struct err e = {0};

	if (x->is.methods == NULL || (was != NULL && was->bundled))
		return;
	// Another version may have other methods: they are those of whoever came last.
	if (was != NULL)
		object_retire(was);
	o = object_make(x);
	if (methods_add(o->methods, &e) < 0) {
		log_error("ext %s: its methods are not there: %s", x->conf.name, e.text);
		o->next = objects;
		objects = o;
		object_free(o);
		return;
	}
	o->next = objects;
	objects = o;
}

static bool is_last(const struct ext *x)
{
	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		const struct ext *y = ext_at(i);

		if (y != NULL && y != x && !y->leaving && y->state == EXT_UP &&
		    strcasecmp(y->is.id, x->is.id) == 0)
			return false;
	}
	return true;
}

void ext_methods_del(struct ext *x)
{
	struct ext_object *o = x->is.id != NULL ? object_find(x->is.id) : NULL;

	if (o != NULL && !o->bundled && is_last(x))
		object_retire(o);
}
