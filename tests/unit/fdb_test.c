// The forwarding database: what it learns, keeps, refuses and forgets, alone and with several threads.

#include "dp/fdb.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "dp/fdb_ref.h"

#define PORTS 64

static uint64_t random_next(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15;
	return mix(*state, 0xd1342543de82ef95);
}

static uint64_t key_of(uint32_t n, uint16_t fid)
{
	const uint8_t mac[6] = {2, 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
	return fdb_key(mac, fid);
}

static struct fdb *fdb_of(uint32_t max)
{
	struct fdb *f = fdb_create(max, PORTS, 0x1234 + max);
	ck_assert_ptr_nonnull(f);
	return f;
}

static struct fdb_stats stats_of(const struct fdb *f)
{
	struct fdb_stats s;
	fdb_stats(f, &s);
	return s;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

// What must be true at any quiet moment: no key twice, every key found, every count right.
static void check_invariants(const struct fdb *f)
{
	static uint64_t keys[4 * FDB_MAX_DEFAULT];
	uint32_t per_port[PORTS] = {0}, n = 0, n_static = 0, n_lost = 0, n_twice = 0, got;
	uint32_t cursor = 0;
	struct fdb_entry part[100];

	while ((got = fdb_list(f, &cursor, part, 100, 0)) > 0)
		for (uint32_t i = 0; i < got; i++) {
			keys[n] = fdb_key(part[i].mac, part[i].fid);
			n_lost += fdb_lookup(f, keys[n++]) != part[i].port;
			per_port[part[i].port]++;
			n_static += part[i].flags & FDB_STATIC;
		}
	qsort(keys, n, sizeof(keys[0]), compare_keys);
	for (uint32_t i = 1; i < n; i++)
		n_twice += keys[i - 1] == keys[i];
	ck_assert_uint_eq(n_lost, 0);
	ck_assert_uint_eq(n_twice, 0);
	struct fdb_stats s = stats_of(f);
	ck_assert_uint_eq(s.n_entries, n);
	ck_assert_uint_eq(s.n_static, n_static);
	ck_assert_uint_le(n, f->max);
	for (uint16_t port = 0; port < PORTS; port++)
		ck_assert_uint_eq(fdb_port_count(f, port), per_port[port]);
}

START_TEST(learns_and_forgets)
{
	struct fdb *f = fdb_of(1000);

	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), FDB_NO_PORT);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 3, 100), FDB_LEARNED);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 3, 100), FDB_KNOWN);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 3);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 7)), FDB_NO_PORT); // another VLAN
	ck_assert_int_eq(fdb_learn(f, key_of(1, 7), 4, 100), FDB_LEARNED);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 3);
	ck_assert_int_eq(fdb_del(f, key_of(1, 0)), 0);
	ck_assert_int_eq(fdb_del(f, key_of(1, 0)), -ENOENT);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), FDB_NO_PORT);
	ck_assert_uint_eq(stats_of(f).learned, 2);
	check_invariants(f);
	fdb_destroy(f);
	fdb_destroy(NULL);
}
END_TEST

START_TEST(zero_address_is_nobody)
{
	struct fdb *f = fdb_of(1000);

	ck_assert_uint_eq(fdb_lookup(f, 0), FDB_NO_PORT);
	ck_assert_int_eq(fdb_learn(f, 0, 1, 0), FDB_FULL);
	ck_assert_int_eq(fdb_add_static(f, 0, 1), -EINVAL);
	ck_assert_int_eq(fdb_del(f, 0), -ENOENT);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(moves_are_limited_and_forgiven)
{
	struct fdb *f = fdb_of(1000);
	uint32_t now = 5000;

	fdb_learn(f, key_of(1, 0), 0, now);
	for (unsigned i = 1; i <= FDB_MOVES; i++)
		ck_assert_int_eq(fdb_learn(f, key_of(1, 0), i % 2, now + i % 2), FDB_MOVED);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 1, now + 1), FDB_REFUSED_MOVES);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 1, now - 1),
			 FDB_REFUSED_MOVES); // a clock a little behind
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 0);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 1, now + 1 + FDB_MOVE_WINDOW_S), FDB_MOVED);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 1);
	ck_assert_uint_eq(stats_of(f).moved, FDB_MOVES + 1);
	ck_assert_uint_eq(stats_of(f).moves_refused, 2);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(ageing_forgives_moves_before_the_window_comes_round)
{
	struct fdb *f = fdb_of(1000);

	fdb_learn(f, key_of(1, 0), 0, 50);
	for (unsigned i = 1; i <= FDB_MOVES; i++)
		fdb_learn(f, key_of(1, 0), i % 2, 50);
	fdb_age(f, fdb_n_buckets(f), 70, FDB_AGE_MAX_S);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 1, 50 + 2048), FDB_MOVED);
	fdb_destroy(f);
}
END_TEST

