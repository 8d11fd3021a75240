/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors of three origins, told to the caller in one form: of the daemon on the bus (a name), of
 * the daemon on a session's socket (a number), of this library or the bus (an errno or a standard
 * name).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const struct {
	uint16_t code;
	const char *name;
	int number;
	const char *text;
} errors[] = {
#define E(code, id, name, number) {code, name, number, #id},
	BITSHED_ERRORS(E)
#undef E
};

/* Words for replies on the socket, where there is room for a number only. */
static const char *words(uint16_t status)
{
	switch (status) {
	case BITSHED_ERROR_NO_SUCH_MODEL:
		return "the model has been unloaded";
	case BITSHED_ERROR_BUSY:
		return "too many requests wait, try again later";
	case BITSHED_ERROR_NO_MEMORY:
		return "the daemon is out of memory";
	case BITSHED_ERROR_DEADLINE:
		return "the deadline passed before the answer was there";
	case BITSHED_ERROR_PRECISION_UNAVAILABLE:
		return "the model runs at fewer bits than the request asks for";
	case BITSHED_ERROR_DEVICE_LOST:
		return "the OpenCL device cannot be used";
	case BITSHED_ERROR_INVALID_OPTION:
		return "the daemon does not take these options";
	case BITSHED_ERROR_INVALID_INPUT:
		return "the model does not take this kind of input";
	case BITSHED_ERROR_NOT_READY:
		return "the model or the device is not ready";
	default:
		return "the daemon failed to compute";
	}
}

static int fill(struct bitshed_error *e, int r, const char *name, const char *text)
{
	if (!e)
		return r;
	(void) snprintf(e->name, sizeof e->name, "%s", name);
	(void) snprintf(e->text, sizeof e->text, "%s", text);
	return r;
}

static const char *name_of(int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].number == number)
			return errors[i].name;
	return "org.bitshed.Error.Failed";
}

int fail(struct bitshed_error *e, int r, const char *format, ...)
{
	char text[sizeof e->text];
	va_list ap;

	va_start(ap, format);
	(void) vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	return fill(e, r, name_of(-r), text);
}

int fail_status(struct bitshed_error *e, uint16_t status)
{
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].code == status)
			return fill(e, -errors[i].number, errors[i].name, words(status));
	return fill(e, -EPROTO, "org.bitshed.Error.Failed",
		"the daemon sent a status that this library does not know");
}

static const struct {
	const char *name;
	int number;
	const char *text; /* NULL: the bus's own words are better */
} standard[] = {
	{SD_BUS_ERROR_SERVICE_UNKNOWN, ECONNREFUSED,
		"bitshedd is not running on this bus; start it, or name another bus"},
	{SD_BUS_ERROR_NAME_HAS_NO_OWNER, ECONNREFUSED,
		"bitshedd is not running on this bus; start it, or name another bus"},
	{SD_BUS_ERROR_ACCESS_DENIED, EACCES,
		"the bus does not let this user do that"},
	{SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, EACCES, NULL},
	{SD_BUS_ERROR_NO_REPLY, ETIMEDOUT, "bitshedd did not answer"},
	{SD_BUS_ERROR_TIMEOUT, ETIMEDOUT, "bitshedd did not answer in time"},
	{SD_BUS_ERROR_DISCONNECTED, ECONNRESET, "the connection to the bus has gone"},
	{SD_BUS_ERROR_LIMITS_EXCEEDED, EDQUOT, NULL},
	{SD_BUS_ERROR_INVALID_ARGS, EINVAL, NULL},
};

int fail_bus(struct bitshed_error *e, int r, const sd_bus_error *from)
{
	if (!from || !from->name) {
		if (r == -ENOTCONN || r == -ECONNRESET || r == -EPIPE)
			return fail(e, -ECONNRESET, "the connection to the bus has gone");
		return fail(e, r, "%s", strerrordesc_np(-r) ?: "the call failed");
	}
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (strcmp(from->name, errors[i].name) == 0)
			return fill(
				e, -errors[i].number, from->name, from->message ?: errors[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(standard); i++)
		if (strcmp(from->name, standard[i].name) == 0)
			return fill(e, -standard[i].number, from->name,
				standard[i].text ?: from->message ?: from->name);
	return fill(e, -sd_bus_error_get_errno(from), from->name, from->message ?: from->name);
}
