/* SPDX-License-Identifier: Apache-2.0 */
/* Time as unsigned nanoseconds. */
#pragma once

#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)

/** clock_now_nsec() - CLOCK_MONOTONIC: for durations and deadlines; stands still in suspend. */
static inline uint64_t clock_now_nsec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
}

/** clock_boot_nsec() - CLOCK_BOOTTIME: goes on in suspend. */
static inline uint64_t clock_boot_nsec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t) t.tv_sec * NSEC_PER_SEC + (uint64_t) t.tv_nsec;
}
