/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	start -> GetNameOwner --- owner ---> GetAll -> read() -> PropertiesChanged -> read() -> ...
 *	            |  ^                        |
 *	         nobody|                        no answer: gone()
 *	            v  | NameOwnerChanged
 *	           gone()
 */
#include "service/power_watch.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define BUS_NAME "org.freedesktop.DBus"
#define BUS_PATH "/org/freedesktop/DBus"
#define ANSWER_USEC (5 * UINT64_C(1000000))

static void forget(sd_bus_slot **slot)
{
	*slot = sd_bus_slot_unref(*slot);
}

static int read_number(sd_bus_message *m, char type, double *ret)
{
	union {
		int b;
		uint32_t u;
		int32_t i;
		int64_t x;
		uint64_t t;
		double d;
	} v;
	int r = sd_bus_message_read_basic(m, type, &v);

	if (r < 0)
		return r;
	*ret = type == 'b'   ? v.b
	       : type == 'u' ? v.u
	       : type == 'i' ? v.i
	       : type == 'd' ? v.d
	       : type == 'x' ? (double) v.x
			     : (double) v.t;
	return 0;
}

static int read_text(sd_bus_message *m, char *ret)
{
	const char *text;
	int r = sd_bus_message_read_basic(m, 's', &text);

	if (r >= 0)
		(void) snprintf(ret, POWER_TEXT_BYTES, "%.*s", POWER_TEXT_BYTES - 1, text);
	return r;
}

/* Return: 1 read, 0 skipped, negative errno: the message is broken */
static int read_variant(struct power_watch *w, const char *name, sd_bus_message *m)
{
	const char *signature;
	uint8_t *to;
	char type;
	int r;

	r = sd_bus_message_peek_type(m, &type, &signature);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->n_properties; i++) {
		const struct power_property *p = &w->properties[i];

		if (strcmp(p->name, name) != 0 || signature[0] != p->type || signature[1] != '\0')
			continue;
		to = (uint8_t *) w->target + p->offset;
		r = sd_bus_message_enter_container(m, 'v', signature);
		if (r >= 0)
			r = p->type == 's' ? read_text(m, (char *) to)
					   : read_number(m, p->type, (double *) (void *) to);
		return r < 0 ? r : sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
	}
	r = sd_bus_message_skip(m, "v");
	return r < 0 ? r : 0;
}

/* Return: how many of ours were in it, or negative errno */
static int read_properties(struct power_watch *w, sd_bus_message *m)
{
	const char *name;
	int r, n = 0;

	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(m, 's', &name);
		if (r >= 0)
			r = read_variant(w, name, m);
		if (r < 0)
			return r;
		n += r;
		r = sd_bus_message_exit_container(m);
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : n;
}

static int on_read(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct power_watch *w = userdata;

	forget(&w->read_call);
	if (sd_bus_message_is_method_error(m, NULL) || read_properties(w, m) < 0)
		w->gone(w->userdata);
	else
		w->read(w->userdata);
	return 0;
}

void power_watch_refresh(struct power_watch *w)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r;

	if (!w->owner[0] || !w->path || w->read_call)
		return;
	r = sd_bus_message_new_method_call(
		w->bus, &m, w->owner, w->path, "org.freedesktop.DBus.Properties", "GetAll");
	if (r >= 0)
		r = sd_bus_message_append(m, "s", w->interface);
	if (r >= 0)
		r = sd_bus_call_async(w->bus, &w->read_call, m, on_read, w, ANSWER_USEC);
	if (r < 0)
		w->gone(w->userdata);
}

bool power_watch_is_from(const struct power_watch *w, sd_bus_message *m)
{
	const char *sender = sd_bus_message_get_sender(m);

	return w->owner[0] && sender && strcmp(sender, w->owner) == 0;
}

static int on_changes(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct power_watch *w = userdata;
	const char *interface;
	int r;

	if (!power_watch_is_from(w, m))
		return 0;
	r = sd_bus_message_read_basic(m, 's', &interface);
	if (r < 0 || strcmp(interface, w->interface) != 0)
		return 0;
	r = read_properties(w, m);
	if (r > 0)
		w->read(w->userdata);
	/* Names without values: ask for them. */
	if (r >= 0 && sd_bus_message_enter_container(m, 'a', "s") > 0 &&
		sd_bus_message_at_end(m, 0) == 0)
		power_watch_refresh(w);
	return 0;
}

static void set_owner(struct power_watch *w, const char *owner)
{
	if (strcmp(w->owner, owner) == 0 || strlen(owner) >= sizeof w->owner)
		return;
	memcpy(w->owner, owner, strlen(owner) + 1);
	forget(&w->read_call);
	if (!w->owner[0]) {
		w->gone(w->userdata);
		return;
	}
	if (w->came)
		w->came(w->userdata);
	power_watch_refresh(w);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct power_watch *w = userdata;
	const char *name, *before, *now;

	if (sd_bus_message_read(m, "sss", &name, &before, &now) >= 0 && strcmp(name, w->name) == 0)
		set_owner(w, now);
	return 0;
}

static int on_started(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct power_watch *w = userdata;

	forget(&w->start_call);
	return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct power_watch *w = userdata;
	const char *owner;

	forget(&w->owner_call);
	if (!sd_bus_message_is_method_error(m, NULL) &&
		sd_bus_message_read_basic(m, 's', &owner) >= 0)
		set_owner(w, owner);
	else if (w->activate)
		(void) sd_bus_call_method_async(w->bus, &w->start_call, BUS_NAME, BUS_PATH,
			BUS_NAME, "StartServiceByName", on_started, w, "su", w->name, 0);
	return 0;
}

static int match_owner(struct power_watch *w)
{
	char match[512];

	(void) snprintf(match, sizeof match,
		"type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='" BUS_NAME
		"',member='NameOwnerChanged',arg0='%s'",
		w->name);
	return sd_bus_add_match_async(w->bus, &w->owner_match, match, on_owner_changed, NULL, w);
}

static int match_changes(struct power_watch *w)
{
	char match[512];

	(void) snprintf(match, sizeof match,
		"type='signal',sender='%s',path='%s',interface='org.freedesktop.DBus.Properties',"
		"member='PropertiesChanged',arg0='%s'",
		w->name, w->path, w->interface);
	return sd_bus_add_match_async(w->bus, &w->changes_match, match, on_changes, NULL, w);
}

int power_watch_start(struct power_watch *w)
{
	int r;

	r = match_owner(w);
	if (r >= 0 && w->path)
		r = match_changes(w);
	if (r >= 0)
		r = sd_bus_call_method_async(w->bus, &w->owner_call, BUS_NAME, BUS_PATH, BUS_NAME,
			"GetNameOwner", on_owner, w, "s", w->name);
	if (r < 0)
		power_watch_stop(w);
	return r < 0 ? r : 0;
}

void power_watch_stop(struct power_watch *w)
{
	forget(&w->read_call);
	forget(&w->start_call);
	forget(&w->owner_call);
	forget(&w->changes_match);
	forget(&w->owner_match);
}
