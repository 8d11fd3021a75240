/* SPDX-License-Identifier: Apache-2.0 */
/* 64 bytes at once, with a mask for what exists: taps are few bytes, and so is what lies beside the image. */
#include <immintrin.h>

#include "engine/kernels/gather.h"
#include "engine/kernels/rows.h"

#define CHUNK 64
#define INLINED static inline __attribute__((always_inline))

static inline __mmask64 first_ones(int64_t count)
{
	return count <= 0 ? 0 : count >= CHUNK ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

/* One line of taps, of which any part may lie outside. */
static void gather_line(const struct kernel_gather *g, int64_t y, int64_t x, uint8_t *out)
{
	const int64_t n = (int64_t) g->tap_bytes, width = (int64_t) g->line_bytes;
	const __m512i outside = _mm512_set1_epi8((char) g->outside);

	for (int64_t c = 0; c < n; c += CHUNK) {
		const __mmask64 all = first_ones(n - c);
		__mmask64 inside = all & first_ones(width - x - c) & ~first_ones(-x - c);
		__m512i v = outside;

		if (y >= 0 && y < g->lines && inside != 0)
			v = _mm512_mask_loadu_epi8(outside, inside, g->image + y * width + x + c);
		_mm512_mask_storeu_epi8(out + c, all, v);
	}
}

/* The last up to 64 bytes of a line of taps. Wider moves than needed would cross more lines of the cache. */
INLINED void copy_last(const uint8_t *from, uint8_t *to, size_t n)
{
	const __mmask64 last = first_ones((int64_t) ((n - 1) % CHUNK + 1));

	if (n <= 16)
		_mm_mask_storeu_epi8(to, (__mmask16) last, _mm_maskz_loadu_epi8((__mmask16) last, from));
	else if (n <= 32)
		_mm256_mask_storeu_epi8(to, (__mmask32) last, _mm256_maskz_loadu_epi8((__mmask32) last, from));
	else
		_mm512_mask_storeu_epi8(to, last, _mm512_maskz_loadu_epi8(last, from));
}

/* @n: bytes of one line of taps, a constant where they are few */
INLINED void copy_columns(const struct kernel_gather *g, const uint8_t *from, uint32_t count, size_t n, uint8_t *out)
{
	const size_t line = g->tap_step * g->line_bytes, stride = g->stride, step = g->step;
	const uint32_t taps = g->taps;
	const __mmask64 rest = first_ones((int64_t) (stride - taps * n));

	for (uint32_t i = 0; i < count; i++, from += step, out += stride) {
		const uint8_t *tap = from;
		uint8_t *to = out;

		for (uint32_t j = 0; j < taps; j++, tap += line, to += n) {
			size_t c = 0;

			for (; c + CHUNK < n; c += CHUNK)
				_mm512_storeu_si512(to + c, _mm512_loadu_si512(tap + c));
			copy_last(tap + c, to + c, n);
		}
		if (rest)
			_mm512_mask_storeu_epi8(to, rest, _mm512_setzero_si512());
	}
}

/* Nothing of these columns lies outside: the case of nearly all. */
static void gather_inside(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const uint8_t *from = g->image + (size_t) y * g->line_bytes + (size_t) x;

	if (g->tap_bytes == 9)
		copy_columns(g, from, count, 9, out);
	else if (g->tap_bytes == 21)
		copy_columns(g, from, count, 21, out);
	else if (g->tap_bytes == 48)
		copy_columns(g, from, count, 48, out);
	else if (g->tap_bytes == 96)
		copy_columns(g, from, count, 96, out);
	else if (g->tap_bytes == 192)
		copy_columns(g, from, count, 192, out);
	else
		copy_columns(g, from, count, g->tap_bytes, out);
}

void gather_avx512(const struct kernel_gather *g, int64_t y, int64_t x, uint32_t count, uint8_t *out)
{
	const size_t taps = g->taps * g->tap_bytes;
	const __mmask64 rest = first_ones((int64_t) (g->stride - taps));

	for (uint32_t n; count > 0; count -= n, x += n * (int64_t) g->step, out += n * g->stride) {
		n = gather_count_inside(g, y, x, count);
		if (n > 0) {
			gather_inside(g, y, x, n, out);
			continue;
		}
		n = 1;
		for (uint32_t j = 0; j < g->taps; j++)
			gather_line(g, y + (int64_t) j * g->tap_step, x, out + j * g->tap_bytes);
		_mm512_mask_storeu_epi8(out + taps, rest, _mm512_setzero_si512());
	}
}
