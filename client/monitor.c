/* SPDX-License-Identifier: Apache-2.0 */
/* Signals of the daemon as events. Values become text: who wants them typed asks for the object. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static void emit(struct bitshed *b, enum bitshed_event_type type, const char *path,
	const char *property, const char *value)
{
	_cleanup_(client_freep) char *name = NULL;
	struct bitshed_event event = {.type = type, .property = property, .value = value};

	if (b->on_event && path_split(path, &event.kind, &name) >= 0) {
		event.name = name;
		b->on_event(&event, b->userdata);
	}
}

/* What numbers and strings look like; of anything longer only that there is something new. */
static int value_text(sd_bus_message *m, char *to, size_t size)
{
	char type;
	const char *contents, *s;
	uint64_t t;
	uint32_t u;
	double d;
	int r = sd_bus_message_peek_type(m, NULL, &contents);

	if (r < 0)
		return r;
	type = contents[1] ? 0 : contents[0];
	(void) snprintf(to, size, "...");
	if (type == 's' && (r = sd_bus_message_read(m, "v", "s", &s)) >= 0)
		(void) snprintf(to, size, "%s", s);
	else if (type == 'd' && (r = sd_bus_message_read(m, "v", "d", &d)) >= 0)
		(void) snprintf(to, size, "%g", d);
	else if (type == 't' && (r = sd_bus_message_read(m, "v", "t", &t)) >= 0)
		(void) snprintf(to, size, "%" PRIu64, t);
	else if (type == 'u' && (r = sd_bus_message_read(m, "v", "u", &u)) >= 0)
		(void) snprintf(to, size, "%" PRIu32, u);
	else if (r >= 0)
		r = sd_bus_message_skip(m, "v");
	return r;
}

static int on_properties(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bitshed *b = userdata;
	const char *interface, *property;
	char value[512];
	int r = sd_bus_message_read(m, "s", &interface);

	if (r < 0 || strncmp(interface, "org.bitshed.", 12) != 0)
		return 0;
	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &property);
		if (r >= 0)
			r = value_text(m, value, sizeof value);
		if (r >= 0)
			emit(b, BITSHED_EVENT_CHANGED, sd_bus_message_get_path(m), property, value);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return 0;
}

static int on_objects(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	bool added = sd_bus_message_is_signal(m, NULL, "InterfacesAdded");
	const char *path, *interface;
	bool ours = false;
	int r = sd_bus_message_read(m, "o", &path);

	if (r < 0 || (!added && !sd_bus_message_is_signal(m, NULL, "InterfacesRemoved")))
		return 0;
	/* Each object also has the standard interfaces, sometimes in a signal of their own. */
	r = sd_bus_message_enter_container(m, 'a', added ? "{sa{sv}}" : "s");
	while (r >= 0) {
		if (added && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) <= 0)
			break;
		r = sd_bus_message_read(m, "s", &interface);
		if (r <= 0)
			break;
		ours |= strncmp(interface, "org.bitshed.", 12) == 0;
		if (added && ((r = sd_bus_message_skip(m, "a{sv}")) < 0 ||
				     (r = sd_bus_message_exit_container(m)) < 0))
			break;
	}
	if (ours)
		emit(userdata, added ? BITSHED_EVENT_ADDED : BITSHED_EVENT_REMOVED, path, NULL,
			NULL);
	return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *name, *from, *to;
	int r = sd_bus_message_read(m, "sss", &name, &from, &to);

	if (r < 0)
		return 0;
	if (from[0])
		emit(userdata, BITSHED_EVENT_STOPPED, BITSHED_PATH, NULL, NULL);
	if (to[0])
		emit(userdata, BITSHED_EVENT_STARTED, BITSHED_PATH, NULL, NULL);
	return 0;
}

static const struct {
	const char *rule;
	sd_bus_message_handler_t handler;
} rules[] = {
	{"type='signal',sender='" BITSHED_BUS_NAME "',interface='org.freedesktop.DBus.Properties',"
	 "member='PropertiesChanged',path_namespace='" BITSHED_PATH "'",
		on_properties},
	{"type='signal',sender='" BITSHED_BUS_NAME
	 "',interface='org.freedesktop.DBus.ObjectManager'",
		on_objects},
	{"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0="
	 "'" BITSHED_BUS_NAME "'",
		on_owner},
};

int bitshed_monitor(
	struct bitshed *b, bitshed_event_fn fn, void *userdata, struct bitshed_error *reterr)
{
	_Static_assert(ARRAY_SIZE(rules) == ARRAY_SIZE(b->matches), "one slot per rule");
	b->on_event = fn;
	b->userdata = userdata;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		int r = 0;

		if (!fn)
			b->matches[i] = sd_bus_slot_unref(b->matches[i]);
		else if (!b->matches[i])
			r = sd_bus_add_match(
				b->bus, &b->matches[i], rules[i].rule, rules[i].handler, b);
		if (r < 0)
			return fail_bus(reterr, r, NULL);
	}
	return 0;
}

int bitshed_process(struct bitshed *b, int timeout_ms, struct bitshed_error *reterr)
{
	bool waited = false;
	int n = 0;

	for (;;) {
		int r = sd_bus_process(b->bus, NULL);

		if (r < 0)
			return fail_bus(reterr, r, NULL);
		if (r > 0) {
			n = 1;
			continue;
		}
		if (n > 0 || waited || timeout_ms == 0)
			return n;
		r = sd_bus_wait(b->bus, timeout_ms < 0 ? UINT64_MAX : (uint64_t) timeout_ms * 1000);
		if (r == -EINTR)
			return 0;
		if (r < 0)
			return fail_bus(reterr, r, NULL);
		waited = r == 0;
		if (waited)
			return 0;
	}
}

int bitshed_fd(struct bitshed *b)
{
	return sd_bus_get_fd(b->bus);
}
