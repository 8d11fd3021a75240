/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the board feels, in the words of the policy:
 *
 *	power.c: changed() --> m->inputs --> entry_update() of all models --> policy_resolve()
 *	                                          ^                               |
 *	                                          +-- m->wake <-- decide again ---+
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/catalog.h"
#include "service/manager.h"
#include "service/memory.h"

#define MINUTE_NSEC (60 * NSEC_PER_SEC)

/* The first try, then twice as long each time. */
#define RECONNECT_NSEC NSEC_PER_SEC
#define RECONNECT_NSEC_MAX (64 * NSEC_PER_SEC)

/*
 * A warning of low-memory-monitor has no number of its own: each is beyond what rules call pressure,
 * a worse one further.
 */
static double warning_percent(double level)
{
	return level >= 255 ? 100 : level >= 100 ? 75 : level > 0 ? 50 : 0;
}

static struct reading plain(const struct power_value *v)
{
	return (struct reading){.value = v->value, .known = v->known};
}

/* A word that rules do not have stands for nothing they can ask for. */
static struct reading choice(const struct power_value *v, enum sense sense)
{
	const char *const *words = rule_senses[sense].words;

	for (int i = 0; v->known && words[i]; i++)
		if (strcmp(words[i], v->text) == 0)
			return (struct reading){.value = i, .known = true};
	return (struct reading){};
}

static struct reading memory_pressure(const struct power_inputs *in)
{
	const struct power_value *psi = &in->values[POWER_MEMORY_PRESSURE];
	const struct power_value *warning = &in->values[POWER_LOW_MEMORY];

	return (struct reading){
		.value = fmax(psi->value, warning_percent(warning->value)),
		.known = psi->known || warning->known,
	};
}

/* Of the battery only while it empties: what charges it is not drawn by us. A meter knows better. */
static struct reading power_draw(const struct power_inputs *in)
{
	const struct power_value *battery = &in->values[POWER_BATTERY_WATTS];
	const struct power_value *state = &in->values[POWER_BATTERY_STATE];

	if (in->values[POWER_WATTS].known)
		return plain(&in->values[POWER_WATTS]);
	if (strcmp(state->text, "discharging") != 0)
		return (struct reading){};
	return plain(battery);
}

static void take_zones(struct policy_inputs *to, const struct power_inputs *in)
{
	to->n_zones = MIN_OF(in->n_zones, POLICY_ZONES_MAX);
	for (uint32_t i = 0; i < to->n_zones; i++) {
		const struct power_zone *z = &in->zones[i];

		to->zones[i] = (struct policy_zone){
			.temperature = {z->celsius, true},
			.trend = {z->trend, true},
			.trip_distance = {isnan(z->margin) ? 0 : z->margin, !isnan(z->margin)},
		};
		memcpy(to->zones[i].type, z->type, sizeof z->type);
	}
}

/*
 * A report under the name of an input says it where no other source does: a script that reads a UPS is
 * enough for rules that ask for the battery.
 */
static void take_report(struct policy_inputs *to, const struct power_report *report)
{
	struct policy_telemetry *t = &to->telemetry[to->n_telemetry++];

	memcpy(t->key, report->key, sizeof t->key);
	t->value = (struct reading){.value = report->value, .known = true};
	for (int i = 0; i < _SENSE_PLAIN_MAX; i++) {
		enum sense_kind kind = rule_senses[i].kind;

		if ((kind == SENSE_KIND_FLAG || kind == SENSE_KIND_NUMBER) && !to->plain[i].known
			&& strcmp(rule_senses[i].name, report->key) == 0)
			to->plain[i] = t->value;
	}
}

static struct reading time_of_day(void)
{
	time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm))
		return (struct reading){};
	return (struct reading){.value = tm.tm_hour * 60 + tm.tm_min, .known = true};
}

