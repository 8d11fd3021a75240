/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 channels of one pixel at once, or 32 of two, or 16 of four. The bytes of four taps are woven
 * together, so that one VPDPBUSD adds all four for 16 channels; the weights are woven once per line.
 * Weaving works within lanes of 128 bits: register i holds channels 4 i .. + 3 of what lane l stands
 * for in lane l, which the store puts in order.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/rows.h"

#define LANES 4	     /* of 16 channels */
#define GROUPS_MAX 7 /* of four taps: windows up to 5x5 in one pass */
#define INLINED static inline __attribute__((always_inline))

struct quads {
	__m512i q[4];
};

/*
 * struct pass - up to GROUPS_MAX * 4 taps of up to 64 channels
 * @lane: how many channels of each lane exist, as a mask
 * @from, @to: where lane l begins, from the first lane in the image and in the sums
 * @add: add to the sums of an earlier pass
 */
struct pass {
	struct quads weights[GROUPS_MAX];
	const uint8_t *taps[GROUPS_MAX * 4];
	uint32_t groups;
	__mmask16 lane[LANES];
	size_t from[LANES], to[LANES];
	bool full, add;
};

INLINED struct quads weave(__m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
	__m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);

	return (struct quads) {{
		_mm512_unpacklo_epi16(ab_low, cd_low),
		_mm512_unpackhi_epi16(ab_low, cd_low),
		_mm512_unpacklo_epi16(ab_high, cd_high),
		_mm512_unpackhi_epi16(ab_high, cd_high),
	}};
}

/* @full: 64 channels side by side, known when this is compiled */
INLINED __m512i load(const struct pass *p, const uint8_t *q, bool full)
{
	__m256i ab, cd;

	if (full)
		return _mm512_loadu_si512(q);
	ab = _mm256_inserti32x4(
		_mm256_castsi128_si256(_mm_maskz_loadu_epi8(p->lane[0], q + p->from[0])),
		_mm_maskz_loadu_epi8(p->lane[1], q + p->from[1]), 1);
	cd = _mm256_inserti32x4(
		_mm256_castsi128_si256(_mm_maskz_loadu_epi8(p->lane[2], q + p->from[2])),
		_mm_maskz_loadu_epi8(p->lane[3], q + p->from[3]), 1);
	return _mm512_inserti64x4(_mm512_castsi256_si512(ab), cd, 1);
}

INLINED void put(const struct pass *p, uint32_t lane, __m512i sum, int32_t *acc, bool full, bool add)
{
	int32_t *to = acc + p->to[lane];

	if (add)
		sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(p->lane[lane], to));
	if (full)
		_mm512_storeu_si512(to, sum);
	else
		_mm512_mask_storeu_epi32(to, p->lane[lane], sum);
}

INLINED void put_quads(const struct pass *p, const struct quads *s, int32_t *acc, bool full, bool add)
{
	__m512i a = _mm512_shuffle_i32x4(s->q[0], s->q[1], 0x44);
	__m512i b = _mm512_shuffle_i32x4(s->q[2], s->q[3], 0x44);
	__m512i c = _mm512_shuffle_i32x4(s->q[0], s->q[1], 0xee);
	__m512i d = _mm512_shuffle_i32x4(s->q[2], s->q[3], 0xee);

	put(p, 0, _mm512_shuffle_i32x4(a, b, 0x88), acc, full, add);
	put(p, 1, _mm512_shuffle_i32x4(a, b, 0xdd), acc, full, add);
	put(p, 2, _mm512_shuffle_i32x4(c, d, 0x88), acc, full, add);
	put(p, 3, _mm512_shuffle_i32x4(c, d, 0xdd), acc, full, add);
}

