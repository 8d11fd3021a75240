/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: root and the daemon's own user everything; others what polkit says, by an action
 * per verb. On a machine without polkit everybody may infer, and members of the group that the
 * daemon runs as may do the rest. Nobody waits for an answer: the call comes again with it.
 * Thread: loop.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/error.h"

/** enum verb - what a call wants; VERB_ANY is free for all */
enum verb {
	VERB_ANY,
	VERB_INFER,
	VERB_LOAD,
	VERB_SET_POLICY,
	VERB_HOLD,
	VERB_TELEMETRY,
	VERB_STATISTICS,
	_VERB_MAX,
};

#define AUTHORITY_NO_OWNER ((uid_t) -1)

struct authority;

/** authority_new() - on a bus that is attached to its event loop. Return: 0 or errno */
int authority_new(struct authority **ret, sd_bus *bus);

/** authority_free() - calls that still wait for an answer get an error */
struct authority *authority_free(struct authority *a);
DEFINE_CLEANUP(struct authority *, authority_free)

/**
 * authority_check() - may the sender of @call do this?
 * @owner: the user whose thing it is, who needs no permission; AUTHORITY_NO_OWNER: nobody's
 *
 * For use before a call is handled. An answer holds for that one call, except for VERB_INFER, where
 * "yes" holds for the sender's connection until polkit says that something has changed.
 *
 * Return: 1: yes; 0: not known yet, the bus will dispatch @call again when it is; -EACCES with words
 * that say what is missing; -EBUSY, -ENOMEM or errno of the bus.
 */
int authority_check(struct authority *a, sd_bus_message *call, enum verb verb, uid_t owner,
	struct error *reterr);

/** verb_action() - the polkit action of @verb, as in config/org.bitshed.policy */
const char *verb_action(enum verb verb);
