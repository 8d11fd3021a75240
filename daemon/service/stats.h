/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a model. Thread: loop. */
#pragma once

#include <stdint.h>

/** struct stats - @run_nsec, @latency_nsec: exponential means, weight 1/16; 0 before the first */
struct stats {
	uint64_t requests, failures, run_nsec, latency_nsec;
};

/** stats_add() - one answered request; @queue_nsec waited, @run_nsec computed */
void stats_add(struct stats *s, uint64_t queue_nsec, uint64_t run_nsec);

/** stats_fail() - one request that got a typed error */
void stats_fail(struct stats *s);
