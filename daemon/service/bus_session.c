/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "bitshed/protocol.h"
#include "service/bus.h"
#include "service/bus_objects.h"
#include "service/manager.h"
#include "service/session.h"

static int method_close(sd_bus_message *m, void *userdata, sd_bus_error *ret)
{
	struct session *s = userdata;
	struct error why = {};
	int r;

	if (strcmp(sd_bus_message_get_sender(m), s->owner) != 0) {
		r = error_set(&why, -EACCES, "the session belongs to another connection");
		return bus_error(ret, r, &why);
	}
	session_close(s, "closed by its client");
	return sd_bus_reply_method_return(m, NULL);
}

static int get_model(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct session *s = userdata;

	return sd_bus_message_append(reply, "s", s->entry->name);
}

static int get_memory_bytes(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct session *s = userdata;

	return sd_bus_message_append(reply, "t", (uint64_t) s->region.bytes);
}

/*
 * Explicit: the list of all objects, which everybody may have, names sessions and does not say whose
 * they are or what they do.
 */
#define CONST (SD_BUS_VTABLE_PROPERTY_CONST | SD_BUS_VTABLE_PROPERTY_EXPLICIT)
/* clang-format off */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Close", "", "", method_close, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_PROPERTY("Model", "s", get_model, 0, CONST),
	SD_BUS_PROPERTY("Slots", "u", NULL, offsetof(struct session, region.slots),
		CONST),
	SD_BUS_PROPERTY("MemoryBytes", "t", get_memory_bytes, 0, CONST),
	SD_BUS_PROPERTY("Uid", "u", NULL, offsetof(struct session, uid),
		CONST),
	SD_BUS_PROPERTY("Requests", "t", NULL, offsetof(struct session, requests),
		SD_BUS_VTABLE_PROPERTY_EXPLICIT),
	SD_BUS_VTABLE_END
};
/* clang-format on */
#undef CONST

int bus_session_add(struct session *s)
{
	int r;

	r = sd_bus_add_object_vtable(
		s->manager->bus, &s->object, s->path, BITSHED_SESSION_INTERFACE, vtable, s);
	if (r < 0)
		return r;
	(void) sd_bus_emit_object_added(s->manager->bus, s->path);
	return 0;
}

void bus_session_removed(struct session *s)
{
	(void) sd_bus_emit_object_removed(s->manager->bus, s->path);
	s->object = sd_bus_slot_unref(s->object);
}
