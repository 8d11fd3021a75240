/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** copy_short() - memcpy() for short runs of varying length: fixed-size moves, the last one overlapping,
 * beat it */
static inline void copy_short(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
	size_t i = 0;

	if (n >= 16) {
		for (; i + 16 < n; i += 16)
			memcpy(to + i, from + i, 16);
		memcpy(to + n - 16, from + n - 16, 16);
	} else if (n >= 8) {
		memcpy(to, from, 8);
		memcpy(to + n - 8, from + n - 8, 8);
	} else {
		for (; i < n; i++)
			to[i] = from[i];
	}
}
