/* SPDX-License-Identifier: Apache-2.0 */
/* Between power.c and the files of its sources; nobody else includes this. */
#pragma once

#include "base/clock.h"
#include "service/power.h"

/**
 * struct power_driver - one source
 * @open: begin to listen, and return at once. Return: 0; anything else: there is no such source
 * here
 * @refresh: ask again; may be NULL
 * @poll: look again; called every poll_nsec while somebody wants to know; may be NULL
 * @on_bus: the source is on the bus, and gone with it
 * @on_demand: it wakes the processor again and again when it is listened to: open only while somebody
 *	wants to know
 * @close: stop listening, free @state; never NULL
 */
struct power_driver {
	int (*open)(struct power *p, void **ret_state);
	void (*refresh)(void *state);
	void (*poll)(void *state);
	void (*close)(void *state);
	bool on_bus, on_demand;
};

extern const struct power_driver power_upower_driver, power_profiles_driver, power_logind_driver,
	power_lowmemory_driver, power_psi_memory_driver, power_psi_cpu_driver, power_thermal_driver,
	power_hwmon_driver, power_telemetry_driver;

const struct power_options *power_options(const struct power *p);

/** power_set() - @input is @value, says its source, which therefore lives; not finite: unknown.
 * @text: may be NULL */
void power_set(struct power *p, enum power_input input, double value, const char *text);

/** power_unset() - its living source says that there is no such thing now */
void power_unset(struct power *p, enum power_input input);

/** power_set_zones() - all thermal zones at once */
void power_set_zones(struct power *p, const struct power_zone *zones, uint32_t n);

/** power_heard() - the source lives; power_set() implies it */
void power_heard(struct power *p, enum power_source source);

/** power_lost() - the source is gone or does not answer: its last word counts for a while, then is
 * unknown */
void power_lost(struct power *p, enum power_source source);

/** power_resumed() - the machine was asleep: note it and ask all sources again */
void power_resumed(struct power *p);

/** power_set_reports() - all that has been reported and still counts, at once */
void power_set_reports(struct power *p, const struct power_report *reports, uint32_t n);

/** power_telemetry_report() - power_report() of the source's @state */
int power_telemetry_report(void *state, const char *key, double value, uint32_t valid_sec);

/** power_timer() - a one-shot timer, not armed. Return: 0 or negative errno */
int power_timer(
	struct power *p, sd_event_source **ret, sd_event_time_handler_t handler, void *userdata);

/** power_arm() - fire in @nsec from now */
void power_arm(sd_event_source *timer, uint64_t nsec);
