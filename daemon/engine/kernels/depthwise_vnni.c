/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 channels of one pixel at once, or 32 of two, or 16 of four. The bytes of four taps are woven
 * together, so that one VPDPBUSD adds all four for 16 channels; the weights are woven once per line.
 * Weaving works within lanes of 128 bits: register i holds channels 4 i .. + 3 of what lane l stands
 * for in lane l, which the store puts in order.
 */
#include <immintrin.h>
#include <stdbool.h>

#include "engine/kernels/filters_avx512.h"
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
 * @lane_channels: of the lanes of one pixel, if all existed
 * @from, @to: where lane l begins, from the first lane in the image and in the sums
 * @add: add to the sums of an earlier pass
 */
struct pass {
	struct quads weights[GROUPS_MAX];
	const uint8_t *taps[GROUPS_MAX * 4];
	uint32_t groups;
	__mmask16 lane[LANES];
	uint32_t lane_channels;
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

INLINED struct quads sum_pixels(const struct pass *p, size_t at, uint32_t groups, bool full)
{
	struct quads s = {};

	for (uint32_t g = 0; g < groups; g++) {
		const uint8_t *const *t = p->taps + (size_t) 4 * g;
		struct quads q = weave(load(p, t[0] + at, full), load(p, t[1] + at, full),
			load(p, t[2] + at, full), load(p, t[3] + at, full));

		for (uint32_t i = 0; i < 4; i++)
			s.q[i] = _mm512_dpbusd_epi32(s.q[i], q.q[i], p->weights[g].q[i]);
	}
	return s;
}

INLINED void run_pixels(const struct pass *p, size_t at, int32_t *acc, uint32_t groups, bool full,
	bool add)
{
	struct quads s = sum_pixels(p, at, groups, full);

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
	p->lane_channels = each * 16;
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

/*
 * struct band - what the lines of some channels have in common
 * @gain, @bias: woven as sums are
 * @whole_in, @whole_out: the lanes lie side by side there
 */
struct band {
	struct pass pass;
	__m512 gain[4], bias[4], ceiling;
	__m512i zero_point, low;
	bool whole_in, whole_out;
};

/* Four registers of one lane each to four of all lanes: register i has numbers 4 i .. + 3 of each. */
static void weave_floats(const struct pass *p, const float *from, __m512 to[4])
{
	const size_t each = p->lane_channels;
	__m512 v[LANES], a, b, c, d;

	for (uint32_t l = 0; l < LANES; l++)
		v[l] = _mm512_maskz_loadu_ps(p->lane[l], from + (p->lane[l] ? l * 16 % each : 0));
	a = _mm512_shuffle_f32x4(v[0], v[1], 0x44);
	b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
	c = _mm512_shuffle_f32x4(v[0], v[1], 0xee);
	d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
	to[0] = _mm512_shuffle_f32x4(a, b, 0x88);
	to[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
	to[2] = _mm512_shuffle_f32x4(c, d, 0x88);
	to[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}

INLINED __m512i finish_quad(const struct band *b, const struct quads *s, uint32_t i)
{
	__m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(s->q[i]), b->gain[i]);

	/* as requantize_avx512: only the ceiling in float, the packing keeps the rest */
	return _mm512_cvtps_epi32(_mm512_min_ps(b->ceiling, _mm512_add_ps(t, b->bias[i])));
}

/* Packing undoes the weaving: lane l ends with its 16 channels in order. */
INLINED __m512i finish_quads(const struct band *b, const struct quads *s)
{
	__m512i low = _mm512_packs_epi32(finish_quad(b, s, 0), finish_quad(b, s, 1));
	__m512i high = _mm512_packs_epi32(finish_quad(b, s, 2), finish_quad(b, s, 3));

	return _mm512_max_epu8(b->low, _mm512_packus_epi16(_mm512_adds_epi16(low, b->zero_point),
					       _mm512_adds_epi16(high, b->zero_point)));
}

INLINED void put_bytes(const struct pass *p, __m512i v, uint8_t *out, bool whole)
{
	if (whole) {
		_mm512_storeu_si512(out, v);
		return;
	}
	_mm_mask_storeu_epi8(out + p->to[0], p->lane[0], _mm512_castsi512_si128(v));
	_mm_mask_storeu_epi8(out + p->to[1], p->lane[1], _mm512_extracti32x4_epi32(v, 1));
	_mm_mask_storeu_epi8(out + p->to[2], p->lane[2], _mm512_extracti32x4_epi32(v, 2));
	_mm_mask_storeu_epi8(out + p->to[3], p->lane[3], _mm512_extracti32x4_epi32(v, 3));
}

INLINED void finish_pixels(const struct band *b, size_t at, uint8_t *out, uint32_t groups, bool in, bool whole)
{
	struct quads s = sum_pixels(&b->pass, at, groups, in);

	put_bytes(&b->pass, finish_quads(b, &s), out, whole);
}

INLINED void finish_line_at(const struct band *b, size_t at, uint8_t *out, uint32_t count, uint32_t pixels,
	size_t from_step, size_t to_step, uint32_t groups, bool in, bool whole)
{
	for (uint32_t x = 0; x < count; x += pixels, at += from_step, out += to_step)
		finish_pixels(b, at, out, groups, in, whole);
}

/* @count: a multiple of @pixels */
static void finish_line(const struct band *b, size_t at, uint8_t *out, uint32_t count, uint32_t pixels,
	size_t from_step, size_t to_step)
{
	if (b->pass.groups != 3)
		finish_line_at(b, at, out, count, pixels, from_step, to_step, b->pass.groups, false, false);
	else if (b->whole_in && b->whole_out)
		finish_line_at(b, at, out, count, pixels, from_step, to_step, 3, true, true);
	else if (b->whole_in)
		finish_line_at(b, at, out, count, pixels, from_step, to_step, 3, true, false);
	else
		finish_line_at(b, at, out, count, pixels, from_step, to_step, 3, false, false);
}

static void band_start(struct band *b, const struct kernel_depthwise *d, const int8_t *weights,
	uint32_t channels, uint32_t pixels)
{
	struct pass lanes;

	set_lanes(&lanes, channels, pixels, 0, 0);
	start_pass(&b->pass, &lanes, weights, channels, d->taps, d->n_taps);
	set_lanes(&b->pass, channels, pixels, d->pixel_stride, d->output.stride);
	b->ceiling = _mm512_set1_ps((float) (d->output.high - d->output.zero_point));
	b->zero_point = _mm512_set1_epi16((int16_t) d->output.zero_point);
	b->low = _mm512_set1_epi8((char) d->output.low);
	weave_floats(&b->pass, d->output.gain, b->gain);
	weave_floats(&b->pass, d->output.bias, b->bias);
	b->whole_in = channels * pixels == 64 && (pixels == 1 || d->pixel_stride == channels);
	b->whole_out = channels * pixels == 64 && (pixels == 1 || d->output.stride == channels);
}

void depthwise_vnni_u8(const struct kernel_matrix *w, uint32_t row_bits, const struct kernel_depthwise *d)
{
	const uint32_t channels = w->rows, pixels = channels <= 16 ? 4 : channels <= 32 ? 2 : 1;
	const uint32_t together = d->width / pixels * pixels;
	struct band b, last;

	filters_decode(w, row_bits, d->n_taps, d->weights);
	band_start(&b, d, d->weights, channels, pixels);
	last = b;
	for (uint32_t i = LANES / pixels; i < LANES; i++)
		last.pass.lane[i] = 0;
	last.whole_in = last.whole_out = false;
	for (uint32_t y = 0; y < d->lines; y++) {
		const size_t at = y * d->line_stride;
		uint8_t *out = d->output.out + y * d->out_line;

		finish_line(&b, at, out, together, pixels, (size_t) pixels * d->pixel_stride,
			pixels * d->output.stride);
		finish_line(&last, at + (size_t) together * d->pixel_stride, out + together * d->output.stride,
			d->width - together, 1, d->pixel_stride, d->output.stride);
	}
}
