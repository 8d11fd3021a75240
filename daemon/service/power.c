/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources call power_set() as often as they like. The first difference arms one timer; when it
 * fires, all that has changed until then is told at once. A source that dies keeps its word for a
 * while, because most die of an update and are back in a second.
 */
#include "service/power_source.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service/power_clock.h"

#define POLL_NSEC (2 * NSEC_PER_SEC)
#define REFRESH_NSEC (60 * NSEC_PER_SEC)
#define COALESCE_NSEC (50 * NSEC_PER_MSEC)

/* Nobody minds when exactly, so other timers of the machine may be waited for. */
#define REFRESH_SLACK_NSEC (20 * NSEC_PER_SEC)

/* clang-format off */
const struct power_source_info power_sources[_POWER_SOURCE_MAX] = {
	[POWER_UPOWER]             = {"upower",             30 * NSEC_PER_SEC},
	[POWER_PROFILES]           = {"power-profiles",     30 * NSEC_PER_SEC},
	[POWER_LOGIND]             = {"logind",             10 * NSEC_PER_SEC},
	[POWER_LOW_MEMORY_MONITOR] = {"low-memory-monitor", 10 * NSEC_PER_SEC},
	[POWER_PSI_MEMORY]         = {"memory-pressure",    10 * NSEC_PER_SEC},
	[POWER_PSI_CPU]            = {"cpu-pressure",       10 * NSEC_PER_SEC},
	[POWER_THERMAL]            = {"thermal",            15 * NSEC_PER_SEC},
	[POWER_HWMON]              = {"hwmon",              15 * NSEC_PER_SEC},
	[POWER_TELEMETRY]          = {"telemetry",          0},
};

const struct power_input_info power_inputs_info[_POWER_INPUT_MAX] = {
	[POWER_ON_BATTERY]      = {"on-battery",           "",      POWER_UPOWER,             0},
	[POWER_BATTERY_STATE]   = {"battery-state",        "",      POWER_UPOWER,             0},
	[POWER_BATTERY_PERCENT] = {"battery-percent",      "%",     POWER_UPOWER,             0.5},
	[POWER_BATTERY_WARNING] = {"warning-level",        "",      POWER_UPOWER,             0},
	[POWER_BATTERY_WATTS]   = {"battery-power",        "W",     POWER_UPOWER,             0.1},
	[POWER_BATTERY_SECONDS] = {"time-to-empty",        "s",     POWER_UPOWER,             30},
	[POWER_SYSTEM_PROFILE]  = {"system-profile",       "",      POWER_PROFILES,           0},
	[POWER_DEGRADED]        = {"performance-degraded", "",      POWER_PROFILES,           0},
	[POWER_SLEEPING]        = {"sleeping",             "",      POWER_LOGIND,             0},
	[POWER_LOW_MEMORY]      = {"low-memory",           "",      POWER_LOW_MEMORY_MONITOR, 0},
	[POWER_MEMORY_PRESSURE] = {"memory-pressure",      "%",     POWER_PSI_MEMORY,         1},
	[POWER_CPU_PRESSURE]    = {"cpu-pressure",         "%",     POWER_PSI_CPU,            1},
	[POWER_TEMPERATURE]     = {"temperature",          "C",     POWER_THERMAL,            0.5},
	[POWER_TREND]           = {"temperature-trend",    "C/min", POWER_THERMAL,            1},
	[POWER_MARGIN]          = {"trip-distance",        "C",     POWER_THERMAL,            0.5},
	[POWER_UNDER_VOLTAGE]   = {"under-voltage",        "",      POWER_HWMON,              0},
	[POWER_WATTS]           = {"power",                "W",     POWER_HWMON,              0.1},
};
/* clang-format on */

static const struct power_driver *const drivers[_POWER_SOURCE_MAX] = {
	[POWER_UPOWER] = &power_upower_driver,
	[POWER_PROFILES] = &power_profiles_driver,
	[POWER_LOGIND] = &power_logind_driver,
	[POWER_LOW_MEMORY_MONITOR] = &power_lowmemory_driver,
	[POWER_PSI_MEMORY] = &power_psi_memory_driver,
	[POWER_PSI_CPU] = &power_psi_cpu_driver,
	[POWER_THERMAL] = &power_thermal_driver,
	[POWER_HWMON] = &power_hwmon_driver,
	[POWER_TELEMETRY] = &power_telemetry_driver,
};

