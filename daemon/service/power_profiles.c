/* SPDX-License-Identifier: Apache-2.0 */
/*
 * power-profiles-daemon, under the name it has since 0.20 and the one before. The newer name is
 * believed when both are there: daemons that own both say the same, replacements may own only
 * one.
 */
#include "service/power_source.h"

#include <errno.h>

#include "service/power_watch.h"

#define NEW_NAME "org.freedesktop.UPower.PowerProfiles"
#define OLD_NAME "net.hadess.PowerProfiles"

struct said {
	char profile[POWER_TEXT_BYTES], degraded[POWER_TEXT_BYTES];
};

/** struct name - @answered: its owner has said something */
struct name {
	struct profiles *profiles;
	struct power_watch watch;
	struct said said;
	bool answered;
};

struct profiles {
	struct power *power;
	struct name names[2]; /* best first */
};

static const struct power_property properties[] = {
	{"ActiveProfile", 's', offsetof(struct said, profile)},
	{"PerformanceDegraded", 's', offsetof(struct said, degraded)},
};

static void tell(struct profiles *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->names); i++) {
		const struct said *said = &s->names[i].said;

		if (!s->names[i].answered)
			continue;
		if (said->profile[0])
			power_set(s->power, POWER_SYSTEM_PROFILE, 0, said->profile);
		else
			power_unset(s->power, POWER_SYSTEM_PROFILE);
		power_set(s->power, POWER_DEGRADED, said->degraded[0] != '\0', said->degraded);
		return;
	}
	power_lost(s->power, POWER_PROFILES);
}

static void on_read(void *userdata)
{
	struct name *n = userdata;

	n->answered = true;
	tell(n->profiles);
}

static void on_gone(void *userdata)
{
	struct name *n = userdata;

	n->answered = false;
	tell(n->profiles);
}

static void profiles_close(void *state)
{
	struct profiles *s = state;

	for (size_t i = 0; i < ARRAY_SIZE(s->names); i++)
		power_watch_stop(&s->names[i].watch);
	free(s);
}

static int start_name(struct profiles *s, struct name *n, const char *name, const char *path)
{
	n->profiles = s;
	n->watch = (struct power_watch){.bus = power_options(s->power)->bus,
		.name = name,
		.path = path,
		.interface = name,
		.properties = properties,
		.n_properties = ARRAY_SIZE(properties),
		.target = &n->said,
		.userdata = n,
		.read = on_read,
		.gone = on_gone};
	return power_watch_start(&n->watch);
}

static int profiles_open(struct power *p, void **ret)
{
	struct profiles *s;
	int r;

	if (!power_options(p)->bus)
		return -ENOTCONN;
	s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->power = p;
	r = start_name(s, &s->names[0], NEW_NAME, "/org/freedesktop/UPower/PowerProfiles");
	if (r >= 0)
		r = start_name(s, &s->names[1], OLD_NAME, "/net/hadess/PowerProfiles");
	if (r < 0) {
		profiles_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

static void profiles_refresh(void *state)
{
	struct profiles *s = state;

	for (size_t i = 0; i < ARRAY_SIZE(s->names); i++)
		power_watch_refresh(&s->names[i].watch);
}

const struct power_driver power_profiles_driver = {
	.open = profiles_open,
	.refresh = profiles_refresh,
	.close = profiles_close,
	.on_bus = true,
};
