/* SPDX-License-Identifier: Apache-2.0 */
/* The one rounding of the engine, float to u8. */
#pragma once

#include <stdint.h>

/* 1.5 * 2^23: adding it leaves an integer, rounded to nearest even, for magnitudes below 2^22 */
#define ROUND_SHIFT 12582912.0f

/**
 * round_u8() - clamp((int) rint(t) + zero_point, low, high)
 * @floor_, @ceiling: low - zero_point and high - zero_point
 *
 * The bounds are integers, so clamping first changes nothing but makes any t safe to convert; NaN
 * compares false and gives low.
 */
static inline uint8_t round_u8(float t, float floor_, float ceiling, int32_t zero_point)
{
	t = t > floor_ ? t : floor_;
	t = t < ceiling ? t : ceiling;
	t = t + ROUND_SHIFT;
	t = t - ROUND_SHIFT;
	return (uint8_t) ((int32_t) t + zero_point);
}
