// What extensions show on /metrics. Control thread.
#include "metrics.h"

#include <stddef.h>
#include <stdio.h>

#include "ext.h"

static bool each(struct metrics *m, const struct metric_family *f,
		 uint64_t (*value)(const struct ext *x, const struct metric_family *f))
{
	char labels[200];

	for (uint16_t i = 0; i < MAX_EXTS; i++) {
		const struct ext *x = ext_at(i);

		if (x == NULL || x->leaving)
			continue;
		snprintf(labels, sizeof(labels), "extension=\"%s\",switch=\"%s\"", x->conf.name,
			 x->conf.switch_name);
		metric_add(m, labels, value(x, f));
	}
	return false;
}

static uint64_t counter(const struct ext *x, const struct metric_family *f)
{
	struct ext_counters n;

	ext_counters_sum(x, &n);
	return *(const uint64_t *)((const char *)&n + f->arg);
}

static bool counters(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	(void)at;
	return each(m, f, counter);
}

static uint64_t up(const struct ext *x, const struct metric_family *f)
{
	(void)f;
	return ext_is_shown(x);
}

static bool ups(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	(void)at;
	return each(m, f, up);
}

static uint64_t fault(const struct ext *x, const struct metric_family *f)
{
	(void)f;
	return x->conf.faults;
}

static bool faults(struct metrics *m, const struct metric_family *f, uint64_t *at)
{
	(void)at;
	return each(m, f, fault);
}

#define COUNTER(field) counters, offsetof(struct ext_counters, field)

const struct metric_family ext_metrics[] = {
    {"evs_extension_up", METRIC_GAUGE, "Whether packets come to it.", ups},
    {"evs_extension_flows", METRIC_COUNTER, "Flow calls.", COUNTER(flows)},
    {"evs_extension_packets", METRIC_COUNTER, "Packets given to packet calls.", COUNTER(packets)},
    {"evs_extension_drops", METRIC_COUNTER, "Packets that it dropped or excluded.", COUNTER(drops)},
    {"evs_extension_cycles", METRIC_COUNTER, "TSC inside of it.", COUNTER(cycles)},
    {"evs_extension_breaches", METRIC_COUNTER, "Answers that its kind may not give.", COUNTER(breaches)},
    {"evs_extension_faults", METRIC_COUNTER, "How often it was taken out.", faults},
    {NULL}};
