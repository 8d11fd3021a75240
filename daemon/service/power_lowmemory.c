/* SPDX-License-Identifier: Apache-2.0 */
/*
 * low-memory-monitor says when memory is short and never when it is not: a warning counts until
 * it has been quiet for a while.
 */
#include "service/power_source.h"

#include <errno.h>

#include "service/power_watch.h"

#define LMM "org.freedesktop.LowMemoryMonitor"
#define LMM_PATH "/org/freedesktop/LowMemoryMonitor"
#define QUIET_NSEC (30 * NSEC_PER_SEC)

struct lowmemory {
	struct power *power;
	struct power_watch watch;
	sd_bus_slot *match;
	sd_event_source *quiet;
};

static const char *word(uint8_t level)
{
	return level == 0 ? "none" : level < 100 ? "low" : level < 255 ? "lower" : "critical";
}

static int on_quiet(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct lowmemory *l = userdata;

	power_set(l->power, POWER_LOW_MEMORY, 0, word(0));
	return 0;
}

static int on_warning(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct lowmemory *l = userdata;
	uint8_t level;

	if (!power_watch_is_from(&l->watch, m) || sd_bus_message_read_basic(m, 'y', &level) < 0)
		return 0;
	power_set(l->power, POWER_LOW_MEMORY, level, word(level));
	power_arm(l->quiet, QUIET_NSEC);
	return 0;
}

static void on_came(void *userdata)
{
	struct lowmemory *l = userdata;

	power_set(l->power, POWER_LOW_MEMORY, 0, word(0));
}

static void on_gone(void *userdata)
{
	struct lowmemory *l = userdata;

	(void) sd_event_source_set_enabled(l->quiet, SD_EVENT_OFF);
	power_lost(l->power, POWER_LOW_MEMORY_MONITOR);
}

static void lowmemory_close(void *state)
{
	struct lowmemory *l = state;

	power_watch_stop(&l->watch);
	(void) sd_bus_slot_unref(l->match);
	(void) sd_event_source_disable_unref(l->quiet);
	free(l);
}

static int start(struct lowmemory *l)
{
	int r;

	l->watch = (struct power_watch){.bus = power_options(l->power)->bus,
		.name = LMM,
		.userdata = l,
		.came = on_came,
		.gone = on_gone};
	r = power_timer(l->power, &l->quiet, on_quiet, l);
	if (r >= 0)
		r = sd_bus_match_signal_async(l->watch.bus, &l->match, LMM, LMM_PATH, LMM,
			"LowMemoryWarning", on_warning, NULL, l);
	return r < 0 ? r : power_watch_start(&l->watch);
}

static int lowmemory_open(struct power *p, void **ret)
{
	struct lowmemory *l;
	int r;

	if (!power_options(p)->bus)
		return -ENOTCONN;
	l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->power = p;
	r = start(l);
	if (r < 0) {
		lowmemory_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

const struct power_driver power_lowmemory_driver = {
	.open = lowmemory_open,
	.close = lowmemory_close,
	.on_bus = true,
};
