/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a model. Thread: loop. */
#pragma once

#include <stdint.h>

#include "service/widths.h"

/**
 * struct stats - @run_nsec, @latency_nsec: exponential means, weight 1/16; 0 before the first
 * @cpu_nsec: @run_nsec of those that the processor has computed
 * @width_nsec: the same of each width, in eighths of a bit, and when that was last found; 0: not yet
 */
struct stats {
	uint64_t requests, failures, run_nsec, latency_nsec, cpu_nsec;
	uint64_t width_nsec[WIDTHS], width_measured_nsec[WIDTHS];
};

/** stats_add() - one answered request; @queue_nsec waited, @run_nsec computed */
void stats_add(struct stats *s, uint64_t queue_nsec, uint64_t run_nsec);

/** stats_add_cpu() - the processor has computed it at @bits */
void stats_add_cpu(struct stats *s, double bits, uint64_t run_nsec, uint64_t now_nsec);

/**
 * stats_cpu() - what the processor takes at @bits, or at the last width that it had when that is not known
 * @ret_measured_nsec: when that was found
 *
 * Return: 0 when nothing is known.
 */
uint64_t stats_cpu(const struct stats *s, double bits, uint64_t *ret_measured_nsec);

/** stats_fail() - one request that got a typed error */
void stats_fail(struct stats *s);
