/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hardware monitors: the under-voltage alarm of a Raspberry Pi (rpi_volt) and others that have a
 * lower critical alarm, and power meters, also those that leave the product to the reader (INA3221).
 * Which meter is the board's is not written anywhere; the supply feeds all the others, so it reads
 * most.
 */
#include "service/power_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>

#include "service/power_sysfs.h"

#define SENSORS_MAX 32
#define RESCAN_POLLS 30
#define WATTS_MAX 100000

/**
 * struct sensor - one file; @alarm: of too low a voltage, else a meter in microwatts
 * @volts: not empty: another file, in millivolts, and then @file is in milliamperes
 */
struct sensor {
	int folder;
	char file[32], volts[32], name[32];
	bool alarm;
};

struct hwmon {
	struct power *power;
	struct sensor sensors[SENSORS_MAX];
	uint32_t n_sensors, polls;
};

static void forget_sensors(struct hwmon *h)
{
	for (uint32_t i = 0; i < h->n_sensors; i++)
		close_fdp(&h->sensors[i].folder);
	h->n_sensors = 0;
}

/* "in0_lcrit_alarm", "power1_input": the prefix, a number, the suffix */
static bool is_file(const char *name, const char *prefix, const char *suffix)
{
	size_t n = strlen(prefix), digits;

	if (strncmp(name, prefix, n) != 0)
		return false;
	digits = strspn(name + n, "0123456789");
	return digits > 0 && strcmp(name + n + digits, suffix) == 0;
}

static void add_sensor(struct hwmon *h, int folder, const char *name, const char *file, bool alarm)
{
	struct sensor *s = &h->sensors[h->n_sensors];

	if (h->n_sensors == SENSORS_MAX || strlen(file) >= sizeof s->file)
		return;
	*s = (struct sensor){.folder = fcntl(folder, F_DUPFD_CLOEXEC, 3), .alarm = alarm};
	if (s->folder < 0)
		return;
	(void) snprintf(s->file, sizeof s->file, "%.31s", file);
	(void) snprintf(s->name, sizeof s->name, "%.31s", name);
	h->n_sensors++;
}

/* "curr2_input" beside "in2_input" is a meter, unless the chip multiplies by itself. */
static void add_current(struct hwmon *h, int folder, const char *name, const char *file)
{
	const char *channel = file + strlen("curr");
	uint32_t n = h->n_sensors;
	char volts[32], power[40];

	if (snprintf(volts, sizeof volts, "in%s", channel) >= (int) sizeof volts)
		return;
	(void) snprintf(power, sizeof power, "power%s", channel);
	if (faccessat(folder, volts, R_OK, 0) < 0 || faccessat(folder, power, F_OK, 0) == 0)
		return;
	add_sensor(h, folder, name, file, false);
	if (h->n_sensors > n)
		memcpy(h->sensors[n].volts, volts, sizeof volts);
}

static void add_chip(struct hwmon *h, int root, const char *chip)
{
	int folder = openat(root, chip, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = folder >= 0 ? fdopendir(folder) : NULL;
	struct dirent *e;
	char name[32];

	if (!dir) {
		close_fdp(&folder);
		return;
	}
	if (sysfs_word(folder, "name", name, sizeof name) < 0)
		(void) snprintf(name, sizeof name, "%.31s", chip);
	while ((e = readdir(dir))) {
		if (is_file(e->d_name, "in", "_lcrit_alarm"))
			add_sensor(h, folder, name, e->d_name, true);
		else if (is_file(e->d_name, "power", "_input"))
			add_sensor(h, folder, name, e->d_name, false);
		else if (is_file(e->d_name, "curr", "_input"))
			add_current(h, folder, name, e->d_name);
	}
	(void) closedir(dir);
}

static void scan(struct hwmon *h)
{
	struct dirent *e;
	char path[256];
	DIR *dir;

	forget_sensors(h);
	(void) snprintf(path, sizeof path, "%s/class/hwmon", power_options(h->power)->sysfs);
	dir = opendir(path);
	if (!dir)
		return;
	while ((e = readdir(dir)))
		if (strncmp(e->d_name, "hwmon", strlen("hwmon")) == 0)
			add_chip(h, dirfd(dir), e->d_name);
	(void) closedir(dir);
}

/** struct gauges - @alarm, @meter: the worst and the most; NULL: no such sensor answers */
struct gauges {
	const struct sensor *alarm, *meter;
	double alarmed, watts;
};

static void look(const struct sensor *s, struct gauges *ret)
{
	double value, volts = 1;

	if (sysfs_number(s->folder, s->file, &value) < 0 ||
		(s->volts[0] && sysfs_number(s->folder, s->volts, &volts) < 0))
		return;
	value *= volts;
	if (s->alarm && (!ret->alarm || value > ret->alarmed)) {
		ret->alarm = s;
		ret->alarmed = value > 0;
	} else if (!s->alarm && value >= 0 && value <= WATTS_MAX * 1e6 &&
		   (!ret->meter || value / 1e6 > ret->watts)) {
		ret->meter = s;
		ret->watts = value / 1e6;
	}
}

static void hwmon_poll(void *state)
{
	struct hwmon *h = state;
	struct gauges gauges = {};

	if (h->n_sensors == 0 || ++h->polls % RESCAN_POLLS == 0)
		scan(h);
	for (uint32_t i = 0; i < h->n_sensors; i++)
		look(&h->sensors[i], &gauges);
	if (!gauges.alarm && !gauges.meter) {
		power_lost(h->power, POWER_HWMON);
		forget_sensors(h);
		return;
	}
	power_set(h->power, POWER_UNDER_VOLTAGE, gauges.alarm ? gauges.alarmed : NAN,
		gauges.alarmed > 0 ? "yes" : "no");
	power_set(h->power, POWER_WATTS, gauges.meter ? gauges.watts : NAN,
		gauges.meter ? gauges.meter->name : NULL);
}

static void hwmon_close(void *state)
{
	struct hwmon *h = state;

	forget_sensors(h);
	free(h);
}

static int hwmon_open(struct power *p, void **ret)
{
	struct hwmon *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	h->power = p;
	*ret = h;
	return 0;
}

const struct power_driver power_hwmon_driver = {
	.open = hwmon_open,
	.poll = hwmon_poll,
	.close = hwmon_close,
};
