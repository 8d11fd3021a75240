/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the board feels: the inputs of the power policy, each from a source that may appear, fall
 * silent and vanish at any moment. A value nobody vouches for is unknown, never 0. Nothing here
 * waits: every source is asked and heard on the loop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct power;

enum power_source {
	POWER_UPOWER,
	POWER_PROFILES,
	POWER_LOGIND,
	POWER_LOW_MEMORY_MONITOR,
	POWER_PSI_MEMORY,
	POWER_PSI_CPU,
	POWER_THERMAL,
	POWER_HWMON,
	POWER_TELEMETRY,
	_POWER_SOURCE_MAX,
};

/* Truth is 0 or 1. What has a text in brackets says it in power_value.text. */
enum power_input {
	POWER_ON_BATTERY,      /* truth */
	POWER_BATTERY_STATE,   /* as UPower numbers them ["charging", "discharging", ...] */
	POWER_BATTERY_PERCENT, /* 0 .. 100 */
	POWER_BATTERY_WARNING, /* as UPower numbers them ["none", "low", "critical", ...] */
	POWER_BATTERY_WATTS,   /* flowing in or out of the battery, see its state */
	POWER_BATTERY_SECONDS, /* until empty; known only while discharging */
	POWER_SYSTEM_PROFILE,  /* always 0; the text counts ["power-saver", ...], an open set */
	POWER_DEGRADED,	       /* truth [why performance is degraded], an open set */
	POWER_SLEEPING,	       /* truth: the machine is about to sleep */
	POWER_LOW_MEMORY,      /* 0, or the last warning: 50 low, 100 lower, 255 about to kill */
	POWER_MEMORY_PRESSURE, /* percent of time lost to memory; 0: less than is worth a report */
	POWER_CPU_PRESSURE,    /* percent of time lost to the processor, likewise */
	POWER_TEMPERATURE,     /* C, of the hottest zone [its type] */
	POWER_TREND,	       /* C per minute, of the hottest zone */
	POWER_MARGIN,	       /* C to the nearest trip point of any zone [its type] */
	POWER_UNDER_VOLTAGE,   /* truth */
	POWER_WATTS,	       /* of the meter that reads most [its name] */
	_POWER_INPUT_MAX,
};

/**
 * struct power_value - one input
 * @known: false: nobody says; @value is 0 and @text empty then
 * @since_nsec: CLOCK_MONOTONIC, when @value, @text or @known became what they are
 */
struct power_value {
	bool known;
	double value;
	char text[32];
	uint64_t since_nsec;
};

/** struct power_zone - @margin: C to its nearest trip point; NAN when it has none */
struct power_zone {
	char type[32];
	double celsius, trend, margin;
};

#define POWER_ZONES_MAX 32
#define POWER_KEYS_MAX 32
#define POWER_KEY_SEC_MAX 86400

/**
 * struct power_report - a number that somebody has reported, see power_report()
 * @key: letters, digits, "-", "_", "."
 * @since_nsec: CLOCK_MONOTONIC, when @value became what it is; @until_nsec: CLOCK_BOOTTIME, known no
 *	longer then: a reporter that slept has not lived
 */
struct power_report {
	char key[32];
	double value;
	uint64_t since_nsec, until_nsec;
};

/** struct power_inputs - @resumed_nsec: when the machine last woke up, CLOCK_BOOTTIME; 0: never */
struct power_inputs {
	struct power_value values[_POWER_INPUT_MAX];
	struct power_zone zones[POWER_ZONES_MAX];
	uint32_t n_zones;
	struct power_report reports[POWER_KEYS_MAX];
	uint32_t n_reports;
	uint64_t resumed_nsec;
};

/**
 * struct power_options - strings and @bus outlive the object
 * @bus: where the sources are, attached to the loop; NULL: there is no bus
 * @sysfs, @proc: NULL for /sys and /proc
 * @memory_watch, @memory_write: systemd's $MEMORY_PRESSURE_WATCH, _WRITE; NULL: the file in @proc
 * @silence_nsec: how long the last word of a dead source counts; 0: as in power_sources
 * @poll_nsec: between two looks at thermal zones and meters; 0: 2 s
 * @asked_later: what has to be asked is not listened to before the first power_want(): a pressure trigger
 *	costs the kernel ten milliseconds to let go
 * @changed: something is different; floods are gathered, so at most one call per 50 ms
 * @drained: may the machine sleep now? Asked until yes, or logind's patience is nearly over; may be
 *	NULL
 */
struct power_options {
	sd_event *event;
	sd_bus *bus;
	const char *sysfs, *proc, *memory_watch, *memory_write;
	uint64_t silence_nsec, poll_nsec;
	bool asked_later;
	void (*changed)(struct power *power, const char *reason, void *userdata);
	bool (*drained)(void *userdata);
	void *userdata;
};

/** struct power_source_info - @silence_nsec: a source dead for so long knows nothing any more */
struct power_source_info {
	const char *name;
	uint64_t silence_nsec;
};

extern const struct power_source_info power_sources[_POWER_SOURCE_MAX];

/** struct power_input_info - @step: smaller changes are not worth a report, they add up */
struct power_input_info {
	const char *name, *unit;
	enum power_source source;
	double step;
};

extern const struct power_input_info power_inputs_info[_POWER_INPUT_MAX];

/**
 * power_new() - start to listen; what is not there yet is found when it comes
 *
 * Return: 0 or negative errno. Thread: loop, as everything here.
 */
int power_new(struct power **ret, const struct power_options *options);
struct power *power_free(struct power *p);
DEFINE_CLEANUP(struct power *, power_free)

/** power_inputs() - as of now; belongs to @p and changes with the loop */
const struct power_inputs *power_inputs(const struct power *p);

/**
 * power_report() - somebody says a number for a board that nobody else reads
 * @valid_sec: it counts for so long, up to POWER_KEY_SEC_MAX; 0: it is taken back
 *
 * Return: 0; -EINVAL for what is no key, no finite number or too long; -EDQUOT when there are too many.
 */
int power_report(struct power *p, const char *key, double value, uint32_t valid_sec);

/**
 * power_want() - somebody wants to know what is not told without being asked
 * @sources: 1 << enum power_source; looked at now and every poll_nsec. Until the first call: all, or
 *	none with asked_later
 *
 * 0: nothing is decided by anything now: no timer of this object wakes the processor.
 */
void power_want(struct power *p, uint32_t sources);

/** power_look() - look at all sources that have to be looked at, once, for somebody who reads them */
void power_look(struct power *p);

/**
 * power_set_bus() - the bus has gone, or there is a new one. @bus: NULL: there is none; as in the options
 *
 * What sources on it have said counts until their time is over. The old one is not used any more.
 */
void power_set_bus(struct power *p, sd_bus *bus);

/** power_describe() - "battery-percent 41 %", "on battery unknown". Return: @text */
const char *power_describe(
	const struct power_inputs *in, enum power_input input, char *text, size_t size);
