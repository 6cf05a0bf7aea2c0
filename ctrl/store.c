// The store: the thread that writes transactions to the state file.
//
// The engine gives one batch of edits at a time; it is written as one transaction, synchronous=FULL. What
// the connection knows of a file whose write has failed cannot be relied on: it is closed, and opened and
// checked again for the next one. transaction() and below it: store thread; the rest: control thread.
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "api/jobs.h"
#include "store_file.h"

enum statement { ST_GET, ST_PUT, ST_DEL, ST_GUARD_GET, ST_GUARD_SET, N_STATEMENTS };

static const char *const sql[N_STATEMENTS] = {
    [ST_GET] = "SELECT sum FROM rows WHERE kind = ?1 AND name = ?2",
    [ST_PUT] = "INSERT OR REPLACE INTO rows VALUES (?1, ?2, ?3, ?4)",
    [ST_DEL] = "DELETE FROM rows WHERE kind = ?1 AND name = ?2",
    [ST_GUARD_GET] = "SELECT rows, sums FROM guard",
    [ST_GUARD_SET] = "UPDATE guard SET rows = ?1, sums = ?2",
};

static struct store {
	struct store_file file; // control thread, but the store thread's while a commit is under way
	sqlite3_stmt *st[N_STATEMENTS];
	bool running;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;                      // under lock
	const struct store_edit *edits; // under lock; not NULL = a commit is asked for
	size_t n;
	struct err e; // store thread, until it posts

	void (*done)(const struct err *e, void *arg); // control thread, as is the next
	void *arg;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void file_close(void)
{
	for (int i = 0; i < N_STATEMENTS; i++) {
		sqlite3_finalize(store.st[i]);
		store.st[i] = NULL;
	}
	store_file_close(&store.file);
}

static int statements_prepare(struct err *e)
{
	for (int i = 0; i < N_STATEMENTS; i++) {
		int rc = sqlite3_prepare_v3(store.file.db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &store.st[i], NULL);

		if (rc != SQLITE_OK)
			return store_file_refused(&store.file, rc, "open it", e);
	}
	return 0;
}

// Opens the file unless it is open.
static int file_ready(struct err *e)
{
	int rc = store.file.db ? 0 : store_file_open(&store.file, e);

	if (rc == 0 && !store.st[0])
		rc = statements_prepare(e);
	if (rc < 0)
		file_close();
	return rc;
}

// Binds kind and name (NULL for none), steps once. SQLITE_ROW, SQLITE_DONE or an error.
static int statement_step(sqlite3_stmt *st, const struct store_edit *d)
{
	if (d) {
		sqlite3_bind_text(st, 1, d->kind, -1, SQLITE_STATIC);
		sqlite3_bind_text(st, 2, d->name, -1, SQLITE_STATIC);
	}
	return sqlite3_step(st);
}

// Store thread, as is all up to store_thread(). Keeps the totals of the rows.
static int edit_write(const struct store_edit *d, struct store_totals *t, struct err *e)
{
	sqlite3_stmt *get = store.st[ST_GET], *st = store.st[d->conf ? ST_PUT : ST_DEL];
	int rc = statement_step(get, d);

	if (rc == SQLITE_ROW) {
		t->rows--;
		t->sums ^= (uint64_t)sqlite3_column_int64(get, 0);
	}
	sqlite3_reset(get);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return store_file_refused(&store.file, rc, "write it", e);
	if (d->conf) {
		uint64_t sum = store_file_sum(d->kind, d->name, d->conf);

		t->rows++;
		t->sums ^= sum;
		sqlite3_bind_text(st, 3, d->conf, -1, SQLITE_STATIC);
		sqlite3_bind_int64(st, 4, (int64_t)sum);
	}
	rc = statement_step(st, d);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : store_file_refused(&store.file, rc, "write it", e);
}

static int totals_read(struct store_totals *t, struct err *e)
{
	sqlite3_stmt *st = store.st[ST_GUARD_GET];
	int rc = statement_step(st, NULL);

	if (rc == SQLITE_ROW) {
		t->rows = sqlite3_column_int64(st, 0);
		t->sums = (uint64_t)sqlite3_column_int64(st, 1);
	}
	sqlite3_reset(st);
	return rc == SQLITE_ROW ? 0 : store_file_refused(&store.file, rc, "read it", e);
}

static int totals_write(const struct store_totals *t, struct err *e)
{
	sqlite3_stmt *st = store.st[ST_GUARD_SET];
	int rc;

	sqlite3_bind_int64(st, 1, t->rows);
	sqlite3_bind_int64(st, 2, (int64_t)t->sums);
	rc = statement_step(st, NULL);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : store_file_refused(&store.file, rc, "write it", e);
}

static int transaction(const struct store_edit *edits, size_t n, struct err *e)
{
	struct store_totals t = {0};
	int rc = store_file_same(&store.file, e);

	if (rc == 0)
		rc = file_ready(e);
	if (rc == 0)
		rc = store_file_run(&store.file, "BEGIN IMMEDIATE", "write it", e);
	if (rc == 0)
		rc = totals_read(&t, e);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = edit_write(&edits[i], &t, e);
	if (rc == 0)
		rc = totals_write(&t, e);
	if (rc == 0)
		rc = store_file_run(&store.file, "COMMIT", "write it", e);
	if (rc < 0)
		file_close();
	return rc;
}

static void commit_ended(void *arg)
{
	(void)arg;
	store.done(&store.e, store.arg);
}

static void *store_thread(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "store");
	pthread_mutex_lock(&store.lock);
	for (;;) {
		while (!store.edits && !store.stop)
			pthread_cond_wait(&store.wake, &store.lock);
		if (!store.edits)
			break;
		pthread_mutex_unlock(&store.lock);
		store.e = (struct err){0};
		transaction(store.edits, store.n, &store.e);
		pthread_mutex_lock(&store.lock);
		store.edits = NULL;
		control_post("store", commit_ended, NULL);
	}
	pthread_mutex_unlock(&store.lock);
	return NULL;
}