/**
 * struct source - @silence: armed while the source is lost
 * @state: the driver's; NULL: not open
 */
struct source {
	struct power *power;
	enum power_source id;
	void *state;
	sd_event_source *silence;
	bool lost;
};

/**
 * struct power - @announced: what was told last; @wanted: 1 << enum power_source, of those that are looked at
 */
struct power {
	struct power_options options;
	struct power_inputs inputs;
	struct power_value announced[_POWER_INPUT_MAX];
	struct source sources[_POWER_SOURCE_MAX];
	sd_event_source *announce, *poll, *refresh;
	struct power_clock *clock;
	uint64_t announced_nsec;
	uint32_t wanted;
	bool scheduled, resumed, reported;
};

const struct power_options *power_options(const struct power *p)
{
	return &p->options;
}

const struct power_inputs *power_inputs(const struct power *p)
{
	return &p->inputs;
}

int power_timer(
	struct power *p, sd_event_source **ret, sd_event_time_handler_t handler, void *userdata)
{
	int r;

	r = sd_event_add_time(p->options.event, ret, CLOCK_MONOTONIC, 0,
		NSEC_PER_MSEC / NSEC_PER_USEC, handler, userdata);
	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

void power_arm(sd_event_source *timer, uint64_t nsec)
{
	(void) sd_event_source_set_time(timer, (clock_now_nsec() + nsec) / NSEC_PER_USEC);
	(void) sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

const char *power_describe(
	const struct power_inputs *in, enum power_input input, char *text, size_t size)
{
	const struct power_input_info *info = &power_inputs_info[input];
	const struct power_value *v = &in->values[input];

	if (!v->known)
		(void) snprintf(text, size, "%s unknown", info->name);
	else if (info->unit[0])
		(void) snprintf(text, size, "%s %.4g %s", info->name, v->value, info->unit);
	else if (v->text[0])
		(void) snprintf(text, size, "%s %s", info->name, v->text);
	else
		(void) snprintf(text, size, "%s %g", info->name, v->value);
	return text;
}

/* Away from what was announced, not from what was there a moment ago: so small steps add up. */
static bool worth_telling(const struct power_value *now, const struct power_value *told,
	const struct power_input_info *info)
{
	if (now->known != told->known)
		return true;
	if (info->step == 0 && strcmp(now->text, told->text) != 0)
		return true;
	return info->step > 0 ? fabs(now->value - told->value) >= info->step
			      : now->value != told->value;
}

static void schedule(struct power *p)
{
	uint64_t now = clock_now_nsec(), at = p->announced_nsec + COALESCE_NSEC;

	if (p->scheduled)
		return;
	p->scheduled = true;
	power_arm(p->announce, at > now ? at - now : 0);
}

/* Two changes in words, the others as a number: the policy looks at all inputs anyway. */
static uint32_t collect_changes(struct power *p, char *reason, size_t size)
{
	uint32_t n = 0;
	size_t used = 0;

	for (enum power_input i = 0; i < _POWER_INPUT_MAX; i++) {
		char text[96];

		if (!worth_telling(&p->inputs.values[i], &p->announced[i], &power_inputs_info[i]))
			continue;
		p->announced[i] = p->inputs.values[i];
		if (++n > 2)
			continue;
		used += (size_t) snprintf(reason + used, size - used, "%s%s", n > 1 ? ", " : "",
			power_describe(&p->inputs, i, text, sizeof text));
	}
	if (n > 2)
		(void) snprintf(reason + used, size - used, " and %u more", n - 2);
	return n;
}

static int on_announce(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct power *p = userdata;
	char reason[256] = "";

	p->scheduled = false;
	(void) snprintf(reason, sizeof reason, "%s",
		p->resumed ? "the machine woke up" : "telemetry is reported, or the clock is set");
	if (collect_changes(p, reason, sizeof reason) == 0 && !p->resumed && !p->reported)
		return 0;
	p->resumed = p->reported = false;
	p->announced_nsec = clock_now_nsec();
	p->options.changed(p, reason, p->options.userdata);
	return 0;
}

static void store(struct power *p, enum power_input input, const struct power_value *v)
{
	struct power_value *now = &p->inputs.values[input];

	if (now->known == v->known && now->value == v->value && strcmp(now->text, v->text) == 0)
		return;
	*now = *v;
	now->since_nsec = clock_now_nsec();
	if (worth_telling(now, &p->announced[input], &power_inputs_info[input]))
		schedule(p);
}

void power_set(struct power *p, enum power_input input, double value, const char *text)
{
	struct power_value v = {.known = isfinite(value), .value = value};

	power_heard(p, power_inputs_info[input].source);
	if (!v.known)
		v.value = 0;
	else if (text)
		(void) snprintf(v.text, sizeof v.text, "%.31s", text);
	store(p, input, &v);
}

void power_unset(struct power *p, enum power_input input)
{
	power_set(p, input, NAN, NULL);
}

void power_set_zones(struct power *p, const struct power_zone *zones, uint32_t n)
{
	p->inputs.n_zones = MIN_OF(n, POWER_ZONES_MAX);
	memcpy(p->inputs.zones, zones, p->inputs.n_zones * sizeof *zones);
}

void power_set_reports(struct power *p, const struct power_report *reports, uint32_t n)
{
	p->inputs.n_reports = MIN_OF(n, POWER_KEYS_MAX);
	memcpy(p->inputs.reports, reports, p->inputs.n_reports * sizeof *reports);
	p->reported = true;
	schedule(p);
}

int power_report(struct power *p, const char *key, double value, uint32_t valid_sec)
{
	void *state = p->sources[POWER_TELEMETRY].state;

	return state ? power_telemetry_report(state, key, value, valid_sec) : -ENOMEM;
}

static void forget(struct power *p, enum power_source source)
{
	static const struct power_value unknown;

	for (enum power_input i = 0; i < _POWER_INPUT_MAX; i++)
		if (power_inputs_info[i].source == source)
			store(p, i, &unknown);
	if (source == POWER_THERMAL)
		p->inputs.n_zones = 0;
}

static int on_silence(sd_event_source *e, uint64_t usec, void *userdata)
{
	struct source *s = userdata;

	log_debug("power: %s is silent", power_sources[s->id].name);
	forget(s->power, s->id);
	return 0;
}

void power_heard(struct power *p, enum power_source source)
{
	struct source *s = &p->sources[source];

	if (!s->lost)
		return;
	s->lost = false;
	(void) sd_event_source_set_enabled(s->silence, SD_EVENT_OFF);
}

void power_lost(struct power *p, enum power_source source)
{
	struct source *s = &p->sources[source];

	if (s->lost)
		return;
	s->lost = true;
	power_arm(s->silence, p->options.silence_nsec ? p->options.silence_nsec
						      : power_sources[source].silence_nsec);
}

static void refresh_all(struct power *p)
{
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++)
		if (p->sources[i].state && drivers[i]->refresh)
			drivers[i]->refresh(p->sources[i].state);
}

void power_resumed(struct power *p)
{
	p->inputs.resumed_nsec = clock_boot_nsec();
	p->resumed = true;
	schedule(p);
	refresh_all(p);
}

/* A driver that did not find its source tries again: sensors and buses come late. */
static void reopen(struct power *p)
{
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++)
		if (!p->sources[i].state && (!drivers[i]->on_demand || (p->wanted >> i & 1))
			&& drivers[i]->open(p, &p->sources[i].state) < 0)
			p->sources[i].state = NULL;
}

