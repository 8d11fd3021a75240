/* SPDX-License-Identifier: Apache-2.0 */
/* One object of another service on the bus: found when its owner comes, read whole, then followed
 * by signals. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-bus.h>

#define POWER_TEXT_BYTES 32

/**
 * struct power_property - what is read of the object
 * @type: "b", "u", "i", "x", "t", "d" are stored as a double; "s" as char[POWER_TEXT_BYTES], cut
 * when longer
 * @offset: in the target; a value of another type than @type is left out
 */
struct power_property {
	const char *name;
	char type;
	size_t offset;
};

/**
 * struct power_watch - embedded in its source; zero it, fill the first part, then
 * power_watch_start()
 * @path: NULL: only the owner is followed, no properties
 * @activate: ask the bus once to start the service; only for those that merely report
 * @properties, @n_properties, @target: what is read, and where to
 * @read: @target has news
 * @came: there is a new owner; may be NULL
 * @gone: there is no owner now, or it does not answer
 * @owner: unique name, empty when there is none: signals of others are not believed
 */
struct power_watch {
	sd_bus *bus;
	const char *name, *path, *interface;
	bool activate;
	const struct power_property *properties;
	size_t n_properties;
	void *target, *userdata;
	void (*read)(void *userdata);
	void (*came)(void *userdata);
	void (*gone)(void *userdata);

	char owner[256];
	sd_bus_slot *owner_match, *changes_match, *owner_call, *start_call, *read_call;
};

/** power_watch_start() - Return: 0 or negative errno; then everything else comes by the loop */
int power_watch_start(struct power_watch *w);

/** power_watch_refresh() - read the object again, if there is one */
void power_watch_refresh(struct power_watch *w);

/** power_watch_is_from() - does the owner say this? For signals that a source matches by itself. */
bool power_watch_is_from(const struct power_watch *w, sd_bus_message *m);

void power_watch_stop(struct power_watch *w);
