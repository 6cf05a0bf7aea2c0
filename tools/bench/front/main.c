// bench-front: guests that load a switch. The control thread: connects, walks through the phases, prints.

#include "tools/bench/front/attack.h"
#include "tools/bench/front/feature.h"
#include "tools/bench/front/options.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

struct sample {
	double at_s;
	uint64_t busy_tsc, ring_errors;
	struct counts counts;
	struct arrivals arrivals;
	uint64_t sent_bytes, sent_sum;
	struct hist latency;
};

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double tsc_hz(void)
{
	double t0 = now_s();
	uint64_t c0 = __rdtsc();
	while (now_s() - t0 < 0.05)
		;
	uint64_t c1 = __rdtsc();
	return (c1 - c0) / (now_s() - t0);
}

static void arrivals_add(struct sample *s, const struct device *d)
{
	const struct arrivals *from = &d->arrivals;
	struct arrivals *a = &s->arrivals;
	a->frames += from->frames;
	a->bytes += from->bytes;
	a->sum += from->sum;
	a->gso += from->gso;
	a->needs_csum += from->needs_csum;
	a->data_valid += from->data_valid;
	a->buffers += from->buffers;
	a->merged += from->merged;
	a->uncounted += from->uncounted;
	a->bad_header += from->bad_header;
	a->bad_checksum += from->bad_checksum;
	a->bad_payload += from->bad_payload;
	s->sent_bytes += d->stream.bytes;
	s->sent_sum += d->stream.sum;
}

static void sample_take(struct load *l, struct sample *s)
{
	*s = (struct sample){.at_s = now_s(), .busy_tsc = l->busy_tsc, .latency = l->latency};
	for (unsigned i = 0; i < l->n_devices; i++) {
		const struct device *d = &l->devices[i];
		const struct counts *c = &d->counts;
		s->counts.tx += c->tx;
		s->counts.rx += c->rx;
		s->counts.rx_bytes += c->rx_bytes;
		s->counts.lost += c->lost;
		s->counts.dup += c->dup;
		s->counts.late += c->late;
		s->counts.stray += c->stray;
		s->counts.bad += c->bad;
		for (unsigned q = 0; q < d->n_queues; q++)
			s->ring_errors += d->queues[q].rx.errors + d->queues[q].tx.errors;
		if (l->conf->shaped)
			arrivals_add(s, d);
	}
}

static bool enough(const struct load *l, const struct conf *c)
{
	uint64_t tx = 0;
	for (unsigned i = 0; i < l->n_devices; i++)
		tx += l->devices[i].counts.tx;
	return stop || (c->frames > 0 && tx >= c->frames);
}

static void latency_print(const struct load *l, const struct sample *from, const struct sample *to)
{
	static struct hist h;
	double ns = 1e9 / l->tsc_hz;
	hist_diff(&h, &to->latency, &from->latency);
	if (hist_count(&h) == 0)
		return;
	printf(",\"latency_ns\":{\"p50\":%.0f,\"p99\":%.0f,\"p99_9\":%.0f,\"max\":%.0f}",
	       hist_quantile(&h, 0.5) * ns, hist_quantile(&h, 0.99) * ns, hist_quantile(&h, 0.999) * ns,
	       h.max * ns);
}

static void arrivals_print(const struct load *l, const struct sample *s)
{
	const struct arrivals *a = &s->arrivals;
	printf(",\"buffers\":%lu,\"merged\":%lu", a->buffers, a->merged);
	if (!l->conf->streams)
		return;
	printf(",\"payload\":{\"sent\":%lu,\"sent_sum\":\"%016lx\",\"received\":%lu,\"received_sum\":\"%"
	       "016lx\"}",
	       s->sent_bytes, s->sent_sum, a->bytes, a->sum);
	printf(",\"gso\":%lu,\"needs_csum\":%lu,\"data_valid\":%lu,\"uncounted\":%lu", a->gso, a->needs_csum,
	       a->data_valid, a->uncounted);
	printf(",\"bad_header\":%lu,\"bad_checksum\":%lu,\"bad_payload\":%lu", a->bad_header, a->bad_checksum,
	       a->bad_payload);
}

