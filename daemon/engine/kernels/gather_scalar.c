/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/copy.h"
#include "engine/kernels/gather.h"
#include "engine/kernels/rows.h"

/* One line of taps: left of the image, inside, right of it. */
static void gather_line(const struct kernel_gather *g, int64_t y, int64_t x, uint8_t *out)
{
	const int64_t n = (int64_t) g->tap_bytes, width = (int64_t) g->line_bytes;
	int64_t inside = x < 0 ? -x : 0, end = width - x;

	if (y < 0 || y >= g->lines || inside >= n || end <= 0) {
		memset(out, g->outside, (size_t) n);
		return;
	}
	end = end < n ? end : n;
	memset(out, g->outside, (size_t) inside);
	copy_short(out + inside, g->image + y * width + x + inside, (size_t) (end - inside));
	memset(out + end, g->outside, (size_t) (n - end));
}

/* @n: bytes of one line of taps; where it is a constant, the moves are laid out one after the other */
static inline __attribute__((always_inline)) void copy_columns(
	const struct kernel_gather *g, const uint8_t *from, uint32_t count, size_t n, uint8_t *out)
{
	const size_t line = g->tap_step * g->line_bytes, rest = g->stride - g->taps * n;

	for (uint32_t i = 0; i < count; i++, from += g->step, out += rest) {
		const uint8_t *tap = from;

		for (uint32_t j = 0; j < g->taps; j++, tap += line, out += n)
			copy_short(out, tap, n);
		memset(out, 0, rest);
	}
}

/* Nothing of these columns lies outside: the case of nearly all. */
static void gather_inside(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const uint8_t *from = g->image + (size_t) y * g->line_bytes + (size_t) x;

	switch (g->tap_bytes) {
	case 9:
		return copy_columns(g, from, count, 9, out);
	case 21:
		return copy_columns(g, from, count, 21, out);
	case 48:
		return copy_columns(g, from, count, 48, out);
	case 96:
		return copy_columns(g, from, count, 96, out);
	case 192:
		return copy_columns(g, from, count, 192, out);
	default:
		return copy_columns(g, from, count, g->tap_bytes, out);
	}
}

void gather_scalar(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const size_t taps = g->taps * g->tap_bytes;

	for (uint32_t n; count > 0; count -= n, x += n * (int64_t) g->step, out += n * g->stride) {
		n = gather_count_inside(g, y, x, count);
		if (n > 0) {
			gather_inside(g, y, x, n, out);
			continue;
		}
		n = 1;
		for (uint32_t j = 0; j < g->taps; j++)
			gather_line(g, y + (int64_t) j * g->tap_step, x, out + j * g->tap_bytes);
		memset(out + taps, 0, g->stride - taps);
	}
}
