/* SPDX-License-Identifier: Apache-2.0 */
/* How many processors the system lets this process have for computing. */
#pragma once

#include <sched.h>
#include <stdint.h>

/**
 * processors_large() - those of @allowed that are not much smaller than the largest one
 * @root: what goes in front of /sys: "" but in tests
 * @ret: all of @allowed where the kernel does not tell them apart
 */
void processors_large(const char *root, const cpu_set_t *allowed, cpu_set_t *ret);

/**
 * processors_worth() - how many of @allowed a pool of threads gains from
 * @root: what goes in front of /proc and /sys: "" but in tests
 * @allowed: by affinity, at least one
 *
 * Where processors differ, the large ones: a step ends with its slowest thread. No more than the lowest
 * quota of the control groups gives in a period, rounded up: threads beyond it stand still together.
 * Return: at least 1
 */
uint32_t processors_worth(const char *root, const cpu_set_t *allowed);
