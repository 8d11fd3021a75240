/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides are planes. With activation planes d_m in {0, 1}, a group contributes base * S + sum_i step_i *
 * P_i, where S = popcount(d_m) and P_i = popcount(plane_i & d_m), both weighted by 2^m.
 */
#include "engine/kernels/rows.h"

/* S, and P_i of all planes, of the @words words from @at (column) and @row_at (plane) */
static int32_t count_group(const struct kernel_matrix *w, const struct kernel_columns *x,
	const uint64_t *column, size_t row_at, uint32_t words, int32_t p[BITS_PLANES_MAX])
{
	int32_t s = 0;

	for (uint32_t i = 0; i < w->planes; i++)
		p[i] = 0;
	for (uint32_t m = 0; m < x->planes; m++)
		for (uint32_t k = 0; k < words; k++) {
			uint64_t d = column[(size_t) m * w->words + k];

			s += __builtin_popcountll(d) << m;
			for (uint32_t i = 0; i < w->planes; i++)
				p[i] += __builtin_popcountll(w->plane[i][row_at + k] & d) << m;
		}
	return s;
}

static int32_t dot(const struct kernel_matrix *w, const struct kernel_columns *x, uint32_t row,
	const uint64_t *column)
{
	int32_t sum = 0, p[BITS_PLANES_MAX];

	for (uint32_t g = 0; g < w->groups; g++) {
		uint32_t first = g * w->group_words, words = w->words - first;
		size_t at = (size_t) row * w->groups + g;
		int32_t s;

		if (words > w->group_words)
			words = w->group_words;
		s = count_group(w, x, column + first, (size_t) row * w->words + first, words, p);
		for (uint32_t i = 0; i < w->planes; i++)
			sum += w->step[at * w->planes + i] * p[i];
		sum += w->base[at] * s;
	}
	return sum;
}

void bitserial_scalar(const struct kernel_matrix *w, const struct kernel_columns *x, int32_t *acc,
	uint32_t acc_stride, void *scratch)
{
	size_t column_words = (size_t) x->planes * w->words;

	for (uint32_t n = 0; n < x->count; n++)
		for (uint32_t r = 0; r < w->rows; r++)
			acc[(size_t) n * acc_stride + r] = dot(w, x, r, x->bits + n * column_words);
}