static void queues_print(const struct load *l)
{
	for (unsigned q = 0; q < l->conf->queues; q++) {
		uint64_t frames = 0;
		for (unsigned i = 1; i < l->n_devices; i += 2)
			frames += l->devices[i].queues[q].rx_frames;
		printf("%s%lu", q ? "," : ",\"rx_queues\":[", frames);
	}
	printf("]");
}

// Rates from `from` to `until`, counts as they are at `to`.
static void line_print(const struct load *l, const char *event, const struct sample *from,
		       const struct sample *until, const struct sample *to)
{
	double took = until->at_s - from->at_s;
	uint64_t tx = until->counts.tx - from->counts.tx, rx = until->counts.rx - from->counts.rx;
	uint64_t busy = until->busy_tsc - from->busy_tsc;
	const struct counts *c = &to->counts;
	printf("{\"event\":\"%s\",\"time_s\":%.3f,\"seconds\":%.3f,\"tx_pps\":%.0f,\"rx_pps\":%.0f,\"rx_"
	       "bps\":%.0f,",
	       event, to->at_s, took, tx / took, rx / took,
	       (until->counts.rx_bytes - from->counts.rx_bytes) * 8 / took);
	printf("\"tx\":%lu,\"rx\":%lu,\"lost\":%lu,\"dup\":%lu,\"late\":%lu,\"stray\":%lu,\"bad\":%lu,",
	       c->tx, c->rx, c->lost, c->dup, c->late, c->stray, c->bad);
	printf("\"ring_errors\":%lu,\"busy\":%.3f,\"cycles\":%.1f", to->ring_errors, busy / l->tsc_hz / took,
	       tx + rx ? (double)busy / (tx + rx) : 0);
	latency_print(l, from, to);
	if (l->conf->shaped)
		arrivals_print(l, to);
	if (l->conf->queues > 1)
		queues_print(l);
	printf("}\n");
	fflush(stdout);
}

static int wait_connected(struct load *l, double deadline)
{
	int n = 0;
	while (n >= 0 && n < (int)l->n_devices && !stop) {
		if (now_s() > deadline) {
			fprintf(stderr,
				"bench-front: only %d of %u guests are connected: is the switch there, and "
				"its ports?\n",
				n, l->n_devices);
			return -ETIMEDOUT;
		}
		n = control_poll(l, 20);
	}
	return n < 0 ? n : 0;
}

