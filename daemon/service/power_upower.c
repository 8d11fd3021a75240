/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UPower: the line and the battery that it makes out of all batteries (DisplayDevice). Most of
 * what it says of a battery holds only when there is one: without, everything is unknown, not 0
 * %.
 */
#include "service/power_source.h"

#include <errno.h>

#include "service/power_watch.h"

#define UPOWER "org.freedesktop.UPower"
#define UPOWER_PATH "/org/freedesktop/UPower"

/* org.freedesktop.UPower.Device: Type, State */
#define TYPE_UPS 3
#define TYPE_BATTERY 2
#define STATE_DISCHARGING 2

static const char *const states[] = {
	"unknown",
	"charging",
	"discharging",
	"empty",
	"full",
	"pending-charge",
	"pending-discharge",
};

static const char *const warnings[] = {
	"unknown", "none", "discharging", "low", "critical", "action"};

struct line {
	double on_battery;
};

struct battery {
	double type, state, percent, present, warning, watts, seconds;
};

struct upower {
	struct power *power;
	struct power_watch line_watch, battery_watch;
	struct line line;
	struct battery battery;
};

static const struct power_property line_properties[] = {
	{"OnBattery", 'b', offsetof(struct line, on_battery)},
};

static const struct power_property battery_properties[] = {
	{"Type", 'u', offsetof(struct battery, type)},
	{"State", 'u', offsetof(struct battery, state)},
	{"Percentage", 'd', offsetof(struct battery, percent)},
	{"IsPresent", 'b', offsetof(struct battery, present)},
	{"WarningLevel", 'u', offsetof(struct battery, warning)},
	{"EnergyRate", 'd', offsetof(struct battery, watts)},
	{"TimeToEmpty", 'x', offsetof(struct battery, seconds)},
};

static void on_line(void *userdata)
{
	struct upower *u = userdata;

	power_set(u->power, POWER_ON_BATTERY, u->line.on_battery,
		u->line.on_battery > 0 ? "yes" : "no");
}

static void no_battery(struct power *p)
{
	power_unset(p, POWER_BATTERY_STATE);
	power_unset(p, POWER_BATTERY_PERCENT);
	power_unset(p, POWER_BATTERY_WARNING);
	power_unset(p, POWER_BATTERY_WATTS);
	power_unset(p, POWER_BATTERY_SECONDS);
}

/* 0 is UPower's "unknown" in both lists; so is what later versions may add. */
static void set_word(
	struct power *p, enum power_input input, double value, const char *const *words, size_t n)
{
	if (value >= 1 && value < (double) n)
		power_set(p, input, value, words[(size_t) value]);
	else
		power_unset(p, input);
}

static void on_battery(void *userdata)
{
	struct upower *u = userdata;
	const struct battery *b = &u->battery;
	struct power *p = u->power;

	if (b->present <= 0 || (b->type != TYPE_BATTERY && b->type != TYPE_UPS)) {
		no_battery(p);
		return;
	}
	set_word(p, POWER_BATTERY_STATE, b->state, states, ARRAY_SIZE(states));
	set_word(p, POWER_BATTERY_WARNING, b->warning, warnings, ARRAY_SIZE(warnings));
	if (b->percent >= 0 && b->percent <= 100)
		power_set(p, POWER_BATTERY_PERCENT, b->percent, NULL);
	else
		power_unset(p, POWER_BATTERY_PERCENT);
	/* Drivers that do not measure leave 0; some report the sign of the current. */
	if (b->watts != 0)
		power_set(p, POWER_BATTERY_WATTS, b->watts < 0 ? -b->watts : b->watts, NULL);
	else
		power_unset(p, POWER_BATTERY_WATTS);
	if (b->state == STATE_DISCHARGING && b->seconds > 0)
		power_set(p, POWER_BATTERY_SECONDS, b->seconds, NULL);
	else
		power_unset(p, POWER_BATTERY_SECONDS);
}

static void on_gone(void *userdata)
{
	struct upower *u = userdata;

	power_lost(u->power, POWER_UPOWER);
}

static void fill_watch(struct upower *u, struct power_watch *w)
{
	w->bus = power_options(u->power)->bus;
	w->name = UPOWER;
	w->userdata = u;
	w->gone = on_gone;
}

static void upower_close(void *state)
{
	struct upower *u = state;

	power_watch_stop(&u->line_watch);
	power_watch_stop(&u->battery_watch);
	free(u);
}

static int upower_open(struct power *p, void **ret)
{
	struct upower *u;
	int r;

	if (!power_options(p)->bus)
		return -ENOTCONN;
	u = calloc(1, sizeof *u);
	if (!u)
		return -ENOMEM;
	u->power = p;
	u->line_watch = (struct power_watch){.path = UPOWER_PATH,
		.interface = UPOWER,
		.activate = true,
		.properties = line_properties,
		.n_properties = ARRAY_SIZE(line_properties),
		.target = &u->line,
		.read = on_line};
	u->battery_watch = (struct power_watch){.path = UPOWER_PATH "/devices/DisplayDevice",
		.interface = UPOWER ".Device",
		.properties = battery_properties,
		.n_properties = ARRAY_SIZE(battery_properties),
		.target = &u->battery,
		.read = on_battery};
	fill_watch(u, &u->line_watch);
	fill_watch(u, &u->battery_watch);
	r = power_watch_start(&u->line_watch);
	if (r >= 0)
		r = power_watch_start(&u->battery_watch);
	if (r < 0) {
		upower_close(u);
		return r;
	}
	*ret = u;
	return 0;
}

static void upower_refresh(void *state)
{
	struct upower *u = state;

	power_watch_refresh(&u->line_watch);
	power_watch_refresh(&u->battery_watch);
}

const struct power_driver power_upower_driver = {
	.open = upower_open,
	.refresh = upower_refresh,
	.close = upower_close,
	.on_bus = true,
};
