/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call passes here before an object sees it: this table says which permission it needs. What is
 * ours and not in the table needs the strictest, so that a method without a row is closed, not open.
 */
#include <errno.h>
#include <string.h>

#include "bitshed/protocol.h"
#include "service/authority.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/session.h"

#define PROPERTIES_INTERFACE "org.freedesktop.DBus.Properties"
#define STRICTEST VERB_SET_POLICY

/** struct gate_row - @owner: whose object the call is about; NULL: nobody's */
struct gate_row {
	const char *interface, *member;
	enum verb verb;
	uid_t (*owner)(const struct manager *m, const char *path);
};

static uid_t session_owner(const struct manager *m, const char *path)
{
	list_for_each (l, &m->sessions)
		if (strcmp(list_entry(l, struct session, link)->path, path) == 0)
			return list_entry(l, struct session, link)->uid;
	return AUTHORITY_NO_OWNER;
}

static uid_t model_owner(const struct manager *m, const char *path)
{
	list_for_each (l, &m->entries)
		if (strcmp(list_entry(l, struct entry, link)->path, path) == 0)
			return list_entry(l, struct entry, link)->uid;
	return AUTHORITY_NO_OWNER;
}

/* clang-format off */
static const struct gate_row methods[] = {
	{BITSHED_MANAGER_INTERFACE, "LoadModel",       VERB_LOAD},
	{BITSHED_MANAGER_INTERFACE, "Unload",          VERB_LOAD},
	{BITSHED_MANAGER_INTERFACE, "Infer",           VERB_INFER},
	{BITSHED_MANAGER_INTERFACE, "OpenSession",     VERB_INFER},
	{BITSHED_MANAGER_INTERFACE, "SetBits",         VERB_SET_POLICY},
	{BITSHED_MANAGER_INTERFACE, "HoldPrecision",   VERB_HOLD},
	{BITSHED_MANAGER_INTERFACE, "ReportTelemetry", VERB_TELEMETRY},
	{BITSHED_MANAGER_INTERFACE, "RetryDevices",    VERB_SET_POLICY},
	{BITSHED_MODEL_INTERFACE,   "GetStatistics",   VERB_STATISTICS, model_owner},
	/* Only the connection that opened it: the session itself looks. */
	{BITSHED_SESSION_INTERFACE, "Close",           VERB_ANY},
};

static const struct gate_row writes[] = {
	{BITSHED_MANAGER_INTERFACE, "Profile", VERB_SET_POLICY},
};

/* All other properties are for everybody. */
static const struct gate_row reads[] = {
	{BITSHED_SESSION_INTERFACE, NULL, VERB_STATISTICS, session_owner},
};
/* clang-format on */

static const struct gate_row *find(const struct gate_row *rows, size_t n, const char *interface,
	const char *member)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(rows[i].interface, interface) == 0
			&& (!rows[i].member || strcmp(rows[i].member, member) == 0))
			return &rows[i];
	return NULL;
}

static const struct gate_row strictest = {.verb = STRICTEST}, open_to_all = {.verb = VERB_ANY};

static bool is_ours(const char *interface)
{
	return strncmp(interface, BITSHED_BUS_NAME ".", sizeof BITSHED_BUS_NAME) == 0;
}

/* Get and GetAll, or Set: the interface is the first argument, the property of two of them the second. */
static const struct gate_row *row_of_property(sd_bus_message *call)
{
	const char *interface, *property = "";
	bool set = strcmp(sd_bus_message_get_member(call), "Set") == 0;
	const struct gate_row *row;
	int r;

	r = sd_bus_message_read(call, "s", &interface);
	if (r > 0 && strcmp(sd_bus_message_get_member(call), "GetAll") != 0)
		r = sd_bus_message_read(call, "s", &property);
	if (r < 0 || !is_ours(interface))
		row = &open_to_all;
	else if (set)
		row = find(writes, ARRAY_SIZE(writes), interface, property) ?: &strictest;
	else
		row = find(reads, ARRAY_SIZE(reads), interface, property) ?: &open_to_all;
	(void) sd_bus_message_rewind(call, 1);
	return row;
}

static const struct gate_row *row_of(sd_bus_message *call)
{
	const char *interface = sd_bus_message_get_interface(call);

	/* Without an interface no object is reached either. */
	if (!interface || !sd_bus_message_get_member(call))
		return &open_to_all;
	if (strcmp(interface, PROPERTIES_INTERFACE) == 0)
		return row_of_property(call);
	if (!is_ours(interface))
		return &open_to_all;
	return find(methods, ARRAY_SIZE(methods), interface, sd_bus_message_get_member(call)) ?: &strictest;
}

/* Return: as of all filters: 0 goes on to the objects, 1 ends here */
static int on_message(sd_bus_message *call, void *userdata, sd_bus_error *ret)
{
	struct manager *m = userdata;
	const struct gate_row *row;
	struct error why = {};
	uid_t owner;
	int r;

	if (!sd_bus_message_is_method_call(call, NULL, NULL))
		return 0;
	row = row_of(call);
	owner = row->owner ? row->owner(m, sd_bus_message_get_path(call)) : AUTHORITY_NO_OWNER;
	r = authority_check(m->authority, call, row->verb, owner, &why);
	if (r > 0)
		return 0;
	if (r < 0)
		(void) bus_reply_error(call, r, &why);
	return 1;
}

int bus_gate_add(struct manager *m)
{
	int r;

	r = authority_new(&m->authority, m->bus);
	return r < 0 ? r : sd_bus_add_filter(m->bus, NULL, on_message, m);
}
