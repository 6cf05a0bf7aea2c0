// Making, opening and checking state.db.
//
// A rollback journal, which is empty whenever no commit is under way: the one file holds everything that
// was acknowledged, and a damaged page cannot hide behind a log that ends early. A new file is made under
// another name and renamed: state.db is never empty, not even for a moment, so an empty one is damage.
#include "store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x45565357 // "EVSW"
#define FORMAT         1
#define SQL_ROWS                                                                          \
	"CREATE TABLE rows (kind TEXT NOT NULL, name TEXT NOT NULL, conf TEXT NOT NULL, " \
	"sum INTEGER NOT NULL, PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID"
#define SQL_GUARD                                                                            \
	"CREATE TABLE guard (id INTEGER PRIMARY KEY CHECK (id = 1), rows INTEGER NOT NULL, " \
	"sums INTEGER NOT NULL) STRICT"

// Refusal of a file that cannot be trusted.
static int damaged(const struct store_file *f, const char *why, struct err *e)
{
	return err_set(e, -EBADMSG,
		       "state %s is damaged (%s): restore a copy of it, or move it away, start anew and load "
		       "a saved configuration with 'evsctl config apply file FILE'",
		       f->path, why);
}

// What SQLite says about the last call, as a sentence.
int store_file_refused(const struct store_file *f, int rc, const char *doing, struct err *e)
{
	int err = sqlite3_system_errno(f->db);

	switch (rc & 0xff) {
	case SQLITE_ERROR: // our statements are right, so what they are about is not
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_FORMAT:
		return damaged(f, sqlite3_errmsg(f->db), e);
	case SQLITE_BUSY:
		return err_set(e, -EBUSY, "state %s: is in use by another evswitchd: stop it first", f->path);
	case SQLITE_FULL:
		return err_set(
		    e, -ENOSPC,
		    "state %s: cannot %s: no space left on device: free some space, then try again", f->path,
		    doing);
	case SQLITE_READONLY:
		return err_set(e, -EROFS, "state %s: cannot %s: the file or its directory is read-only",
			       f->path, doing);
	case SQLITE_NOMEM:
		return err_set(e, -ENOMEM, "state %s: cannot %s: out of memory", f->path, doing);
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		err = err ? err : EIO;
		return err_set(e, -err, "state %s: cannot %s: %s: look at the disk (dmesg), then try again",
			       f->path, doing, err_name(err));
	}
	return err_set(e, -EIO, "state %s: cannot %s: %s", f->path, doing, sqlite3_errmsg(f->db));
}

// FNV-1a: a change of any one byte always changes it, others are missed once in 2^64.
static uint64_t sum_text(uint64_t sum, const char *text)
{
	do {
		sum = (sum ^ (uint8_t)*text) * 0x100000001b3u;
	} while (*text++);
	return sum;
}

uint64_t store_file_sum(const char *kind, const char *name, const char *conf)
{
	return sum_text(sum_text(sum_text(0xcbf29ce484222325u, kind), name), conf);
}