static void take_inputs(struct policy_inputs *to, const struct power_inputs *in)
{
	const struct power_value *v = in->values;

	*to = (struct policy_inputs){.resumed_nsec = in->resumed_nsec};
	to->plain[SENSE_ON_BATTERY] = plain(&v[POWER_ON_BATTERY]);
	to->plain[SENSE_BATTERY_PERCENT] = plain(&v[POWER_BATTERY_PERCENT]);
	to->plain[SENSE_BATTERY_STATE] = choice(&v[POWER_BATTERY_STATE], SENSE_BATTERY_STATE);
	to->plain[SENSE_WARNING_LEVEL] = choice(&v[POWER_BATTERY_WARNING], SENSE_WARNING_LEVEL);
	to->plain[SENSE_TIME_TO_EMPTY] = plain(&v[POWER_BATTERY_SECONDS]);
	to->plain[SENSE_POWER_DRAW] = power_draw(in);
	to->plain[SENSE_SYSTEM_PROFILE] = choice(&v[POWER_SYSTEM_PROFILE], SENSE_SYSTEM_PROFILE);
	to->plain[SENSE_PERFORMANCE_DEGRADED] = plain(&v[POWER_DEGRADED]);
	to->plain[SENSE_MEMORY_PRESSURE] = memory_pressure(in);
	to->plain[SENSE_CPU_PRESSURE] = plain(&v[POWER_CPU_PRESSURE]);
	to->plain[SENSE_UNDER_VOLTAGE] = plain(&v[POWER_UNDER_VOLTAGE]);
	to->plain[SENSE_TIME_OF_DAY] = time_of_day();
	memcpy(to->degraded, v[POWER_DEGRADED].text, sizeof to->degraded);
	take_zones(to, in);
	for (uint32_t i = 0; i < MIN_OF(in->n_reports, POLICY_TELEMETRY_MAX); i++)
		take_report(to, &in->reports[i]);
}

static bool rules_ask_for(const struct rules *rules, enum sense sense)
{
	for (uint32_t i = 0; rules && i < rules->n_conds; i++)
		if (rules->conds[i].kind == COND_SENSE && rules->conds[i].sense == sense)
			return true;
	return false;
}

/* Rules need not ask for the meter, so that it may not have been looked at. */
struct reading manager_watts(struct manager *m)
{
	if (!m->power)
		return (struct reading){};
	power_look(m->power);
	return power_draw(power_inputs(m->power));
}

struct policy_inputs manager_inputs_now(const struct manager *m)
{
	struct policy_inputs inputs = m->inputs;

	inputs.now_nsec = clock_boot_nsec();
	inputs.plain[SENSE_PROFILE] = (struct reading){m->profile, true};
	return inputs;
}

/* Of the sources that cost something to hear, those that a rule asks for. */
static uint32_t wanted_sources(const struct rules *rules)
{
	static const struct {
		enum sense sense;
		enum power_source source;
	} dear[] = {
		{SENSE_TEMPERATURE, POWER_THERMAL},
		{SENSE_TEMPERATURE_TREND, POWER_THERMAL},
		{SENSE_TRIP_DISTANCE, POWER_THERMAL},
		{SENSE_UNDER_VOLTAGE, POWER_HWMON},
		{SENSE_POWER_DRAW, POWER_HWMON},
		{SENSE_MEMORY_PRESSURE, POWER_PSI_MEMORY},
		{SENSE_CPU_PRESSURE, POWER_PSI_CPU},
	};
	uint32_t sources = UINT32_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(dear); i++)
		sources &= ~(1u << dear[i].source);
	for (size_t i = 0; i < ARRAY_SIZE(dear); i++)
		if (rules_ask_for(rules, dear[i].sense))
			sources |= 1u << dear[i].source;
	return sources;
}

/* Is anything in memory that the policy could shed? */
static bool has_work(const struct manager *m)
{
	list_for_each (l, &m->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		if (e->plan || e->job_running)
			return true;
	}
	return false;
}

void manager_power_follow(struct manager *m)
{
	bool work = has_work(m);

	if (!m->power)
		return;
	power_want(m->power, work ? wanted_sources(m->rules) : 0);
	if (!work) {
		m->wake_nsec = 0;
		(void) sd_event_source_set_enabled(m->wake, SD_EVENT_OFF);
		return;
	}
	take_inputs(&m->inputs, power_inputs(m->power));
	if (rules_ask_for(m->rules, SENSE_TIME_OF_DAY))
		manager_wake_at(m, clock_boot_nsec() + MINUTE_NSEC);
}

static void policy_update(struct manager *m, const char *reason)
{
	log_debug("policy: %s", reason);
	take_inputs(&m->inputs, power_inputs(m->power));
	memory_settle(m);
	list_for_each_safe(l, n, &m->entries) entry_update(list_entry(l, struct entry, link));
	if (rules_ask_for(m->rules, SENSE_TIME_OF_DAY) && has_work(m))
		manager_wake_at(m, clock_boot_nsec() + MINUTE_NSEC);
}

void manager_wake_at(struct manager *m, uint64_t boot_nsec)
{
	if (boot_nsec == 0 || (m->wake_nsec && m->wake_nsec <= boot_nsec))
		return;
	m->wake_nsec = boot_nsec;
	/* A microsecond late, never early: then nothing would have ended yet. */
	(void) sd_event_source_set_time(m->wake, boot_nsec / NSEC_PER_USEC + 1);
	(void) sd_event_source_set_enabled(m->wake, SD_EVENT_ONESHOT);
}

