/* SPDX-License-Identifier: Apache-2.0 */
#include "bitshed/protocol.h"
#include "service/bus_objects.h"
#include "service/manager.h"

static int get_name(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;

	return sd_bus_message_append(reply, "s", device_name(m->device));
}

static int get_description(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;
	char text[256];

	return sd_bus_message_append(reply, "s", device_describe(m->device, text, sizeof text));
}

static int get_threads(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;

	return sd_bus_message_append(reply, "u", device_threads(m->device));
}

static int get_queue_length(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	const struct manager *m = userdata;

	return sd_bus_message_append(reply, "u", queue_length(m->queue));
}

/* clang-format off */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Name", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Kind", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Description", "s", get_description, 0,
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Threads", "u", get_threads, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("QueueLength", "u", get_queue_length, 0, 0),
	SD_BUS_VTABLE_END
};
/* clang-format on */

int bus_device_add(struct manager *m)
{
	return sd_bus_add_object_vtable(
		m->bus, NULL, BUS_DEVICE_CPU_PATH, BITSHED_DEVICE_INTERFACE, vtable, m);
}

void bus_device_changed(struct manager *m)
{
	(void) sd_bus_emit_properties_changed(m->bus, BUS_DEVICE_CPU_PATH, BITSHED_DEVICE_INTERFACE,
		"Description", "Threads", NULL);
}
