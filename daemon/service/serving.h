/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a request that has been read and the queue: may it run, and is its model in memory?
 *
 *	serving_admit() -> serving_submit() --- planes are there ---------------> queue, done()
 *	                        |                                                   ^
 *	                        +-- parked, or the machine sleeps --> [ waiting ] --+ serving_ready()
 *
 * A parked model has given all its planes back and keeps its graph; the next request brings them in
 * again and waits for that. Thread: loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/list.h"

struct entry;
struct request;

/**
 * struct serving - part of an entry
 * @waiting: struct request without a plan; @n_waiting: how many
 * @park: armed while rules want the model parked when nobody asks; NULL until then
 * @begin: fires once the loop is back: what waits may be over before its caller knows that it waits
 * @tokens: requests that the rate allows at @tokens_nsec
 * @used_nsec: the last request, CLOCK_MONOTONIC
 */
struct serving {
	struct list waiting;
	uint32_t n_waiting;
	sd_event_source *park, *begin;
	double tokens;
	uint64_t tokens_nsec, used_nsec;
};

void serving_init(struct serving *s);
void serving_done(struct serving *s);

/**
 * serving_admit() - does the policy let one more request run? Takes it from the rate when it does
 *
 * Return: 0; -EBUSY with words when a rule refuses requests, or allows no more of them now.
 */
int serving_admit(struct entry *e, struct error *reterr);

/**
 * serving_submit() - run it, queue it, or let it wait for planes
 *
 * Return: 1 it has run; 0 its done() will be called; -EBUSY too many wait; as manager_submit().
 */
int serving_submit(struct entry *e, struct request *request);

/** serving_cancel() - take a request back that waits here. Return: it did */
bool serving_cancel(struct entry *e, struct request *request);

/** serving_ready() - planes are there and the machine is awake: queue what has waited */
void serving_ready(struct entry *e);

/** serving_fail() - they will not be there: done() with @r for all that wait */
void serving_fail(struct entry *e, int r);

/** serving_follow() - the policy has decided anew: arm or disarm parking */
void serving_follow(struct entry *e);

/** serving_park() - give the planes back, unless they are gone or being built. @why: for the journal */
void serving_park(struct entry *e, const char *why);
