/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a model. Thread: loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * struct stats - @run_nsec, @latency_nsec: exponential means, weight 1/16; 0 before the first
 * @cpu_nsec: @run_nsec of those that the processor has computed
 */
struct stats {
	uint64_t requests, failures, run_nsec, latency_nsec, cpu_nsec;
};

/** stats_add() - one answered request; @queue_nsec waited, @run_nsec computed, by the processor or not */
void stats_add(struct stats *s, uint64_t queue_nsec, uint64_t run_nsec, bool on_cpu);

/** stats_fail() - one request that got a typed error */
void stats_fail(struct stats *s);
