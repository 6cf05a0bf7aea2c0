// An extension with control methods: sums, and a request that stays. See test_ext_methods.py; OBJECT is its word.
#include <evswitch/extension.h>
#include <stdio.h>

static const struct evs_request *open_one;

static void destroy(void *self)
{
	(void)self;
	if (open_one)
		open_one->done(open_one, NULL);
	open_one = NULL;
}

static int add(void *self, const struct evs_request *r, struct evs_why *why)
{
	char row[200];
	long long sum = r->number(r, "a") + r->number(r, "b");

	(void)self;
	if (sum > 100) {
		snprintf(why->text, sizeof(why->text), "sums end at 100");
		return -1;
	}
	snprintf(row, sizeof(row), "{\"sum\": %lld, \"how\": \"%s\", \"loud\": %s}", sum, r->text(r, "how"),
		 r->number(r, "loud") ? "true" : "false");
	r->row(r, row);
	r->row(r, "no JSON");
	return 0;
}

static int hold(void *self, const struct evs_request *r, struct evs_why *why)
{
	(void)self, (void)why;
	open_one = r;
	return 0;
}

static void hold_gone(void *self, const struct evs_request *r)
{
	(void)self;
	open_one = NULL;
	r->done(r, NULL);
}

static int let_go(void *self, const struct evs_request *r, struct evs_why *why)
{
	struct evs_why bad = {.size = sizeof(bad), .text = "somebody let go"};

	(void)self, (void)r;
	if (!open_one) {
		snprintf(why->text, sizeof(why->text), "nothing is held");
		return -1;
	}
	open_one->done(open_one, &bad);
	open_one = NULL;
	return 0;
}

#define P(...)                                                \
	{                                                     \
		.size = sizeof(struct evs_param), __VA_ARGS__ \
	}
#define M(...)                                                 \
	{                                                      \
		.size = sizeof(struct evs_method), __VA_ARGS__ \
	}
static const struct evs_param add_params[] = {
    P(.name = "a", .type = EVS_PARAM_INT, .flags = EVS_REQUIRED | EVS_POSITIONAL, .help = "one", .min = 0,
      .max = 1000),
    P(.name = "b", .type = EVS_PARAM_SIZE, .help = "two", .def = "1K", .max = 1 << 20),
    P(.name = "how", .type = EVS_PARAM_ENUM, .values = "fast|slow", .help = "how", .def = "fast"),
    P(.name = "loud", .type = EVS_PARAM_BOOL, .help = "loud"), P(.name = 0)};
static const struct evs_column columns[] = {
    {sizeof(struct evs_column), "sum", "of both", 0}, {sizeof(struct evs_column), "how", "said", 0}, {0}};
static const struct evs_method methods[] = {
    M(.name = "add", .help = "add two numbers", .params = add_params, .columns = columns, .call = add),
    M(.name = "hold", .help = "stay", .flags = EVS_STAYS, .call = hold, .gone = hold_gone),
    M(.name = "release", .help = "let go", .flags = EVS_CHANGES, .call = let_go), M(.name = 0)};

EVS_EXTENSION(.name = "sums", .version = "1.0", .id = "7d5f0c1e-58b2-4a7b-9d0e-3f0c5a1b2c3d",
	      .kind = EVS_FILTER, .destroy = destroy, .object = OBJECT, .methods = methods);