// --- control thread

void store_commit(const struct store_edit *edits, size_t n, void (*done)(const struct err *e, void *arg),
		  void *arg)
{
	pthread_mutex_lock(&store.lock);
	assert(!store.edits && n > 0);
	store.edits = edits;
	store.n = n;
	store.done = done;
	store.arg = arg;
	pthread_cond_signal(&store.wake);
	pthread_mutex_unlock(&store.lock);
}

int store_load(int (*fn)(const char *kind, const char *name, const char *conf, void *arg, struct err *e),
	       void *arg, struct err *e)
{
	int rc = file_ready(e);

	return rc < 0 ? rc : store_file_load(&store.file, fn, arg, e);
}

int store_open(const char *path, struct err *e)
{
	size_t size = sizeof(store.file.path);
	int rc;

	if (snprintf(store.file.path, size, "%s", path) >= (int)size)
		return err_set(e, -ENAMETOOLONG, "state %s: the path is too long", path);
	store.file.ino = 0;
	rc = file_ready(e);
	if (rc < 0)
		return rc;
	store.stop = false;
	rc = -pthread_create(&store.thread, NULL, store_thread, NULL);
	if (rc < 0) {
		file_close();
		return err_set(e, rc, "state %s: cannot start its thread: %s", path, err_name(-rc));
	}
	store.running = true;
	return 0;
}

void store_release(void)
{
	file_close();
}

void store_close(void)
{
	if (!store.running)
		return;
	pthread_mutex_lock(&store.lock);
	store.stop = true;
	pthread_cond_signal(&store.wake);
	pthread_mutex_unlock(&store.lock);
	pthread_join(store.thread, NULL);
	store.running = false;
	file_close();
}
