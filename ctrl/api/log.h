// The daemon's log: one line per message on stderr, in journal format when systemd reads it.
//
// Any thread except workers. Each call site prints at most 10 lines a second and then says
// how many it left out. log_line() with `site` NULL has no such limit.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARN = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

struct log_site {
	uint64_t second;   // which second the count is of; any thread, relaxed
	uint32_t n_second; // lines in that second
	uint32_t n_left_out;
};

void log_init(enum log_level level, bool journal);
void log_level_set(enum log_level level);
enum log_level log_level_get(void);
int log_level_parse(const char *word); // "error|warn|info|debug" to enum log_level, -EINVAL

void log_line(struct log_site *site, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_AT(level, ...)                                \
	do {                                              \
		static struct log_site log_site_;         \
		log_line(&log_site_, level, __VA_ARGS__); \
	} while (0)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
