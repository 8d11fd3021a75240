/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static int log_level = LOG_INFO;
static bool log_journal;

void log_init(bool journal, int max_level)
{
	log_journal = journal;
	log_level = max_level;
}

bool log_is_journal(void)
{
	return log_journal;
}

void log_full(int level, const char *format, ...)
{
	char line[1024];
	va_list ap;

	if (level > log_level)
		return;
	va_start(ap, format);
	(void) vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	/* The journal reads "<N>" in front of a line on standard error as its priority. */
	if (log_journal)
		(void) fprintf(stderr, "<%d>%s\n", level, line);
	else
		(void) fprintf(stderr, "%s\n", line);
}