static struct fdb_entry only_entry(const struct fdb *f, uint32_t now_s)
{
	uint32_t cursor = 0;
	struct fdb_entry e[2];
	ck_assert_uint_eq(fdb_list(f, &cursor, e, 2, now_s), 1);
	return e[0];
}

START_TEST(version_changes_with_the_port_only)
{
	struct fdb *f = fdb_of(1000);

	fdb_learn(f, key_of(1, 0), 0, 10);
	uint16_t first = only_entry(f, 10).version;
	fdb_learn(f, key_of(1, 0), 0, 20);
	ck_assert_uint_eq(only_entry(f, 20).version, first);
	fdb_learn(f, key_of(1, 0), 1, 20);
	uint16_t second = only_entry(f, 20).version;
	ck_assert_uint_ne(second, first);
	fdb_del(f, key_of(1, 0));
	fdb_learn(f, key_of(1, 0), 2, 20);
	ck_assert_uint_ne(only_entry(f, 20).version, first);
	ck_assert_uint_ne(only_entry(f, 20).version, second);
	fdb_destroy(f);
}
END_TEST

// Whether the generation has changed since the last call.
static bool is_changed(const struct fdb *f, uint32_t *gen)
{
	uint32_t had = *gen;
	*gen = fdb_gen(f);
	return *gen != had;
}

START_TEST(generation_changes_with_every_answer_and_with_nothing_else)
{
	struct fdb *f = fdb_of(4);
	uint64_t k = key_of(1, 1);
	uint32_t gen = fdb_gen(f);
	fdb_learn(f, k, 1, 100);
	fdb_learn(f, k, 1, 200);
	fdb_age(f, fdb_n_buckets(f), 201, 300);
	ck_assert(!is_changed(f, &gen));
	fdb_learn(f, k, 2, 201); // moved
	ck_assert(is_changed(f, &gen));
	fdb_add_static(f, k, 2); // replaced
	ck_assert(is_changed(f, &gen));
	fdb_add_static(f, key_of(2, 1), 3); // new
	ck_assert(!is_changed(f, &gen));
	fdb_del(f, k);
	ck_assert(is_changed(f, &gen));
	fdb_learn(f, k, 1, 300);
	ck_assert(!is_changed(f, &gen));
	fdb_age(f, fdb_n_buckets(f), 700, 300); // expired
	ck_assert(is_changed(f, &gen));
	fdb_flush(f, FDB_NO_PORT, -1, true);
	ck_assert(is_changed(f, &gen));
	for (uint32_t i = 0; i < 4; i++)
		fdb_learn(f, key_of(10 + i, 1), 1, 700);
	ck_assert(!is_changed(f, &gen));
	while (fdb_learn(f, key_of(20, 1), 1, 700) == FDB_FULL) // it looks for a victim in some places only
		ck_assert(!is_changed(f, &gen));
	ck_assert(is_changed(f, &gen)); // evicted
	fdb_forget(f, (const uint8_t[6]){2, 0, 0, 0, 0, 20});
	ck_assert(is_changed(f, &gen));
	fdb_destroy(f);
}
END_TEST

START_TEST(static_entries_stay)
{
	struct fdb *f = fdb_of(1000);

	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 5, 10), FDB_LEARNED);
	ck_assert_int_eq(fdb_add_static(f, key_of(1, 0), 3), 0); // takes the learned one's place
	ck_assert_int_eq(fdb_add_static(f, key_of(1, 0), 3), 0);
	ck_assert_int_eq(fdb_add_static(f, key_of(1, 0), 4), -EEXIST);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 3, 10), FDB_KNOWN);
	ck_assert_int_eq(fdb_learn(f, key_of(1, 0), 5, 10), FDB_REFUSED_STATIC);
	fdb_age(f, fdb_n_buckets(f), 100000, 1);
	ck_assert_uint_eq(fdb_flush(f, FDB_NO_PORT, -1, false), 0);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 3);
	struct fdb_entry e = only_entry(f, 5000);
	ck_assert_uint_eq(e.flags, FDB_STATIC);
	ck_assert_uint_eq(e.age_s, 0);
	check_invariants(f);
	ck_assert_int_eq(fdb_del(f, key_of(1, 0)), 0);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(flush_matches_port_and_fid)
{
	struct fdb *f = fdb_of(1000);

	for (uint32_t i = 0; i < 100; i++)
		fdb_learn(f, key_of(i, i % 2), i % 4, 0); // fid 0: ports 0 2, fid 1: ports 1 3
	fdb_add_static(f, key_of(1000, 0), 0);
	ck_assert_uint_eq(fdb_flush(f, 0, 1, true), 0);
	ck_assert_uint_eq(fdb_flush(f, 0, 0, false), 25);
	ck_assert_uint_eq(fdb_flush(f, 0, 0, true), 1);
	ck_assert_uint_eq(fdb_flush(f, FDB_NO_PORT, 1, false), 50);
	check_invariants(f);
	ck_assert_uint_eq(fdb_flush(f, FDB_NO_PORT, -1, false), 25);
	ck_assert_uint_eq(stats_of(f).n_entries, 0);
	fdb_destroy(f);
}
END_TEST

