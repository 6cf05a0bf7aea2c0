// The daemon's log on stderr.
//
// A line is one write() of less than a pipe's atomic size, and only when stderr has room for it: a
// reader that has stopped (a full pipe) costs log lines, never a blocked control thread. Any thread
// except workers.
#include "ctrl/api/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/api/value.h"

#define MAX_LINES_PER_SECOND 10

static enum log_level log_level_now = LOG_LEVEL_INFO;
static bool log_journal;
static uint64_t log_n_lost; // any thread, relaxed: lines that stderr had no room for

void log_init(enum log_level level, bool journal)
{
	log_level_set(level);
	log_journal = journal;
}

void log_level_set(enum log_level level)
{
	__atomic_store_n(&log_level_now, level, __ATOMIC_RELAXED);
}

enum log_level log_level_get(void)
{
	return __atomic_load_n(&log_level_now, __ATOMIC_RELAXED);
}

static const struct level_word {
	const char *word;
	enum log_level level;
} level_words[] = {{"error", LOG_LEVEL_ERROR},
		   {"warn", LOG_LEVEL_WARN},
		   {"info", LOG_LEVEL_INFO},
		   {"debug", LOG_LEVEL_DEBUG}};

int log_level_parse(const char *word)
{
	for (unsigned i = 0; i < 4; i++)
		if (strcmp(word, level_words[i].word) == 0)
			return level_words[i].level;
	return -EINVAL;
}

static const char *level_word(enum log_level level)
{
	for (unsigned i = 0; i < 4; i++)
		if (level_words[i].level == level)
			return level_words[i].word;
	return "?";
}

// Whether this line may be printed; if so, how many of its site were left out before it.
static bool site_admits(struct log_site *site, uint64_t second, uint32_t *n_left_out)
{
	*n_left_out = 0;
	if (!site)
		return true;
	if (__atomic_exchange_n(&site->second, second, __ATOMIC_RELAXED) != second)
		__atomic_store_n(&site->n_second, 0, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&site->n_second, 1, __ATOMIC_RELAXED) >= MAX_LINES_PER_SECOND) {
		__atomic_fetch_add(&site->n_left_out, 1, __ATOMIC_RELAXED);
		return false;
	}
	*n_left_out = __atomic_exchange_n(&site->n_left_out, 0, __ATOMIC_RELAXED);
	return true;
}

static bool line_write(const char *line, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(STDERR_FILENO, line, len) >= 0;
}

// "<6>" tells the journal the level; a person gets the time and a word.
static size_t head_print(char *buf, size_t size, enum log_level level, const struct timespec *now)
{
	struct tm tm;
	char clock[32];

	if (log_journal)
		return (size_t)snprintf(buf, size, "<%d>", level);
	localtime_r(&now->tv_sec, &tm);
	strftime(clock, sizeof(clock), "%F %T", &tm);
	return (size_t)snprintf(buf, size, "%s.%03ld %-5s ", clock, now->tv_nsec / 1000000,
				level_word(level));
}

void log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
{
	char line[1536]; // two threads at once still fit a pipe's PIPE_BUF
	struct timespec now;
	uint32_t n_left_out;
	va_list ap;

	if (level > log_level_get())
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (!site_admits(site, (uint64_t)now.tv_sec, &n_left_out))
		return;

	size_t head = head_print(line, sizeof(line), level, &now), room = sizeof(line) - 128;
	va_start(ap, fmt);
	vsnprintf(line + head, room - head, fmt, ap);
	va_end(ap);
	value_make_printable(line + head);

	size_t len = strlen(line);
	uint64_t n_lost = __atomic_exchange_n(&log_n_lost, 0, __ATOMIC_RELAXED);
	if (n_left_out)
		len += (size_t)sprintf(line + len, " (%u more like this were left out)", n_left_out);
	if (n_lost)
		len += (size_t)sprintf(line + len, " (%lu lines before this found stderr full)",
				       (unsigned long)n_lost);
	line[len++] = '\n';
	if (!line_write(line, len))
		__atomic_fetch_add(&log_n_lost, n_lost + 1, __ATOMIC_RELAXED);
}
