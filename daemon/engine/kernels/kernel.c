/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kernels/kernel.h"

#include <string.h>

#include "engine/kernels/rows.h"

const struct kernel kernel_table[] = {
#define KERNEL(op_, member_, name_, needs_, tile_, most_, sum_, level_, cost_, each_, fits_, scratch_, ...) \
	{.name = #name_,                                                                           \
		.op = KERNEL_##op_,                                                                \
		.needs = needs_,                                                                   \
		.columns_per_tile = tile_,                                                         \
		.columns_max = most_,                                                              \
		.sum = sum_,                                                                       \
		.level = level_,                                                                   \
		.cost = cost_,                                                                     \
		.cost_per_plane = each_,                                                           \
		.fits = fits_,                                                                     \
		.scratch = scratch_,                                                               \
		.member_ = name_,                                                                  \
		__VA_ARGS__},
#include "engine/kernels/kernels.inc"
#undef KERNEL
};

const uint32_t kernel_count = sizeof kernel_table / sizeof kernel_table[0];

bool kernel_takes(const struct kernel *k, const struct kernel_matrix *w, uint32_t columns)
{
	if (k->columns_max != 0 && (columns == 0 || columns > k->columns_max))
		return false;
	return !w || ((w->level ? k->level : k->sum) && (!k->fits || k->fits(w)));
}

bool kernel_multiplies(
	const struct kernel *k, const struct kernel_matrix *w, uint32_t columns, uint32_t bits)
{
	bool product = k->op == KERNEL_MATMUL || (k->op == KERNEL_MATMUL_BITS && bits <= KERNEL_BITS_MAX);

	return product && kernel_takes(k, w, columns);
}

const struct kernel *kernel_pick(
	enum kernel_op op, uint32_t cpu, const struct kernel_matrix *w, uint32_t columns)
{
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (k->op == op && !(k->needs & ~cpu) && kernel_takes(k, w, columns))
			return k;
	}
	return NULL;
}

uint32_t kernel_cost(const struct kernel *k, const struct kernel_matrix *w, uint32_t bits)
{
	return k->cost + k->cost_per_plane * w->planes * (k->op == KERNEL_MATMUL_BITS ? bits : 1);
}

const struct kernel *kernel_pick_product(
	uint32_t cpu, const struct kernel_matrix *w, uint32_t columns, uint32_t bits)
{
	const struct kernel *best = NULL;

	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (!kernel_multiplies(k, w, columns, bits) || (k->needs & ~cpu))
			continue;
		if (!best || kernel_cost(k, w, bits) < kernel_cost(best, w, bits))
			best = k;
	}
	return best;
}

/* One weight from the bits at @bit of each plane, in group @group of its row. */
static int32_t weight_at(const struct kernel_matrix *w, uint32_t row, uint32_t group, uint64_t bit)
{
	size_t at = (size_t) row * w->groups + group;
	uint32_t index = 0;
	int32_t sum;

	if (w->level) {
		for (uint32_t i = 0; i < w->planes; i++)
			index = index << 1 | bits_get(w->plane[i], bit);
		return w->level[(size_t) row * w->level_stride + index];
	}
	sum = w->base[at];
	for (uint32_t i = 0; i < w->planes; i++)
		sum += bits_get(w->plane[i], bit) ? w->step[at * w->planes + i] : 0;
	return sum;
}

static uint32_t group_of(const struct kernel_matrix *w, uint32_t column)
{
	return w->groups > 1 ? column / BITS_PER_WORD / w->group_words : 0;
}

int32_t kernel_weight(const struct kernel_matrix *w, uint32_t row, uint32_t column)
{
	return weight_at(w, row, group_of(w, column),
		(uint64_t) row * w->words * BITS_PER_WORD + column);
}

#define FILTER_TAPS 16

typedef int16_t taps_8 __attribute__((vector_size(16)));

/*
 * A row of up to FILTER_TAPS bits within one word, eight taps side by side: filters are short and many,
 * one weight after the other would take longer than the convolution.
 */
static void decode_filter(const struct kernel_matrix *w, uint32_t row, uint32_t row_bits, uint32_t taps,
	int8_t *weights)
{
	const taps_8 bit = {1, 2, 4, 8, 16, 32, 64, 128};
	uint64_t at = (uint64_t) row * row_bits;
	const int16_t *step = w->step + (size_t) row * w->planes;
	taps_8 sum[FILTER_TAPS / 8] = {};

	for (uint32_t i = 0; i < w->planes; i++) {
		const uint64_t bits = w->plane[i][at / BITS_PER_WORD] >> at % BITS_PER_WORD;

		sum[0] += (((int16_t) (bits & 255) & bit) != 0) & step[i];
		sum[1] += (((int16_t) (bits >> 8 & 255) & bit) != 0) & step[i];
	}
	sum[0] += w->base[row];
	sum[1] += w->base[row];
	for (uint32_t t = 0; t < taps; t++)
		weights[(size_t) t * w->rows + row] = (int8_t) sum[t / 8][t % 8];
}

void depthwise_decode(const struct kernel_matrix *w, uint32_t row_bits, uint32_t taps,
	int8_t *weights)
{
	if (!w->level && w->groups == 1 && taps <= FILTER_TAPS) {
		for (uint32_t r = 0; r < w->rows; r++)
			decode_filter(w, r, row_bits, taps, weights);
		return;
	}
	for (uint32_t r = 0; r < w->rows; r++)
		for (uint32_t t = 0; t < taps; t++)
			weights[(size_t) t * w->rows + r] = (int8_t) weight_at(w, r, group_of(w, t),
				(uint64_t) r * row_bits + t);
}

size_t kernel_scratch(const struct kernel_matrix *w, uint32_t columns)
{
	return KERNEL_SCRATCH_BYTES;
}

/*
 * x = n ln 2 + r with |r| <= ln 2 / 2: ln 2 is split so that n times its upper part is exact, e^r is the
 * Taylor polynomial of degree 6 (below 2e-7 relative there), 2^n goes into the exponent. Results that
 * would be subnormal are 0, so that no processor's flush mode shows.
 */
float kernel_exp(float x)
{
	uint32_t bits;
	float n, r, p, scale;

	if (!(x > -87.0f))
		return 0.0f;
	/* adding and taking away 1.5 * 2^23 leaves the nearest integer, ties to even */
	n = x * 1.44269504f + 12582912.0f;
	n = n - 12582912.0f;
	r = x - n * 0.693359375f;
	r = r - n * -2.12194440e-4f;
	p = 1.0f / 720.0f;
	p = p * r + 1.0f / 120.0f;
	p = p * r + 1.0f / 24.0f;
	p = p * r + 1.0f / 6.0f;
	p = p * r + 0.5f;
	p = p * r + 1.0f;
	p = p * r + 1.0f;
	bits = (uint32_t) ((int32_t) n + 127) << 23;
	memcpy(&scale, &bits, sizeof scale);
	return p * scale;
}