START_TEST(ages_in_slices)
{
	struct fdb *f = fdb_of(1000);
	uint32_t now = 0x1fff0; // the 16 bits of an entry's time come round during the test

	for (uint32_t i = 0; i < 100; i++)
		fdb_learn(f, key_of(i, 0), 0, now);
	fdb_learn(f, key_of(7, 0), 0, now + 200);
	fdb_age(f, fdb_n_buckets(f), now + 299, 300);
	ck_assert_uint_eq(stats_of(f).n_entries, 100);
	for (uint32_t done = 0; done < fdb_n_buckets(f); done += 64)
		fdb_age(f, 64, now + 300, 300);
	ck_assert_uint_eq(stats_of(f).n_entries, 1);
	ck_assert_uint_eq(stats_of(f).aged, 99);
	ck_assert_uint_eq(only_entry(f, now + 300).age_s, 100);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(a_clock_slightly_ahead_ages_nothing)
{
	struct fdb *f = fdb_of(1000);

	fdb_learn(f, key_of(1, 0), 0, 1001);
	fdb_age(f, fdb_n_buckets(f), 1000, 300);
	ck_assert_uint_eq(fdb_lookup(f, key_of(1, 0)), 0);
	ck_assert_uint_eq(only_entry(f, 1000).age_s, 0);
	fdb_learn(f, key_of(1, 0), 0, 1000); // does not turn it back
	ck_assert_uint_eq(only_entry(f, 1002).age_s, 1);
	fdb_destroy(f);
}
END_TEST

START_TEST(every_one_of_max_fits)
{
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct fdb *f = fdb_create(FDB_MAX_DEFAULT, PORTS, seed);
		uint32_t n_wrong = 0;
		for (uint32_t i = 0; i < FDB_MAX_DEFAULT; i++)
			n_wrong += fdb_learn(f, key_of(i, seed & 1), i % PORTS, 0) != FDB_LEARNED;
		for (uint32_t i = 0; i < FDB_MAX_DEFAULT; i++)
			n_wrong += fdb_lookup(f, key_of(i, seed & 1)) != i % PORTS;
		ck_assert_uint_eq(n_wrong, 0);
		ck_assert_uint_eq(stats_of(f).evicted, 0);
		check_invariants(f);
		fdb_destroy(f);
	}
}
END_TEST