static int on_wake(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;

	m->wake_nsec = 0;
	policy_update(m, "a while has passed");
	return 0;
}

static void on_power(struct power *p, const char *reason, void *userdata)
{
	policy_update(userdata, reason);
}

bool manager_is_asleep(const struct manager *m)
{
	return m->power && power_inputs(m->power)->values[POWER_SLEEPING].value > 0;
}

/*
 * The loop's own requests are done before it gets to ask. What comes now waits for the morning, so the
 * planes may go: an image of the memory on disk is smaller, and nobody needs them in between.
 */
static bool on_drained(void *userdata)
{
	struct manager *m = userdata;

	if (!queue_is_idle(m->queue))
		return false;
	list_for_each_safe (l, n, &m->entries)
		serving_park(list_entry(l, struct entry, link), "the machine goes to sleep");
	return true;
}

static void watch_power_bus(struct manager *m);

static int on_reconnect(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int r = manager_open_bus(m, m->power_bus_name, &m->power_bus);

	if (r < 0) {
		log_debug("power bus \"%s\": %s", m->power_bus_name, strerror(-r));
		m->reconnect_nsec = MIN_OF(2 * m->reconnect_nsec, RECONNECT_NSEC_MAX);
		(void) sd_event_source_set_time(
			s, (clock_now_nsec() + m->reconnect_nsec) / NSEC_PER_USEC);
		(void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
		return 0;
	}
	log_info("power bus \"%s\": connected again", m->power_bus_name);
	watch_power_bus(m);
	power_set_bus(m->power, m->power_bus);
	return 0;
}

static void reconnect(struct manager *m)
{
	m->reconnect_nsec = RECONNECT_NSEC;
	(void) sd_event_source_set_time(
		m->reconnect, (clock_now_nsec() + m->reconnect_nsec) / NSEC_PER_USEC);
	(void) sd_event_source_set_enabled(m->reconnect, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *signal, void *userdata, sd_bus_error *e)
{
	struct manager *m = userdata;

	log_warning("power bus \"%s\": lost, what it has said counts for a while", m->power_bus_name);
	power_set_bus(m->power, NULL);
	m->power_bus_lost = sd_bus_slot_unref(m->power_bus_lost);
	m->power_bus = sd_bus_flush_close_unref(m->power_bus);
	reconnect(m);
	return 0;
}

static void watch_power_bus(struct manager *m)
{
	(void) sd_bus_match_signal(m->power_bus, &m->power_bus_lost, "org.freedesktop.DBus.Local",
		"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
		on_disconnected, m);
}

/* A bus of its own may come late, go and come back; ours is the same as life. */
static int open_power_bus(struct manager *m)
{
	int r;

	if (!m->power_bus_name) {
		m->power_bus = sd_bus_ref(m->bus);
		return 0;
	}
	r = sd_event_add_time(m->event, &m->reconnect, CLOCK_MONOTONIC, 0,
		RECONNECT_NSEC / 4 / NSEC_PER_USEC, on_reconnect, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(m->reconnect, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = manager_open_bus(m, m->power_bus_name, &m->power_bus);
	if (r >= 0) {
		watch_power_bus(m);
		return 0;
	}
	log_warning("no power sources on the bus \"%s\" yet: %s", m->power_bus_name, strerror(-r));
	reconnect(m);
	return 0;
}

int manager_power_start(struct manager *m, const struct manager_options *options)
{
	struct power_options power = {
		.event = m->event,
		.sysfs = options->sysfs,
		.memory_watch = options->memory_watch,
		.memory_write = options->memory_write,
		.asked_later = true,
		.changed = on_power,
		.drained = on_drained,
		.userdata = m,
	};
	int r;

	m->power_bus_name = options->power_bus;
	r = open_power_bus(m);
	if (r < 0)
		return r;
	power.bus = m->power_bus;
	r = sd_event_add_time(m->event, &m->wake, CLOCK_BOOTTIME, 0, 1000, on_wake, m);
	if (r >= 0)
		r = sd_event_source_set_enabled(m->wake, SD_EVENT_OFF);
	if (r >= 0)
		r = power_new(&m->power, &power);
	if (r >= 0)
		manager_power_follow(m);
	return r;
}

void manager_power_stop(struct manager *m)
{
	m->power = power_free(m->power);
	m->wake = sd_event_source_disable_unref(m->wake);
	m->reconnect = sd_event_source_disable_unref(m->reconnect);
	m->power_bus_lost = sd_bus_slot_unref(m->power_bus_lost);
	if (m->power_bus != m->bus)
		(void) sd_bus_flush_close_unref(m->power_bus);
	else
		(void) sd_bus_unref(m->power_bus);
	m->power_bus = NULL;
}
