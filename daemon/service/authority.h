/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what: the one place that decides about callers. What belongs to a user is decided where it is kept. */
#pragma once

#include <systemd/sd-bus.h>

#include "base/error.h"

struct manager;

/** enum authority_action - what somebody wants to do; appended to, never reordered */
enum authority_action {
	AUTHORITY_LOAD,
	AUTHORITY_UNLOAD,
	AUTHORITY_SET_BITS,
	AUTHORITY_SET_PROFILE,
	AUTHORITY_HOLD,
	AUTHORITY_REPORT,
	_AUTHORITY_ACTION_MAX,
};

/**
 * authority_check() - may the sender of @call do this?
 * @method: the handler that asks, and its @userdata: called again with @call, rewound, when the answer
 *	had to be waited for
 *
 * Return: 1 yes; 0 it is being asked, leave without a reply; -EACCES no, with words. Thread: loop.
 */
int authority_check(struct manager *m, sd_bus_message *call, enum authority_action action,
	sd_bus_message_handler_t method, void *userdata, struct error *reterr);
