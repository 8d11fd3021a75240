/* SPDX-License-Identifier: Apache-2.0 */
#include "service/bus.h"

#include <errno.h>
#include <string.h>

#include "bitshed/protocol.h"

struct bus_name {
	int number;
	uint16_t status;
	const char *name;
};

static const struct bus_name names[] = {
#define E(code, name, bus, number) {number, code, bus},
	BITSHED_ERRORS(E)
#undef E
};

static const struct bus_name *find_name(int r)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].number == -r)
			return &names[i];
	/* The last row is "failed": the cause is in the words. */
	return &names[ARRAY_SIZE(names) - 1];
}

uint16_t bus_status(int r)
{
	return r >= 0 ? BITSHED_OK : find_name(r)->status;
}

int bus_error(sd_bus_error *ret, int r, const struct error *e)
{
	return sd_bus_error_set(ret, find_name(r)->name, error_text(e, r));
}

int bus_reply_error(sd_bus_message *call, int r, const struct error *e)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int k;

	(void) bus_error(&error, r, e);
	k = sd_bus_reply_method_error(call, &error);
	sd_bus_error_free(&error);
	return k;
}

static int read_option(sd_bus_message *m, const struct bus_option *table, size_t n, void *target,
	uint64_t *seen, struct error *reterr)
{
	const char *key, *contents;
	char type[2] = "";
	size_t i;
	int r;

	r = sd_bus_message_read(m, "s", &key);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++)
		if (strcmp(table[i].key, key) == 0)
			break;
	if (i == n)
		return error_set(reterr, -EINVAL, "unknown option \"%.64s\"", key);
	if (*seen >> i & 1)
		return error_set(reterr, -EINVAL, "option \"%s\" is given twice", key);
	*seen |= UINT64_C(1) << i;
	type[0] = table[i].type;
	r = sd_bus_message_peek_type(m, NULL, &contents);
	if (r < 0)
		return r;
	if (strcmp(contents, type) != 0)
		return error_set(reterr, -EINVAL,
			"option \"%s\" has type \"%.32s\", expected \"%s\"", key, contents, type);
	return sd_bus_message_read(m, "v", type, (char *) target + table[i].offset);
}

int bus_read_options(sd_bus_message *m, const struct bus_option *table, size_t n, void *target,
	struct error *reterr)
{
	uint64_t seen = 0;
	int r;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = read_option(m, table, n, target, &seen, reterr);
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

int bus_sender_uid(sd_bus_message *m, uid_t *ret, struct error *reterr)
{
	sd_bus_creds *creds = NULL;
	int r;

	r = sd_bus_query_sender_creds(m, SD_BUS_CREDS_EUID, &creds);
	if (r >= 0)
		r = sd_bus_creds_get_euid(creds, ret);
	(void) sd_bus_creds_unref(creds);
	return r < 0 ? error_set(reterr, -EACCES, "the bus does not say which user is asking") : 0;
}

int bus_append_u32(sd_bus_message *m, const char *key, uint32_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "u", value);
}

int bus_append_u64(sd_bus_message *m, const char *key, uint64_t value)
{
	return sd_bus_message_append(m, "{sv}", key, "t", value);
}

int bus_append_double(sd_bus_message *m, const char *key, double value)
{
	return sd_bus_message_append(m, "{sv}", key, "d", value);
}

int bus_append_text(sd_bus_message *m, const char *key, const char *value)
{
	return sd_bus_message_append(m, "{sv}", key, "s", value);
}
