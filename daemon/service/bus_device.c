/* SPDX-License-Identifier: Apache-2.0 */
/* One vtable for both kinds: an object is what its path says. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "bitshed/protocol.h"
#include "service/bus_objects.h"
#include "service/manager.h"

/** struct look - a device as it is now, whichever it is */
struct look {
	const char *name;
	uint32_t queue_length;
	char description[256];
	struct device_status s;
};

const char *bus_device_path(uint32_t index, char buffer[BUS_DEVICE_PATH_BYTES])
{
	(void) snprintf(buffer, BUS_DEVICE_PATH_BYTES, "%s%s", BUS_DEVICE_PATH, devices_name(index));
	return buffer;
}

/* Return: number of the OpenCL device, or -1 */
static int index_of(const struct manager *m, const char *path)
{
	const char *name = path + strlen(BUS_DEVICE_PATH);

	for (uint32_t i = 0; m->devices && i < devices_count(m->devices); i++)
		if (strcmp(name, devices_name(i)) == 0)
			return (int) i;
	return -1;
}

static void look_at(struct manager *m, const char *path, struct look *ret)
{
	int index = index_of(m, path);

	memset(ret, 0, sizeof *ret);
	if (index >= 0) {
		struct device_worker *worker = devices_get(m->devices, (uint32_t) index);

		ret->name = devices_name((uint32_t) index);
		ret->queue_length = device_worker_queue_length(worker);
		device_worker_status(worker, &ret->s);
		(void) snprintf(ret->description, sizeof ret->description, "%s", ret->s.name);
		return;
	}
	ret->name = device_name(m->device);
	ret->queue_length = queue_length(m->queue);
	ret->s.kind = ret->name;
	ret->s.state = DEVICE_READY;
	ret->s.units = device_threads(m->device);
	(void) device_describe(m->device, ret->description, sizeof ret->description);
}

static const char *text_of(const struct look *l, const char *property)
{
	if (strcmp(property, "Name") == 0)
		return l->name;
	if (strcmp(property, "Kind") == 0)
		return l->s.kind;
	if (strcmp(property, "Description") == 0)
		return l->description;
	if (strcmp(property, "State") == 0)
		return device_state_name(l->s.state);
	if (strcmp(property, "StateReason") == 0)
		return l->s.reason;
	if (strcmp(property, "Platform") == 0)
		return l->s.platform;
	return strcmp(property, "Driver") == 0 ? l->s.driver : l->s.version;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct look l;

	look_at(userdata, path, &l);
	return sd_bus_message_append(reply, "s", text_of(&l, property));
}

/* clang-format off */
static const struct {
	const char *property;
	char type;
	size_t offset;
} numbers[] = {
	{"Threads",       'u', offsetof(struct look, s.units)},
	{"QueueLength",   'u', offsetof(struct look, queue_length)},
	{"Plans",         'u', offsetof(struct look, s.n_plans)},
	{"BufferBytes",   't', offsetof(struct look, s.buffer_bytes)},
	{"Answered",      't', offsetof(struct look, s.answered)},
	{"Retried",       't', offsetof(struct look, s.retried)},
	{"Checked",       't', offsetof(struct look, s.checked)},
	{"Wrong",         't', offsetof(struct look, s.wrong)},
	{"Together",      't', offsetof(struct look, s.together)},
	{"Starts",        't', offsetof(struct look, s.starts)},
	{"Kernels",       'u', offsetof(struct look, s.n_right)},
	{"KernelsCached", 'u', offsetof(struct look, s.n_cached)},
	{"BuildNSec",     't', offsetof(struct look, s.build_nsec)},
	{"TestNSec",      't', offsetof(struct look, s.test_nsec)},
};
/* clang-format on */

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct look l;

	look_at(userdata, path, &l);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(property, numbers[i].property) == 0)
			return sd_bus_message_append_basic(
				reply, numbers[i].type, (const char *) &l + numbers[i].offset);
	return -ENOENT;
}

static int get_shares_memory(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct look l;

	look_at(userdata, path, &l);
	return sd_bus_message_append(reply, "b", l.s.shares_memory);
}

static int get_quarantine(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret)
{
	struct look l;
	char *word, *rest;
	int r;

	look_at(userdata, path, &l);
	rest = l.s.banned[0] ? l.s.banned : NULL;
	r = sd_bus_message_open_container(reply, 'a', "s");
	while (r >= 0 && (word = strsep(&rest, " ")))
		r = sd_bus_message_append(reply, "s", word);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* clang-format off */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Kind", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Description", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Threads", "u", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("QueueLength", "u", get_number, 0, 0),
	SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("StateReason", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Platform", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Driver", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Version", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Quarantine", "as", get_quarantine, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("SharesMemory", "b", get_shares_memory, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Plans", "u", get_number, 0, 0),
	SD_BUS_PROPERTY("BufferBytes", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Answered", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Retried", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Checked", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Wrong", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Together", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Starts", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("Kernels", "u", get_number, 0, 0),
	SD_BUS_PROPERTY("KernelsCached", "u", get_number, 0, 0),
	SD_BUS_PROPERTY("BuildNSec", "t", get_number, 0, 0),
	SD_BUS_PROPERTY("TestNSec", "t", get_number, 0, 0),
	SD_BUS_VTABLE_END
};
/* clang-format on */

static int add_worker(struct manager *m, uint32_t index)
{
	char path[BUS_DEVICE_PATH_BYTES];

	return sd_bus_add_object_vtable(
		m->bus, NULL, bus_device_path(index, path), BITSHED_DEVICE_INTERFACE, vtable, m);
}

int bus_device_add(struct manager *m)
{
	int r = sd_bus_add_object_vtable(
		m->bus, NULL, BUS_DEVICE_CPU_PATH, BITSHED_DEVICE_INTERFACE, vtable, m);

	return r < 0 || !m->devices ? r : add_worker(m, 0);
}

void bus_device_worker_added(struct manager *m, uint32_t index)
{
	char path[BUS_DEVICE_PATH_BYTES];
	int r = add_worker(m, index);

	if (r < 0)
		log_warning("device %s cannot be shown: %s", devices_name(index), strerror(-r));
	else
		(void) sd_bus_emit_object_added(m->bus, bus_device_path(index, path));
	bus_manager_changed(m, "Devices");
}

void bus_device_changed(struct manager *m)
{
	(void) sd_bus_emit_properties_changed(m->bus, BUS_DEVICE_CPU_PATH, BITSHED_DEVICE_INTERFACE,
		"Description", "Threads", NULL);
}

void bus_device_worker_changed(struct manager *m, uint32_t index)
{
	char path[BUS_DEVICE_PATH_BYTES];

	if (m->bus)
		(void) sd_bus_emit_properties_changed(m->bus, bus_device_path(index, path),
			BITSHED_DEVICE_INTERFACE, "State", "StateReason", "Kind", "Description", "Threads",
			"Platform", "Driver", "Version", "Quarantine", "SharesMemory", NULL);
}
