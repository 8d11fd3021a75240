/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines for the journal or a terminal.
 *
 * Only main files and the service decide to log; base, engine and convert report errors to their
 * caller and never log above debug.
 */
#pragma once

#include <stdbool.h>
#include <syslog.h>

/** log_init() - where lines go: native journal prefixes when @journal, plain text otherwise. */
void log_init(bool journal, int max_level);

/** log_is_journal() - does the journal read what we write? */
bool log_is_journal(void);

void log_full(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_full(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_full(LOG_DEBUG, __VA_ARGS__)
