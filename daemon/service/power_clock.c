/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel cancels a timer on CLOCK_REALTIME when that clock is set, and it sets it when the machine
 * wakes up. So a timer that never fires tells of both, and nobody has to compare clocks every few
 * seconds.
 */
#include "service/power_clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* Less is the time between two looks at the clocks. */
#define SLEPT_NSEC NSEC_PER_SEC

struct power_clock {
	int fd;
	uint64_t slept_nsec; /* CLOCK_BOOTTIME minus CLOCK_MONOTONIC */
	sd_event_source *source;
	void (*jumped)(uint64_t slept_nsec, void *userdata);
	void *userdata;
};

/* The clock that stands still in sleep is read first, so the difference is never below 0. */
static uint64_t time_asleep(void)
{
	uint64_t awake = clock_now_nsec();

	return clock_boot_nsec() - awake;
}

static int arm(int fd)
{
	const struct itimerspec never = {.it_value.tv_sec = INT32_MAX};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
		       ? -errno
		       : 0;
}

static int on_cancelled(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct power_clock *c = userdata;
	uint64_t n, slept = time_asleep(), more = slept - MIN_OF(slept, c->slept_nsec);

	/* ECANCELED says what poll() has said already. */
	(void) !read(fd, &n, sizeof n);
	(void) arm(fd);
	c->slept_nsec = slept;
	c->jumped(more >= SLEPT_NSEC ? more : 0, c->userdata);
	return 0;
}

int power_clock_new(struct power_clock **ret, sd_event *event,
	void (*jumped)(uint64_t slept_nsec, void *userdata), void *userdata)
{
	_cleanup_(power_clock_freep) struct power_clock *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	c->slept_nsec = time_asleep();
	c->jumped = jumped;
	c->userdata = userdata;
	c->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (c->fd < 0)
		return -errno;
	r = arm(c->fd);
	if (r >= 0)
		r = sd_event_add_io(event, &c->source, c->fd, EPOLLIN, on_cancelled, c);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

struct power_clock *power_clock_free(struct power_clock *c)
{
	if (!c)
		return NULL;
	(void) sd_event_source_disable_unref(c->source);
	close_fdp(&c->fd);
	free(c);
	return NULL;
}