static void shut(struct power *p, enum power_source i)
{
	drivers[i]->close(p->sources[i].state);
	p->sources[i].state = NULL;
	power_lost(p, i);
}

static void shut_unwanted(struct power *p)
{
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++) {
		if ((!drivers[i]->on_demand && !drivers[i]->poll) || (p->wanted >> i & 1))
			continue;
		if (drivers[i]->on_demand && p->sources[i].state)
			shut(p, i);
		power_heard(p, i); /* by us: no timer has to say that it is silent */
		forget(p, i);
	}
}

static int on_refresh(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct power *p = userdata;

	refresh_all(p);
	reopen(p);
	power_arm(p->refresh, REFRESH_NSEC);
	return 0;
}

/* A sleep that the kernel began by itself, or one that logind has told of already. */
static void on_jump(uint64_t slept_nsec, void *userdata)
{
	struct power *p = userdata;

	if (slept_nsec > 0)
		log_info("power: the machine was asleep for %.0f s",
			(double) slept_nsec / (double) NSEC_PER_SEC);
	if (slept_nsec > 0)
		power_resumed(p);
	else
		p->reported = true; /* rules may ask for the time of day */
	schedule(p);
}

static void look(struct power *p, uint32_t sources)
{
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++)
		if (p->sources[i].state && drivers[i]->poll && (sources >> i & 1))
			drivers[i]->poll(p->sources[i].state);
}

