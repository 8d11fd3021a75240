/* SPDX-License-Identifier: Apache-2.0 */
/* Places in a table of what is known of each width of a model: eighths of a bit. */
#pragma once

#include <math.h>
#include <stdint.h>

#include "engine/bits.h"

#define WIDTHS (8 * BITS_PLANES_MAX + 1)

/** width_index() - Return: below WIDTHS, whatever @bits is */
static inline uint32_t width_index(double bits)
{
	return (uint32_t) lround(fmin(fmax(bits, 0), BITS_PLANES_MAX) * 8);
}
