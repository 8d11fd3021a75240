/* SPDX-License-Identifier: Apache-2.0 */
/* The part of org.bitshed.Manager1 that has to do with power; bus_manager.c has the table. */
#pragma once

#include <systemd/sd-bus.h>

int bus_power_hold_precision(sd_bus_message *m, void *userdata, sd_bus_error *ret);
int bus_power_report_telemetry(sd_bus_message *m, void *userdata, sd_bus_error *ret);

int bus_power_get_profile(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret);
int bus_power_set_profile(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *value, void *userdata, sd_bus_error *ret);
int bus_power_get_inputs(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret);
int bus_power_get_holds(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *userdata, sd_bus_error *ret);
int bus_power_get_policy_inputs(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *ret);
