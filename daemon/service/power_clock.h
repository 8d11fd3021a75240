/* SPDX-License-Identifier: Apache-2.0 */
/* Hears when clocks jump, without looking at them: the time was set, or the machine has slept. */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

struct power_clock;

/**
 * power_clock_new() - begin to listen
 * @jumped: on the loop, after the clock was set or the machine woke up; @slept_nsec: how long it has
 *	slept since the last call, 0: not noticeably
 *
 * Return: 0 or negative errno.
 */
int power_clock_new(struct power_clock **ret, sd_event *event,
	void (*jumped)(uint64_t slept_nsec, void *userdata), void *userdata);
struct power_clock *power_clock_free(struct power_clock *c);
DEFINE_CLEANUP(struct power_clock *, power_clock_free)