static int wait_heard(struct load *l, double deadline)
{
	l->phase = PHASE_ANNOUNCE;
	while (l->unheard && !stop) {
		if (now_s() > deadline) {
			fprintf(stderr,
				"bench-front: %u addresses are not heard by their peers: the switch does not "
				"forward\n",
				l->unheard);
			return -ETIMEDOUT;
		}
		int ret = control_poll(l, 5);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static void ready_print(const struct load *l)
{
	char names[2][200];
	for (unsigned i = 0; i < 2; i++)
		features_print(l->devices[i].features, names[i], sizeof(names[i]));
	printf("{\"event\":\"ready\",\"devices\":%u,\"senders\":%u,\"tsc_hz\":%.0f,\"features\":[\"%s\",\"%"
	       "s\"]}\n",
	       l->n_devices, l->n_senders, l->tsc_hz, names[0], names[1]);
	fflush(stdout);
}

static int run(struct load *l, const struct conf *c, struct sample *first, struct sample *last)
{
	struct sample *before = malloc(sizeof(*before));
	if (!before)
		return -ENOMEM;
	sample_take(l, first);
	*before = *last = *first;
	ready_print(l);
	l->phase = PHASE_RUN;
	double next = first->at_s + c->interval_ms / 1e3, end = c->seconds ? first->at_s + c->seconds : 1e300;
	int ret = 0;
	while (ret >= 0 && !enough(l, c) && last->at_s < end) {
		double until = (next < end ? next : end) - now_s();
		ret = control_poll(l, until > 0.02 && !c->hang_up_ms ? 20 : until > 0 ? 1 : 0);
		if (now_s() < next && now_s() < end)
			continue;
		sample_take(l, last);
		line_print(l, "interval", before, last, last);
		*before = *last;
		next += c->interval_ms / 1e3;
	}
	sample_take(l, last);
	free(before);
	return ret < 0 ? ret : 0;
}

static bool all_arrived(const struct load *l, const struct sample *s)
{
	return l->conf->streams ? s->arrivals.bytes >= s->sent_bytes
				: s->counts.rx >= s->counts.tx + s->counts.dup;
}

// Until nothing has arrived for 100 ms, or longer if something is missing: the machine may be busy with others.
static void drain(struct load *l, struct sample *s)
{
	double now = now_s(), heard = now, patience = l->conf->patience_s, end = now + 10 + patience;
	uint64_t rx;
	l->phase = PHASE_DRAIN;
	do {
		rx = s->counts.rx;
		usleep(100000);
		sample_take(l, s);
		now = now_s();
		heard = s->counts.rx != rx ? now : heard;
	} while (now < end && (s->counts.rx != rx || (!all_arrived(l, s) && now < heard + patience)));
	if (l->conf->streams) {
		unsigned each = stream_payload(&l->conf->stream);
		s->counts.lost = s->sent_bytes > s->arrivals.bytes
				     ? (s->sent_bytes - s->arrivals.bytes + each - 1) / each
				     : 0;
		return;
	}
	if (s->counts.tx + s->counts.dup > s->counts.rx)
		s->counts.lost = s->counts.tx + s->counts.dup - s->counts.rx;
	else
		s->counts.lost = 0;
}

static int phases(struct load *l, const struct conf *c)
{
	struct sample *s = calloc(3, sizeof(*s));
	double deadline = now_s() + c->deadline_s;
	int ret = s ? wait_connected(l, deadline) : -ENOMEM;
	if (ret == 0)
		ret = wait_heard(l, deadline);
	if (ret == 0 && !stop) {
		ret = run(l, c, &s[0], &s[1]);
		drain(l, &s[2]);
		line_print(l, "final", &s[0], &s[1], &s[2]);
	}
	free(s);
	return ret;
}

static int dirty(struct load *l, const struct conf *c)
{
	int ret = wait_connected(l, now_s() + c->deadline_s);
	return ret ? ret : dirty_run(l);
}

static void limits_raise(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int pin(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (core < 0 || sched_setaffinity(0, sizeof(set), &set) == 0)
		return 0;
	fprintf(stderr, "bench-front: --core %d: %s\n", core, strerror(errno));
	return -errno;
}

static void load_plan(struct load *l, const struct conf *c)
{
	l->conf = c;
	l->n_active = c->busy;
	l->next_idle = c->busy;
	l->segs = c->shaped ? layout_most(c->layout) : frame_buffers(c, packet_longest(&c->packet));
	l->tsc_hz = tsc_hz();
	l->interval_fp = l->n_senders ? l->tsc_hz * 256 * l->n_senders / c->rate_pps : 0;
	l->forwards = c->mode == MODE_LOOP && !c->shaped && c->queues == 1 && !c->packet.stamp &&
		      c->packet.flows == 1 && c->packet.n_sizes == 1;
	for (unsigned i = 0; i < c->n_devices; i++)
		l->unheard += device_macs(c, i);
}

int main(int argc, char **argv)
{
	static struct load l;
	struct conf c;
	pthread_t worker;
	int ret = front_conf_parse(&c, argc, argv);
	if (ret)
		return ret < 0;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	limits_raise();
	ret = pin(c.core);
	if (ret == 0 && c.attack)
		return attack_run(&c) != 0;
	if (ret == 0)
		ret = devices_create(&l, &c);
	if (ret == 0) {
		load_plan(&l, &c);
		ret = control_open(&l);
	}
	if (ret == 0 && c.dirty)
		ret = dirty(&l, &c);
	else if (ret == 0 && (ret = -pthread_create(&worker, NULL, load_run, &l)) == 0) {
		ret = phases(&l, &c);
		l.phase = PHASE_END;
		pthread_join(worker, NULL);
	}
	control_close(&l);
	devices_destroy(&l);
	return ret != 0;
}
