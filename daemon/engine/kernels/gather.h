/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "engine/kernels/kernel.h"

/** gather_count_inside() - from @x on, how many of up to @count columns have all taps inside of the image */
static inline uint32_t gather_count_inside(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count)
{
	int64_t room = (int64_t) g->line_bytes - (int64_t) g->tap_bytes - x, n;

	if (y < 0 || x < 0 || room < 0 || y + (int64_t) (g->taps - 1) * g->tap_step >= g->lines)
		return 0;
	n = room / (int64_t) g->step + 1;
	return n < count ? (uint32_t) n : count;
}