int store_file_run(struct store_file *f, const char *text, const char *doing, struct err *e)
{
	int rc = sqlite3_exec(f->db, text, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : store_file_refused(f, rc, doing, e);
}

void store_file_close(struct store_file *f)
{
	sqlite3_close(f->db);
	f->db = NULL;
}

static int db_open(struct store_file *f, const char *file, const char *journal, struct err *e)
{
	char pragmas[256];
	int rc = sqlite3_open_v2(file, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);

	if (rc != SQLITE_OK)
		return store_file_refused(f, rc, "open it", e);
	sqlite3_extended_result_codes(f->db, 1);
	sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	snprintf(pragmas, sizeof(pragmas),
		 "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; "
		 "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = %s; PRAGMA synchronous = FULL; "
		 "BEGIN EXCLUSIVE; COMMIT",
		 journal);
	return store_file_run(f, pragmas, "open it", e);
}

// Opens the directory of the file, to check it and to make a rename in it durable.
static int dir_open(struct store_file *f, struct err *e)
{
	char copy[PATH_MAX];
	const char *dir;
	int fd;

	snprintf(copy, sizeof(copy), "%s", f->path);
	dir = dirname(copy);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || faccessat(fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		return err_set(
		    e, -err,
		    "state %s: cannot use directory %s: %s: create it, or give it to evswitchd's user",
		    f->path, dir, err_name(err));
	}
	return fd;
}

static int file_fill(struct store_file *f, const char *file, struct err *e)
{
	char text[128];
	int rc;

	snprintf(text, sizeof(text), "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
		 FORMAT);
	rc = db_open(f, file, "DELETE", e);
	if (rc == 0)
		rc = store_file_run(f,
				    "BEGIN; " SQL_ROWS "; " SQL_GUARD "; INSERT INTO guard VALUES (1, 0, 0)",
				    "make it", e);
	if (rc == 0)
		rc = store_file_run(f, text, "make it", e);
	if (rc == 0)
		rc = store_file_run(f, "COMMIT", "make it", e);
	store_file_close(f);
	return rc;
}

// Makes an empty state: complete and on disk before it gets its name.
static int file_make(struct store_file *f, struct err *e)
{
	char file[PATH_MAX + 16];
	int dir, fd, rc;

	dir = dir_open(f, e);
	if (dir < 0)
		return dir;
	snprintf(file, sizeof(file), "%s.new-journal", f->path);
	unlink(file);
	file[strlen(file) - strlen("-journal")] = '\0';
	unlink(file);
	fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = fd < 0 ? err_set(e, -errno, "state %s: cannot make it: %s", f->path, err_name(errno))
		    : file_fill(f, file, e);
	if (fd >= 0)
		close(fd);
	if (rc == 0 && (rename(file, f->path) < 0 || fsync(dir) < 0))
		rc = err_set(e, -errno, "state %s: cannot make it: %s", f->path, err_name(errno));
	close(dir);
	return rc;
}

// Refuses what is no state file before SQLite sees it; makes one if there is none.
static int file_check(struct store_file *f, struct err *e)
{
	struct stat st;
	int rc;

	if (f->ino == 0 && stat(f->path, &st) < 0 && errno == ENOENT) {
		rc = file_make(f, e);
		if (rc < 0)
			return rc;
	}
	rc = dir_open(f, e);
	if (rc < 0)
		return rc;
	close(rc);
	if (stat(f->path, &st) < 0 ||
	    (S_ISREG(st.st_mode) && faccessat(AT_FDCWD, f->path, R_OK | W_OK, AT_EACCESS) < 0))
		return err_set(e, -errno, "state %s: cannot open it: %s", f->path, err_name(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "state %s: is not a regular file", f->path);
	if (st.st_size == 0)
		return damaged(f, "it is empty, and evswitchd never leaves it empty", e);
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return 0;
}

// The integer that a statement answers.
static int ask(struct store_file *f, const char *text, int64_t *value, struct err *e)
{
	sqlite3_stmt *st;
	int rc = sqlite3_prepare_v2(f->db, text, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	*value = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_finalize(st);
	if (rc == SQLITE_DONE)
		return damaged(f, "a part of it is missing", e);
	return rc == SQLITE_ROW ? 0 : store_file_refused(f, rc, "read it", e);
}

static int format_check(struct store_file *f, struct err *e)
{
	int64_t id, format;

	if (ask(f, "PRAGMA application_id", &id, e) < 0 || ask(f, "PRAGMA user_version", &format, e) < 0)
		return e->code;
	if (id != APPLICATION_ID)
		return err_set(
		    e, -EINVAL,
		    "state %s: is not a state of evswitch (or its head is damaged): move it away, or "
		    "restore a copy",
		    f->path);
	if (format > FORMAT)
		return err_set(e, -EINVAL,
			       "state %s: was written by a newer evswitch (format %" PRId64
			       ", this one knows %d): "
			       "start the newer one, or move it away and load a saved configuration with "
			       "'evsctl config apply file FILE'",
			       f->path, format, FORMAT);
	return format == FORMAT ? 0 : damaged(f, "its format number is wrong", e);
}

// The schema as a whole: no trigger, view or index has come into it.
static int schema_check(struct store_file *f, struct err *e)
{
	const char *const want[] = {SQL_GUARD, SQL_ROWS};
	sqlite3_stmt *st;
	size_t n = 0;
	bool same = true;
	int rc = sqlite3_prepare_v2(f->db, "SELECT sql FROM sqlite_schema ORDER BY name", -1, &st, NULL);

	if (rc != SQLITE_OK)
		return store_file_refused(f, rc, "read it", e);
	while (same && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(st, 0);

		same = text && n < 2 && strcmp(text, want[n]) == 0;
		n++;
	}
	sqlite3_finalize(st);
	if (same && rc != SQLITE_DONE)
		return store_file_refused(f, rc, "read it", e);
	return same && n == 2 ? 0 : damaged(f, "its tables are not those of evswitch", e);
}

static int pages_check(struct store_file *f, struct err *e)
{
	sqlite3_stmt *st;
	char why[128] = "";
	int rc = sqlite3_prepare_v2(f->db, "PRAGMA quick_check(1)", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		snprintf(why, sizeof(why), "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	if (rc != SQLITE_ROW)
		return store_file_refused(f, rc, "read it", e);
	return strcmp(why, "ok") == 0 ? 0 : damaged(f, why, e);
}

// The text of a column; NULL if it is none or has a NUL inside.
static const char *column(sqlite3_stmt *st, int i)
{
	const char *text = (const char *)sqlite3_column_text(st, i);

	return text && strlen(text) == (size_t)sqlite3_column_bytes(st, i) ? text : NULL;
}

static int row_check(struct store_file *f, const char *kind, const char *name, const char *conf, int64_t sum,
		     struct store_totals *t, struct err *e)
{
	char why[400];

	if (!kind || !name || !conf)
		return damaged(f, "a row is not text", e);
	if (store_file_sum(kind, name, conf) != (uint64_t)sum) {
		snprintf(why, sizeof(why), "%.60s %.255s: its checksum is wrong", kind, name);
		return damaged(f, why, e);
	}
	t->rows++;
	t->sums ^= (uint64_t)sum;
	return 0;
}

int store_file_load(struct store_file *f,
		    int (*fn)(const char *kind, const char *name, const char *conf, void *arg, struct err *e),
		    void *arg, struct err *e)
{
	struct store_totals found = {0};
	sqlite3_stmt *st;
	int64_t rows, sums;
	int rc = sqlite3_prepare_v2(f->db, "SELECT kind, name, conf, sum FROM rows ORDER BY kind, name", -1,
				    &st, NULL);

	if (rc != SQLITE_OK)
		return store_file_refused(f, rc, "read it", e);
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		const char *kind = column(st, 0), *name = column(st, 1), *conf = column(st, 2);

		if (row_check(f, kind, name, conf, sqlite3_column_int64(st, 3), &found, e) < 0 ||
		    (fn && fn(kind, name, conf, arg, e) < 0))
			break;
	}
	sqlite3_finalize(st);
	if (rc == SQLITE_ROW)
		return e->code;
	if (rc != SQLITE_DONE)
		return store_file_refused(f, rc, "read it", e);
	if (ask(f, "SELECT rows FROM guard", &rows, e) < 0 || ask(f, "SELECT sums FROM guard", &sums, e) < 0)
		return e->code;
	if (found.rows != rows || found.sums != (uint64_t)sums)
		return damaged(f, "rows are lost, or older than others", e);
	return 0;
}

int store_file_open(struct store_file *f, struct err *e)
{
	int rc = file_check(f, e);

	if (rc == 0)
		rc = db_open(f, f->path, "TRUNCATE", e);
	// It may be written, file_check() saw that; so this comes from the format version in its head.
	if (rc == 0 && sqlite3_db_readonly(f->db, "main"))
		rc = damaged(f, "its head is wrong", e);
	if (rc == 0)
		rc = format_check(f, e);
	if (rc == 0)
		rc = pages_check(f, e);
	if (rc == 0)
		rc = schema_check(f, e);
	if (rc == 0)
		rc = store_file_load(f, NULL, NULL, e);
	if (rc < 0)
		store_file_close(f);
	return rc;
}

int store_file_same(const struct store_file *f, struct err *e)
{
	struct stat st;

	if (stat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		return 0;
	return err_set(
	    e, -ESTALE,
	    "state %s: was removed or replaced while evswitchd uses it: save with 'evsctl config show', "
	    "restart evswitchd and apply what was saved",
	    f->path);
}