START_TEST(a_flood_evicts_its_own)
{
	struct fdb *f = fdb_of(FDB_MAX_DEFAULT);
	uint64_t random = 1;

	for (uint32_t i = 0; i < 100; i++)
		fdb_learn(f, key_of(i, 0), 2, 0);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_int_eq(fdb_add_static(f, key_of(1000 + i, 0), 3), 0);
	for (uint32_t i = 0; i < 1000000; i++)
		fdb_learn(f, random_next(&random) & 0xfffffffffffe, 1, 0);
	for (uint32_t i = 0; i < 100; i++) {
		ck_assert_uint_eq(fdb_lookup(f, key_of(i, 0)), 2);
		ck_assert_uint_eq(fdb_lookup(f, key_of(1000 + i, 0)), 3);
	}
	ck_assert_uint_eq(fdb_port_count(f, 1), FDB_MAX_DEFAULT - 200);
	// A newcomer gets in at the flood's cost.
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_int_eq(fdb_learn(f, key_of(2000 + i, 0), 4, 0), FDB_LEARNED);
	ck_assert_uint_eq(fdb_port_count(f, 1), FDB_MAX_DEFAULT - 300);
	ck_assert_uint_eq(fdb_port_count(f, 2), 100);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(a_flood_cannot_evict_many_small_ports)
{
	struct fdb *f = fdb_of(4096);
	uint64_t random = 2;

	for (uint32_t i = 0; i < 4096; i++) // all ports have 64
		fdb_learn(f, key_of(i, 0), i % PORTS, 0);
	for (uint32_t i = 0; i < 100000; i++)
		fdb_learn(f, random_next(&random) & 0xfffffffffffe, 1, 0);
	for (uint32_t i = 0; i < 4096; i++)
		if (i % PORTS != 1)
			ck_assert_uint_eq(fdb_lookup(f, key_of(i, 0)), i % PORTS);
	ck_assert_uint_eq(fdb_port_count(f, 1), 64);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(a_newcomer_takes_from_the_biggest)
{
	struct fdb *f = fdb_of(600);

	for (uint32_t i = 0; i < 600; i++)
		fdb_learn(f, key_of(i, 0), i < 400 ? 1 : 2, 0);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_int_eq(fdb_learn(f, key_of(1000 + i, 0), 3, 0), FDB_LEARNED);
	ck_assert_uint_eq(fdb_port_count(f, 1), 300);
	ck_assert_uint_eq(fdb_port_count(f, 2), 200);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(full_of_static_entries)
{
	struct fdb *f = fdb_of(100);

	for (uint32_t i = 0; i < 50; i++)
		ck_assert_int_eq(fdb_learn(f, key_of(1000 + i, 0), 1, 0), FDB_LEARNED);
	for (uint32_t i = 0; i < 100; i++) // the second half takes the learned ones' places
		ck_assert_int_eq(fdb_add_static(f, key_of(i, 0), 0), 0);
	ck_assert_int_eq(fdb_add_static(f, key_of(100, 0), 0), -ENOSPC);
	ck_assert_int_eq(fdb_learn(f, key_of(100, 0), 1, 0), FDB_FULL);
	ck_assert_uint_eq(stats_of(f).full, 1);
	ck_assert_uint_eq(stats_of(f).evicted, 50);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

START_TEST(full_buckets_evict_at_home)
{
	struct fdb *f = fdb_of(100);
	uint64_t home = key_of(1, 0);
	struct fdb_probe want = fdb_probe_of(f, home);
	uint32_t n = 0;

	// Addresses that have nothing but the key's own buckets.
	for (uint32_t i = 2; n < FDB_CHOICES * FDB_WAYS && i < 100000000; i++) {
		struct fdb_probe p = fdb_probe_of(f, key_of(i, 0));
		unsigned inside = 0;
		for (unsigned a = 0; a < FDB_CHOICES; a++)
			for (unsigned b = 0; b < FDB_CHOICES; b++)
				inside += p.bucket[a] == want.bucket[b];
		if (inside == FDB_CHOICES && fdb_learn(f, key_of(i, 0), 5, 0) == FDB_LEARNED)
			n++;
	}
	ck_assert_uint_eq(n, FDB_CHOICES * FDB_WAYS);
	ck_assert_int_eq(fdb_learn(f, home, 6, 0), FDB_LEARNED);
	ck_assert_uint_eq(stats_of(f).evicted, 1);
	ck_assert_uint_eq(fdb_port_count(f, 5), FDB_CHOICES * FDB_WAYS - 1);
	check_invariants(f);
	fdb_destroy(f);
}
END_TEST

#define RACERS       4
#define RACE_KEYS    512
#define RACE_ROUNDS  200000
#define RACE_STATICS 16

struct racer {
	struct fdb *f;
	uint64_t seed;
	_Atomic unsigned *n_running;
};

// Few keys, many threads: learning, moving, deleting and looking up the same ones.
static void *race_on_few_keys(void *arg)
{
	struct racer *r = arg;
	uint64_t random = r->seed;

	for (uint32_t i = 0; i < RACE_ROUNDS; i++) {
		uint64_t x = random_next(&random), key = key_of(x % RACE_KEYS, 0);
		if (x >> 32 & 1)
			fdb_learn(r->f, key, x >> 40 & 7, i / 1000);
		else if (x >> 33 & 1)
			fdb_lookup(r->f, key);
		else if (x % RACE_KEYS >= RACE_STATICS)
			fdb_del(r->f, key);
	}
	atomic_fetch_sub(r->n_running, 1);
	return NULL;
}

// All learn the same new keys in the same order: each insertion is a race for one key.
static void *race_on_new_keys(void *arg)
{
	struct racer *r = arg;

	for (uint32_t i = 0; i < RACE_ROUNDS; i++)
		fdb_learn(r->f, key_of(i, 0), (uint16_t)(r->seed % 8), i / 1000);
	atomic_fetch_sub(r->n_running, 1);
	return NULL;
}

static void run_race(struct fdb *f, void *(*body)(void *), bool forget)
{
	pthread_t threads[RACERS];
	struct racer racers[RACERS];
	_Atomic unsigned n_running = RACERS;
	unsigned n_failed = 0;

	for (unsigned i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){f, i + 1, &n_running};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, body, &racers[i]), 0);
	}
	for (uint32_t i = 0; atomic_load(&n_running) || i < RACE_STATICS; i++) { // the control thread's part
		if (forget)
			fdb_age(f, fdb_n_buckets(f) / 4, i / 16, 20);
		if (forget && i % 64 == 0)
			fdb_flush(f, (uint16_t)(i / 64 % 8), -1, false);
		n_failed += fdb_add_static(f, key_of(i % RACE_STATICS, 0), 9) != 0;
	}
	for (unsigned i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(n_failed, 0);
	check_invariants(f);
	for (uint32_t i = 0; i < RACE_STATICS; i++)
		ck_assert_uint_eq(fdb_lookup(f, key_of(i, 0)), 9);
}

START_TEST(threads_on_few_keys)
{
	struct fdb *f = fdb_of(4096);
	run_race(f, race_on_few_keys, true);
	fdb_destroy(f);
}
END_TEST

START_TEST(threads_on_new_keys)
{
	struct fdb *f = fdb_of(RACE_ROUNDS); // nothing is forgotten: a duplicate would be there in the end
	run_race(f, race_on_new_keys, false);
	fdb_destroy(f);
}
END_TEST

START_TEST(threads_on_a_table_that_is_full)
{
	struct fdb *f = fdb_of(100);
	run_race(f, race_on_few_keys, true);
	fdb_destroy(f);
}
END_TEST

START_TEST(listing_shows_what_stays_once)
{
	struct fdb *f = fdb_of(2000);
	struct fdb_entry part[7];
	uint32_t cursor = 0, got, n_seen[1000] = {0}, changing = 5000;

	for (uint32_t i = 0; i < 1000; i++)
		fdb_learn(f, key_of(i, 0), 0, 0);
	while ((got = fdb_list(f, &cursor, part, 7, 0)) > 0) {
		for (uint32_t i = 0; i < got; i++) {
			uint32_t n = part[i].mac[4] * 256u + part[i].mac[5];
			if (n < 1000)
				n_seen[n]++;
		}
		fdb_learn(f, key_of(changing++, 0), 0, 0);
		fdb_del(f, key_of(changing - 3, 0));
	}
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(n_seen[i], 1);
	fdb_destroy(f);
}
END_TEST

int main(void)
{
	TCase *one = tcase_create("fdb"), *threads = tcase_create("fdb threads");
	Suite *suite = suite_create("fdb");

	tcase_set_timeout(one, 120);
	tcase_add_test(one, learns_and_forgets);
	tcase_add_test(one, zero_address_is_nobody);
	tcase_add_test(one, moves_are_limited_and_forgiven);
	tcase_add_test(one, ageing_forgives_moves_before_the_window_comes_round);
	tcase_add_test(one, version_changes_with_the_port_only);
	tcase_add_test(one, generation_changes_with_every_answer_and_with_nothing_else);
	tcase_add_test(one, static_entries_stay);
	tcase_add_test(one, flush_matches_port_and_fid);
	tcase_add_test(one, ages_in_slices);
	tcase_add_test(one, a_clock_slightly_ahead_ages_nothing);
	tcase_add_test(one, every_one_of_max_fits);
	tcase_add_test(one, a_flood_evicts_its_own);
	tcase_add_test(one, a_flood_cannot_evict_many_small_ports);
	tcase_add_test(one, a_newcomer_takes_from_the_biggest);
	tcase_add_test(one, full_of_static_entries);
	tcase_add_test(one, full_buckets_evict_at_home);
	tcase_add_test(one, listing_shows_what_stays_once);
	tcase_set_timeout(threads, 120);
	tcase_add_test(threads, threads_on_few_keys);
	tcase_add_test(threads, threads_on_new_keys);
	tcase_add_test(threads, threads_on_a_table_that_is_full);
	suite_add_tcase(suite, one);
	suite_add_tcase(suite, threads);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed != 0;
}
