/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

int error_set(struct error *e, int r, const char *format, ...)
{
	va_list ap;

	if (!e)
		return r;
	va_start(ap, format);
	(void) vsnprintf(e->text, sizeof e->text, format, ap);
	va_end(ap);
	return r;
}

int error_prefix(struct error *e, int r, const char *format, ...)
{
	char prefix[128], rest[sizeof e->text];
	va_list ap;

	if (!e)
		return r;
	va_start(ap, format);
	(void) vsnprintf(prefix, sizeof prefix, format, ap);
	va_end(ap);
	(void) snprintf(rest, sizeof rest, "%s", error_text(e, r));
	/* A long tail is cut: the front says where, and is worth more. */
	(void) snprintf(e->text, sizeof e->text, "%.127s: %.126s", prefix, rest);
	return r;
}

const char *error_text(const struct error *e, int r)
{
	if (e && e->text[0])
		return e->text;
	return strerrordesc_np(r < 0 ? -r : r) ?: "unknown error";
}
