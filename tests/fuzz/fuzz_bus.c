/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any a{sv} as options of a method, any bytes as a session's record. The bytes are read as a list
 * of entries (key, type, value), of which a message is made; whether it must be taken is worked out
 * beside.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "service/bus.h"
#include "service/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
	double real;
	uint32_t count;
	int32_t number;
	const char *text;
};

static const struct bus_option table[] = {
	{"real", 'd', offsetof(struct target, real)},
	{"count", 'u', offsetof(struct target, count)},
	{"number", 'i', offsetof(struct target, number)},
	{"text", 's', offsetof(struct target, text)},
};

/* Behind the table's own types: what a client may send by mistake or on purpose. */
static const char types[] = "duisbvty";

static void must(int r)
{
	if (r < 0) {
		fprintf(stderr, "fuzz bus: %s\n", strerror(-r));
		abort();
	}
}

/* A connection that says nothing: messages need one to be made. */
static sd_bus *silent_bus(void)
{
	static sd_bus *bus;
	int pair[2];

	if (bus)
		return bus;
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	must(sd_bus_new(&bus));
	must(sd_bus_set_fd(bus, pair[0], pair[0]));
	must(sd_bus_start(bus));
	return bus;
}

static int append_value(sd_bus_message *m, char type, uint8_t value)
{
	char signature[2] = {type, '\0'};

	switch (type) {
	case 'd':
		return sd_bus_message_append(m, "v", signature, value ? (double) value : 0.0 / 0.0);
	case 's':
		return sd_bus_message_append(m, "v", signature, &"some text"[value % 10]);
	case 't':
		return sd_bus_message_append(m, "v", signature, (uint64_t) value << 56);
	case 'v':
		return sd_bus_message_append(m, "v", "v", "ay", 2, value, value);
	default:
		return sd_bus_message_append(m, "v", signature, (int) value);
	}
}

/* Return: whether a daemon that ignores nothing may take this entry. */
static bool append_entry(sd_bus_message *m, const uint8_t *entry, uint32_t *seen)
{
	size_t key = entry[0] % (ARRAY_SIZE(table) + 1);
	bool known = key < ARRAY_SIZE(table), good;
	char type = types[entry[1] % (sizeof types - 1)],
	     own[2] = {(char) ('!' + entry[0] % 90), '\0'};

	must(sd_bus_message_open_container(m, 'e', "sv"));
	must(sd_bus_message_append(m, "s", known ? table[key].key : own));
	must(append_value(m, type, entry[2]));
	must(sd_bus_message_close_container(m));
	good = known && table[key].type == type && !(*seen >> key & 1);
	*seen |= UINT32_C(1) << key;
	return good;
}

static void try_options(const uint8_t *data, size_t size)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	struct target target = {};
	struct error why = {};
	bool good = true;
	uint32_t seen = 0;
	int r;

	must(sd_bus_message_new_method_call(silent_bus(), &m, NULL, "/", NULL, "Method"));
	must(sd_bus_message_open_container(m, 'a', "{sv}"));
	for (size_t i = 0; i + 3 <= size && i < 3 * 64; i += 3)
		good &= append_entry(m, data + i, &seen);
	must(sd_bus_message_close_container(m));
	must(sd_bus_message_seal(m, 1, 0));
	must(sd_bus_message_rewind(m, 1));
	r = bus_read_options(m, table, ARRAY_SIZE(table), &target, &why);
	if ((r >= 0) != good || (r < 0 && (r != -EINVAL || !why.text[0])))
		abort();
}

static void try_record(const uint8_t *data, size_t size)
{
	struct bitshed_request record = {};

	memcpy(&record, data, MIN_OF(size, sizeof record));
	if (session_check(&record, size, 4) == 0 && (record.slot >= 4 || size != sizeof record))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_options(data, size);
	try_record(data, size);
	return 0;
}