void power_look(struct power *p)
{
	look(p, UINT32_MAX);
}

/* Sources that are looked at and that exist: without any there is nothing to wake up for. */
static bool is_polled(const struct power *p)
{
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++)
		if (drivers[i]->poll && (p->wanted >> i & 1))
			return true;
	return false;
}

static int on_poll(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct power *p = userdata;

	look(p, p->wanted);
	power_arm(p->poll, p->options.poll_nsec);
	return 0;
}

void power_want(struct power *p, uint32_t sources)
{
	uint32_t more = sources & ~p->wanted;
	bool was_asleep = p->wanted == 0;

	if (sources == p->wanted)
		return;
	p->wanted = sources;
	if (was_asleep) {
		refresh_all(p);
		power_arm(p->refresh, REFRESH_NSEC);
	} else if (sources == 0) {
		(void) sd_event_source_set_enabled(p->refresh, SD_EVENT_OFF);
	}
	shut_unwanted(p);
	reopen(p);
	look(p, more);
	if (is_polled(p))
		power_arm(p->poll, p->options.poll_nsec);
	else
		(void) sd_event_source_set_enabled(p->poll, SD_EVENT_OFF);
}

void power_set_bus(struct power *p, sd_bus *bus)
{
	p->options.bus = bus;
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++)
		if (drivers[i]->on_bus && p->sources[i].state)
			shut(p, i);
	if (bus)
		reopen(p);
}

static int make_timers(struct power *p)
{
	int r;

	r = power_timer(p, &p->announce, on_announce, p);
	if (r >= 0)
		r = power_timer(p, &p->poll, on_poll, p);
	if (r >= 0)
		r = power_timer(p, &p->refresh, on_refresh, p);
	if (r >= 0)
		r = sd_event_source_set_time_accuracy(p->poll, p->options.poll_nsec / 4 / NSEC_PER_USEC);
	if (r >= 0)
		r = sd_event_source_set_time_accuracy(p->refresh, REFRESH_SLACK_NSEC / NSEC_PER_USEC);
	if (r >= 0)
		r = power_clock_new(&p->clock, p->options.event, on_jump, p);
	for (enum power_source i = 0; r >= 0 && i < _POWER_SOURCE_MAX; i++) {
		p->sources[i] = (struct source){.power = p, .id = i};
		r = power_timer(p, &p->sources[i].silence, on_silence, &p->sources[i]);
	}
	return r;
}

int power_new(struct power **ret, const struct power_options *options)
{
	_cleanup_(power_freep) struct power *p = calloc(1, sizeof *p);
	int r;

	if (!p)
		return -ENOMEM;
	p->options = *options;
	if (!p->options.sysfs)
		p->options.sysfs = "/sys";
	if (!p->options.proc)
		p->options.proc = "/proc";
	if (p->options.poll_nsec == 0)
		p->options.poll_nsec = POLL_NSEC;
	p->wanted = p->options.asked_later ? 0 : UINT32_MAX;
	r = make_timers(p);
	if (r < 0)
		return r;
	reopen(p);
	if (p->wanted != 0) {
		power_arm(p->poll, 0);
		power_arm(p->refresh, REFRESH_NSEC);
	}
	*ret = take_ptr(p);
	return 0;
}

struct power *power_free(struct power *p)
{
	if (!p)
		return NULL;
	for (enum power_source i = 0; i < _POWER_SOURCE_MAX; i++) {
		if (p->sources[i].state)
			drivers[i]->close(p->sources[i].state);
		(void) sd_event_source_disable_unref(p->sources[i].silence);
	}
	(void) sd_event_source_disable_unref(p->announce);
	(void) sd_event_source_disable_unref(p->poll);
	(void) sd_event_source_disable_unref(p->refresh);
	(void) power_clock_free(p->clock);
	free(p);
	return NULL;
}
