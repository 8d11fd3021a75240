/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thermal zones, known by their type because their numbers differ from boot to boot. Looked at
 * every two seconds: zones that send events are rare on boards. A zone that cannot be read now (a
 * sensor of a device that sleeps) is left out of this look.
 */
#include "service/power_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>

#include "service/power_sysfs.h"

#define TRIPS_MAX 16
#define RESCAN_POLLS 30 /* zones of modules come late */
#define TREND_SEC 10	/* the trend looks back about so far */

/* Nothing that computes is colder or hotter: a sensor that says so is broken. */
#define CELSIUS_MIN -60
#define CELSIUS_MAX 250

/** struct zone - @name: of its folder; @trip: the lowest trip point, NAN: none; @read_nsec: of the
 * last good look, 0: none yet */
struct zone {
	int folder;
	char name[32];
	struct power_zone said;
	double trip;
	uint64_t read_nsec;
};

struct thermal {
	struct power *power;
	struct zone zones[POWER_ZONES_MAX];
	uint32_t n_zones, polls;
};

/* Fans start at an active trip point: nothing gets slower there. */
static double lowest_trip(int folder)
{
	double trip = NAN, milli;
	char name[64], type[32];

	for (int i = 0; i < TRIPS_MAX; i++) {
		(void) snprintf(name, sizeof name, "trip_point_%d_type", i);
		if (sysfs_word(folder, name, type, sizeof type) < 0)
			break;
		(void) snprintf(name, sizeof name, "trip_point_%d_temp", i);
		if (strcmp(type, "active") == 0 || sysfs_number(folder, name, &milli) < 0 ||
			milli <= 0)
			continue;
		trip = fmin(trip, milli / 1000);
	}
	return trip;
}

static void add_zone(struct thermal *t, int root, const char *name)
{
	_cleanup_close_ int folder = openat(root, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct zone *z = &t->zones[t->n_zones];

	*z = (struct zone){.folder = folder};
	if (folder < 0 || sysfs_word(folder, "type", z->said.type, sizeof z->said.type) < 0)
		return;
	(void) snprintf(z->name, sizeof z->name, "%.31s", name);
	z->trip = lowest_trip(folder);
	z->folder = take_fd(&folder);
	t->n_zones++;
}

static void forget_zones(struct thermal *t)
{
	for (uint32_t i = 0; i < t->n_zones; i++)
		close_fdp(&t->zones[i].folder);
	t->n_zones = 0;
}

static void keep_history(struct zone *z, const struct zone *before, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(before[i].name, z->name) != 0 ||
			strcmp(before[i].said.type, z->said.type) != 0)
			continue;
		z->said = before[i].said;
		z->read_nsec = before[i].read_nsec;
		return;
	}
}

static void scan(struct thermal *t)
{
	struct zone before[POWER_ZONES_MAX];
	uint32_t n = t->n_zones;
	struct dirent *e;
	char path[256];
	DIR *dir;

	memcpy(before, t->zones, n * sizeof before[0]);
	forget_zones(t);
	(void) snprintf(path, sizeof path, "%s/class/thermal", power_options(t->power)->sysfs);
	dir = opendir(path);
	if (!dir)
		return;
	while (t->n_zones < POWER_ZONES_MAX && (e = readdir(dir)))
		if (strncmp(e->d_name, "thermal_zone", strlen("thermal_zone")) == 0)
			add_zone(t, dirfd(dir), e->d_name);
	(void) closedir(dir);
	for (uint32_t i = 0; i < t->n_zones; i++)
		keep_history(&t->zones[i], before, n);
}

static bool look(struct zone *z)
{
	uint64_t now = clock_now_nsec();
	double milli, celsius, minutes, weight;

	if (sysfs_number(z->folder, "temp", &milli) < 0)
		return false;
	celsius = milli / 1000;
	if (celsius < CELSIUS_MIN || celsius > CELSIUS_MAX)
		return false;
	minutes = (double) (now - z->read_nsec) / (double) (60 * NSEC_PER_SEC);
	if (z->read_nsec && minutes > 0) {
		weight = fmin(1, minutes * 60 / TREND_SEC);
		z->said.trend += weight * ((celsius - z->said.celsius) / minutes - z->said.trend);
	}
	z->said.celsius = celsius;
	z->said.margin = z->trip - celsius;
	z->read_nsec = now;
	return true;
}

static void tell(struct thermal *t, const struct power_zone *zones, uint32_t n)
{
	const struct power_zone *hottest = NULL, *nearest = NULL;

	for (uint32_t i = 0; i < n; i++) {
		if (!hottest || zones[i].celsius > hottest->celsius)
			hottest = &zones[i];
		if (!isnan(zones[i].margin) && (!nearest || zones[i].margin < nearest->margin))
			nearest = &zones[i];
	}
	power_set_zones(t->power, zones, n);
	power_set(t->power, POWER_TEMPERATURE, hottest->celsius, hottest->type);
	power_set(t->power, POWER_TREND, hottest->trend, hottest->type);
	if (nearest)
		power_set(t->power, POWER_MARGIN, nearest->margin, nearest->type);
	else
		power_unset(t->power, POWER_MARGIN);
}

static void thermal_poll(void *state)
{
	struct thermal *t = state;
	struct power_zone good[POWER_ZONES_MAX];
	uint32_t n = 0;

	if (t->n_zones == 0 || ++t->polls % RESCAN_POLLS == 0)
		scan(t);
	for (uint32_t i = 0; i < t->n_zones; i++)
		if (look(&t->zones[i]))
			good[n++] = t->zones[i].said;
	if (n > 0) {
		tell(t, good, n);
		return;
	}
	power_lost(t->power, POWER_THERMAL);
	forget_zones(t);
}

static void thermal_close(void *state)
{
	struct thermal *t = state;

	forget_zones(t);
	free(t);
}

static int thermal_open(struct power *p, void **ret)
{
	struct thermal *t = calloc(1, sizeof *t);

	if (!t)
		return -ENOMEM;
	t->power = p;
	*ret = t;
	return 0;
}

const struct power_driver power_thermal_driver = {
	.open = thermal_open,
	.poll = thermal_poll,
	.close = thermal_close,
};
