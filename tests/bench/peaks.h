/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one core of this machine can do at most, measured beside the kernels: loops that never leave
 * the registers, and reading memory that no cache holds.
 */
#pragma once

#include <stdint.h>

enum peak {
	PEAK_DOT,    /* u8 x s8 products, 10^9 a second */
	PEAK_COUNT,  /* one bit x one bit, 10^9 a second */
	PEAK_LOOKUP, /* bytes looked up and added, 10^9 a second */
	PEAK_MEMORY, /* bytes read, 10^9 a second */
	_PEAK_MAX,
};

/** peak_name() - the instructions that reach it on this processor, or what is read */
const char *peak_name(enum peak p);

/** peak_measure() - Return: 10^9 a second, or 0 where there is no loop for this processor */
double peak_measure(enum peak p);

/** peak_clock_nsec() - of this thread alone: what it waits while others run is not its own */
uint64_t peak_clock_nsec(void);
