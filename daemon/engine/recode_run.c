/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of a re-encoding: count the codes of each group, fit, write the new codes. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/recode_fit.h"
#include "engine/recode_parts.h"

#define CODES_MAX (1 << BITS_PLANES_MAX)

/**
 * struct rows - one matrix that changes
 * @in, @out: where its part of each plane begins
 * @code_mean: [groups], means of what the codes of the row say, without offsets
 */
struct rows {
	const struct matrix *m;
	uint32_t kept;
	const uint64_t *in[BITS_PLANES_MAX];
	uint64_t *out[BITS_PLANES_MAX];
	double *code_mean;
};

/* Real columns of the word that begins at @column. */
static uint64_t column_mask(const struct matrix *m, uint32_t column)
{
	uint32_t left = m->columns - column;

	return left >= BITS_PER_WORD ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

/* Which columns of a word have each code; plane 0 is its most significant bit. */
static void find_codes(const struct rows *w, uint32_t row, uint32_t column, uint64_t has[CODES_MAX])
{
	const struct matrix *m = w->m;

	has[0] = column_mask(m, column);
	for (uint32_t i = 0; i < m->planes; i++) {
		uint64_t word = bits_word(w->in[i], row, m->row_bits, column);

		for (uint32_t c = UINT32_C(1) << i; c-- > 0;) {
			has[2 * c + 1] = has[c] & word;
			has[2 * c] = has[c] & ~word;
		}
	}
}

static void count_codes(const struct rows *w, uint32_t row, uint32_t begin, uint32_t end, uint32_t *counts)
{
	uint64_t has[CODES_MAX];

	for (uint32_t column = begin; column < end; column += BITS_PER_WORD) {
		find_codes(w, row, column, has);
		for (uint32_t c = 0; c < UINT32_C(1) << w->m->planes; c++)
			counts[c] += (uint32_t) __builtin_popcountll(has[c]);
	}
}

static void put_word(const struct rows *w, uint32_t plane, uint32_t row, uint32_t column, uint64_t word)
{
	uint64_t bit = (uint64_t) row * w->m->row_bits + column;

	/* The memory was zeros; short rows share a word. */
	w->out[plane][bit / BITS_PER_WORD] |= word << bit % BITS_PER_WORD;
}

static void write_codes(const struct rows *w, uint32_t row, uint32_t begin, uint32_t end, const uint8_t *map)
{
	uint64_t has[CODES_MAX];

	for (uint32_t column = begin; column < end; column += BITS_PER_WORD) {
		uint64_t word[BITS_PLANES_MAX] = {};

		find_codes(w, row, column, has);
		for (uint32_t c = 0; c < UINT32_C(1) << w->m->planes; c++)
			for (uint32_t i = 0; has[c] && i < w->kept; i++)
				word[i] |= map[c] >> (w->kept - 1 - i) & 1 ? has[c] : 0;
		for (uint32_t i = 0; i < w->kept; i++)
			put_word(w, i, row, column, word[i]);
	}
}

static void recode_group(struct rows *w, uint32_t row, uint32_t g, float *numbers, struct recode_sums *row_sums)
{
	const struct matrix *m = w->m;
	size_t group = (size_t) row * m->groups + g, groups = (size_t) m->rows * m->groups;
	uint32_t begin = g * m->group_columns, end = MIN_OF(begin + m->group_columns, m->columns);
	const float *alpha = m->alpha + group * m->planes;
	uint32_t counts[CODES_MAX] = {};
	double fitted[BITS_PLANES_MAX], offset;
	uint8_t map[CODES_MAX] = {};
	struct recode_points p;
	struct recode_sums sums;

	count_codes(w, row, begin, end, counts);
	recode_points(&p, counts, alpha, m->planes);
	recode_fit(&p, alpha, m->planes, w->kept, fitted, &offset, map, &sums);
	row_sums->variance += sums.variance;
	row_sums->error += sums.error;
	w->code_mean[g] = sums.mean - offset;
	write_codes(w, row, begin, end, map);
	for (uint32_t i = 0; i < w->kept; i++)
		numbers[group * w->kept + i] = (float) fitted[i];
	numbers[groups * w->kept + group] = (float) ((m->offset ? (double) m->offset[group] : 0) + offset);
}

/* Up by what the fits have lost, about the mean of each group. */
static void scale_row(const struct rows *w, uint32_t row, float *numbers, double gain)
{
	size_t groups = (size_t) w->m->rows * w->m->groups, first = (size_t) row * w->m->groups;

	for (size_t i = first * w->kept; i < (first + w->m->groups) * w->kept; i++)
		numbers[i] = (float) ((double) numbers[i] * gain);
	for (uint32_t g = 0; g < w->m->groups; g++)
		numbers[groups * w->kept + first + g] += (float) (w->code_mean[g] * (1 - gain));
}

static int recode_sum_coding(struct rows *w, float *numbers, const atomic_bool *cancel)
{
	_cleanup_free_ double *code_mean = malloc(w->m->groups * sizeof *code_mean);

	if (!code_mean)
		return -ENOMEM;
	w->code_mean = code_mean;
	for (uint32_t row = 0; row < w->m->rows; row++) {
		struct recode_sums sums = {};

		if (atomic_load_explicit(cancel, memory_order_relaxed))
			return -ECANCELED;
		for (uint32_t g = 0; g < w->m->groups; g++)
			recode_group(w, row, g, numbers, &sums);
		scale_row(w, row, numbers, recode_gain(&sums));
	}
	return 0;
}

static int recode_table(struct rows *w, uint32_t begin, uint32_t end, const float *level, float *ret)
{
	uint64_t all[CODES_MAX] = {};
	uint8_t map[CODES_MAX] = {};
	struct recode_sums sums;
	int k;

	for (uint32_t row = begin; row < end; row++) {
		uint32_t counts[CODES_MAX] = {};

		count_codes(w, row, 0, w->m->columns, counts);
		for (uint32_t c = 0; c < UINT32_C(1) << w->m->planes; c++)
			all[c] += counts[c];
	}
	k = recode_fit_levels(level, all, w->m->planes, w->kept, ret, map, &sums);
	if (k < 0)
		return k;
	for (uint32_t z = 0; z < UINT32_C(1) << w->kept; z++)
		ret[z] = (float) (sums.mean + ((double) ret[z] - sums.mean) * recode_gain(&sums));
	for (uint32_t row = begin; row < end; row++)
		write_codes(w, row, 0, w->m->columns, map);
	return 0;
}

static int recode_levels(struct rows *w, float *numbers, const atomic_bool *cancel)
{
	const struct matrix *m = w->m;
	int k = 0;

	if (m->shared_levels)
		return recode_table(w, 0, m->rows, m->level, numbers);
	for (uint32_t row = 0; k >= 0 && row < m->rows; row++)
		k = atomic_load_explicit(cancel, memory_order_relaxed)
			    ? -ECANCELED
			    : recode_table(w, row, row + 1, m->level + ((size_t) row << m->planes),
				      numbers + ((size_t) row << w->kept));
	return k;
}

/* A matrix that has no more planes than the width. */
static void copy_prefix(const struct rows *w)
{
	uint64_t words = bits_plane_words(w->m->rows, w->m->row_bits);

	for (uint32_t i = 0; i < w->kept && i < w->m->planes; i++)
		memcpy(w->out[i], w->in[i], words * sizeof(uint64_t));
}

static int recode_matrix(struct recode *r, uint32_t i, float *numbers, const atomic_bool *cancel)
{
	const struct matrix *m = &r->network->matrices[i];
	struct rows w = {.m = m, .kept = r->planes};

	for (uint32_t p = 0; p < m->planes; p++)
		w.in[p] = r->in[p]->words + m->plane_word;
	for (uint32_t p = 0; p < r->planes; p++)
		w.out[p] = r->out[p] + m->plane_word;
	if (!recode_changes(m, r->planes)) {
		copy_prefix(&w);
		return 0;
	}
	return m->coding == CODING_LEVEL ? recode_levels(&w, numbers, cancel)
					 : recode_sum_coding(&w, numbers, cancel);
}

int recode_run(struct recode *r, const atomic_bool *cancel)
{
	float *numbers = r->numbers;
	int k = 0;

	for (uint32_t i = 0; k >= 0 && i < r->network->n_matrices; i++) {
		if (!r->network->matrices[i].fixed)
			k = recode_matrix(r, i, numbers, cancel);
		numbers += recode_numbers(&r->network->matrices[i], r->planes);
	}
	return k;
}