INLINED void run_pixels(const struct pass *p, size_t at, int32_t *acc, uint32_t groups, bool full,
	bool add)
{
	struct quads s = {};

	for (uint32_t g = 0; g < groups; g++) {
		const uint8_t *const *t = p->taps + (size_t) 4 * g;
		struct quads q = weave(load(p, t[0] + at, full), load(p, t[1] + at, full),
			load(p, t[2] + at, full), load(p, t[3] + at, full));

		for (uint32_t i = 0; i < 4; i++)
			s.q[i] = _mm512_dpbusd_epi32(s.q[i], q.q[i], p->weights[g].q[i]);
	}
	put_quads(p, &s, acc, full, add);
}

/* Taps that do not exist read the last one and weigh nothing. */
static void start_pass(struct pass *p, const struct pass *lanes, const int8_t *weights, uint32_t channels,
	const uint8_t *const *taps, uint32_t n_taps)
{
	p->groups = (n_taps + 3) / 4;
	for (uint32_t g = 0; g < p->groups; g++) {
		__m512i w[4];

		for (uint32_t i = 0; i < 4; i++) {
			uint32_t t = 4 * g + i, real = t < n_taps ? t : n_taps - 1;

			p->taps[t] = taps[real];
			w[i] = t < n_taps ? load(lanes, (const uint8_t *) weights + (size_t) t * channels, false) :
					    _mm512_setzero_si512();
		}
		p->weights[g] = weave(w[0], w[1], w[2], w[3]);
	}
}

/* Lanes of @pixels pixels with up to 64 / @pixels channels each. */
static void set_lanes(struct pass *p, uint32_t channels, uint32_t pixels, size_t from, size_t to)
{
	uint32_t each = LANES / pixels;

	for (uint32_t i = 0; i < LANES; i++) {
		uint32_t first = i % each * 16, left = channels > first ? channels - first : 0;
		size_t pixel = i / each;

		p->lane[i] = (__mmask16) (left >= 16 ? 0xffff : (1u << left) - 1);
		p->from[i] = left ? pixel * from + first : 0;
		p->to[i] = left ? pixel * to + first : 0;
	}
	p->full = channels >= 64;
}

static void run_pass(struct pass *p, uint32_t count, uint32_t pixels, uint32_t pixel_stride,
	uint32_t channels, int32_t *acc)
{
	uint32_t x = 0;

	for (; x + pixels <= count; x += pixels) {
		size_t at = (size_t) x * pixel_stride;
		int32_t *to = acc + (size_t) x * channels;

		if (p->full && p->groups == 3 && !p->add)
			run_pixels(p, at, to, 3, true, false);
		else if (p->groups == 3 && !p->add)
			run_pixels(p, at, to, 3, false, false);
		else
			run_pixels(p, at, to, p->groups, false, p->add);
	}
	for (uint32_t i = LANES / pixels; i < LANES; i++)
		p->lane[i] = 0;
	for (; x < count; x++)
		run_pixels(p, (size_t) x * pixel_stride, acc + (size_t) x * channels, p->groups, false, p->add);
}

void depthwise_vnni(const int8_t *weights, uint32_t n_taps, uint32_t channels, const uint8_t *const *taps,
	uint32_t pixel_stride, uint32_t count, int32_t *acc)
{
	uint32_t wide;

	for (uint32_t c = 0; c < channels; c += wide) {
		uint32_t left = channels - c, pixels = left <= 16 ? 4 : left <= 32 ? 2 : 1;

		wide = left < 64 ? left : 64;
		for (uint32_t first = 0; first < n_taps; first += GROUPS_MAX * 4) {
			uint32_t n = n_taps - first < GROUPS_MAX * 4 ? n_taps - first : GROUPS_MAX * 4;
			struct pass p, lanes;

			set_lanes(&lanes, wide, pixels, 0, 0);
			start_pass(&p, &lanes, weights + (size_t) first * channels + c, channels,
				taps + first, n);
			for (uint32_t t = 0; t < p.groups * 4; t++)
				p.taps[t] += c;
			set_lanes(&p, wide, pixels, pixel_stride, channels);
			p.add = first > 0;
			run_pass(&p, count, pixels, pixel_stride, channels, acc + c);
		}
	}
}
