/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logind says that the machine goes to sleep, and waits for us as long as we hold a delay
 * inhibitor.
 *
 *	came --> Inhibit() --> HELD -- PrepareForSleep(true) --> SLEEPING: wait until drained, or
 *	            ^                                               | nearly InhibitDelayMaxUSec;
 *let go
 *	            +--------------- PrepareForSleep(false) --------+ then resumed: ask all sources
 *
 * Without the lock the signal is only a race; a sleep that the kernel starts by itself is seen by
 * the clocks, in power.c.
 */
#include "service/power_source.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/log.h"
#include "service/power_watch.h"

#define LOGIND "org.freedesktop.login1"
#define LOGIND_PATH "/org/freedesktop/login1"
#define LOGIND_MANAGER LOGIND ".Manager"

#define LOOK_NSEC (20 * NSEC_PER_MSEC)
#define DELAY_USEC 5000000 /* logind's default */

struct logind {
	struct power *power;
	struct power_watch watch;
	double delay_usec;
	int lock;
	bool sleeping;
	uint64_t patience_nsec;
	sd_bus_slot *match, *lock_call;
	sd_event_source *drain;
};

static const struct power_property properties[] = {
	{"InhibitDelayMaxUSec", 't', offsetof(struct logind, delay_usec)},
};

static void release(struct logind *l)
{
	close_fdp(&l->lock);
	l->lock = -1;
}

static int on_lock(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct logind *l = userdata;
	int fd;

	l->lock_call = sd_bus_slot_unref(l->lock_call);
	if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read_basic(m, 'h', &fd) < 0) {
		log_debug("power: logind gives no delay inhibitor");
		return 0;
	}
	release(l);
	l->lock = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return 0;
}

static void take_lock(struct logind *l)
{
	if (l->lock >= 0 || l->lock_call || l->sleeping)
		return;
	(void) sd_bus_call_method_async(l->watch.bus, &l->lock_call, LOGIND, LOGIND_PATH,
		LOGIND_MANAGER, "Inhibit", on_lock, l, "ssss", "sleep", "bitshed",
		"finishing requests", "delay");
}

/* Half a second is left for logind to see that the lock is gone. */
static int on_drain(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct logind *l = userdata;
	const struct power_options *o = power_options(l->power);
	bool drained = !o->drained || o->drained(o->userdata);

	if (!drained && clock_now_nsec() < l->patience_nsec) {
		power_arm(l->drain, LOOK_NSEC);
		return 0;
	}
	if (!drained)
		log_notice("power: the machine sleeps before all requests are done");
	release(l);
	return 0;
}

static void fall_asleep(struct logind *l)
{
	double usec = l->delay_usec > 0 ? l->delay_usec : DELAY_USEC;

	l->sleeping = true;
	power_set(l->power, POWER_SLEEPING, 1, "yes");
	l->patience_nsec = clock_now_nsec();
	if (usec > 600000)
		l->patience_nsec += (uint64_t) (usec - 500000) * NSEC_PER_USEC;
	power_arm(l->drain, 0);
}

static void wake_up(struct logind *l)
{
	(void) sd_event_source_set_enabled(l->drain, SD_EVENT_OFF);
	l->sleeping = false;
	power_set(l->power, POWER_SLEEPING, 0, "no");
	take_lock(l);
	power_resumed(l->power);
}

static int on_sleep(sd_bus_message *m, void *userdata, sd_bus_error *e)
{
	struct logind *l = userdata;
	int begins;

	if (!power_watch_is_from(&l->watch, m) || sd_bus_message_read_basic(m, 'b', &begins) < 0)
		return 0;
	if (begins)
		fall_asleep(l);
	else
		wake_up(l);
	return 0;
}

static void on_read(void *userdata)
{
	struct logind *l = userdata;

	power_heard(l->power, POWER_LOGIND);
}

static void on_came(void *userdata)
{
	struct logind *l = userdata;

	l->sleeping = false;
	release(l);
	power_set(l->power, POWER_SLEEPING, 0, "no");
	take_lock(l);
}

static void on_gone(void *userdata)
{
	struct logind *l = userdata;

	if (l->watch.owner[0])
		return; /* it gave no properties, and goes on */
	l->lock_call = sd_bus_slot_unref(l->lock_call);
	(void) sd_event_source_set_enabled(l->drain, SD_EVENT_OFF);
	release(l);
	power_lost(l->power, POWER_LOGIND);
}

static void logind_close(void *state)
{
	struct logind *l = state;

	power_watch_stop(&l->watch);
	(void) sd_bus_slot_unref(l->match);
	(void) sd_bus_slot_unref(l->lock_call);
	(void) sd_event_source_disable_unref(l->drain);
	release(l);
	free(l);
}

static int start(struct logind *l)
{
	int r;

	l->watch = (struct power_watch){.bus = power_options(l->power)->bus,
		.name = LOGIND,
		.path = LOGIND_PATH,
		.interface = LOGIND_MANAGER,
		.properties = properties,
		.n_properties = ARRAY_SIZE(properties),
		.target = l,
		.userdata = l,
		.read = on_read,
		.came = on_came,
		.gone = on_gone};
	r = power_timer(l->power, &l->drain, on_drain, l);
	if (r >= 0)
		r = sd_bus_match_signal_async(l->watch.bus, &l->match, LOGIND, LOGIND_PATH,
			LOGIND_MANAGER, "PrepareForSleep", on_sleep, NULL, l);
	return r < 0 ? r : power_watch_start(&l->watch);
}

static int logind_open(struct power *p, void **ret)
{
	struct logind *l;
	int r;

	if (!power_options(p)->bus)
		return -ENOTCONN;
	l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->power = p;
	l->lock = -1;
	r = start(l);
	if (r < 0) {
		logind_close(l);
		return r;
	}
	*ret = l;
	return 0;
}

static void logind_refresh(void *state)
{
	struct logind *l = state;

	power_watch_refresh(&l->watch);
	if (l->watch.owner[0])
		take_lock(l);
}

const struct power_driver power_logind_driver = {
	.open = logind_open,
	.refresh = logind_refresh,
	.close = logind_close,
	.on_bus = true,
};
