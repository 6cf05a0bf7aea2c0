// A SQLite file system that passes all through and fails at the Nth write, sync or truncation: once,
// or from then on (the disk is gone, or the process as good as killed).
#pragma once

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

static struct fault {
	atomic_int left; // operations until the failure; 0 = never
	int code;        // SQLITE_FULL, SQLITE_IOERR
	bool forever;
	sqlite3_vfs *real;
} fault;

struct fault_file {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_file *fault_real(sqlite3_file *f)
{
	return ((struct fault_file *)f)->real;
}

// Whether this operation fails.
static bool fault_hits(void)
{
	int left = atomic_load(&fault.left);

	if (left == 0)
		return false;
	if (left > 1) {
		atomic_store(&fault.left, left - 1);
		return false;
	}
	if (!fault.forever)
		atomic_store(&fault.left, 0);
	return true;
}

static int fault_close(sqlite3_file *f)
{
	return fault_real(f)->pMethods->xClose(fault_real(f));
}

static int fault_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	return fault_real(f)->pMethods->xRead(fault_real(f), buf, n, at);
}

// A write that fails has written its first half.
static int fault_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	bool hit = fault_hits();
	int rc = fault_real(f)->pMethods->xWrite(fault_real(f), buf, hit ? n / 2 : n, at);

	return hit ? (fault.code == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE) : rc;
}

static int fault_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return fault_hits() ? SQLITE_IOERR_TRUNCATE : fault_real(f)->pMethods->xTruncate(fault_real(f), size);
}

static int fault_sync(sqlite3_file *f, int flags)
{
	return fault_hits() ? SQLITE_IOERR_FSYNC : fault_real(f)->pMethods->xSync(fault_real(f), flags);
}

static int fault_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return fault_real(f)->pMethods->xFileSize(fault_real(f), size);
}

static int fault_lock(sqlite3_file *f, int lock)
{
	return fault_real(f)->pMethods->xLock(fault_real(f), lock);
}

static int fault_unlock(sqlite3_file *f, int lock)
{
	return fault_real(f)->pMethods->xUnlock(fault_real(f), lock);
}

static int fault_reserved(sqlite3_file *f, int *out)
{
	return fault_real(f)->pMethods->xCheckReservedLock(fault_real(f), out);
}

static int fault_control(sqlite3_file *f, int op, void *arg)
{
	return fault_real(f)->pMethods->xFileControl(fault_real(f), op, arg);
}

static int fault_sector(sqlite3_file *f)
{
	return fault_real(f)->pMethods->xSectorSize(fault_real(f));
}

static int fault_traits(sqlite3_file *f)
{
	return fault_real(f)->pMethods->xDeviceCharacteristics(fault_real(f));
}

static const sqlite3_io_methods fault_methods = {
    .iVersion = 1,
    .xClose = fault_close,
    .xRead = fault_read,
    .xWrite = fault_write,
    .xTruncate = fault_truncate,
    .xSync = fault_sync,
    .xFileSize = fault_size,
    .xLock = fault_lock,
    .xUnlock = fault_unlock,
    .xCheckReservedLock = fault_reserved,
    .xFileControl = fault_control,
    .xSectorSize = fault_sector,
    .xDeviceCharacteristics = fault_traits,
};

static int fault_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	struct fault_file *ff = (struct fault_file *)f;
	int rc;

	(void)v;
	ff->real = (sqlite3_file *)(ff + 1);
	rc = fault.real->xOpen(fault.real, name, ff->real, flags, out);
	f->pMethods = ff->real->pMethods ? &fault_methods : NULL;
	return rc;
}

static void fault_vfs_install(void)
{
	static sqlite3_vfs vfs;

	if (!fault.real) {
		fault.real = sqlite3_vfs_find(NULL);
		vfs = *fault.real;
		vfs.zName = "fault";
		vfs.szOsFile += (int)sizeof(struct fault_file);
		vfs.xOpen = fault_open;
		sqlite3_vfs_register(&vfs, 1);
	}
	atomic_store(&fault.left, 0);
}

static inline void fault_at(int n, int code, bool forever)
{
	fault.code = code;
	fault.forever = forever;
	atomic_store(&fault.left, n);
}
