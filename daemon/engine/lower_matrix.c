/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lower_matrix.h"

#include <errno.h>
#include <math.h>

#include "engine/lower.h"
#include "engine/lower_count.h"

#define WEIGHT_MAX 127

/*
 * rint() to nearest even without a call: adding 1.5 * 2^52 leaves no room for a fraction. Exact for
 * magnitudes below 2^51.
 */
static inline int32_t round_even(double x)
{
	const double shift = 0x1.8p52;

	return (int32_t) ((x + shift) - shift);
}

/* Memory for one row; @counts also holds codes. */
struct scratch {
	uint32_t *counts;     /* [pairs + ones][groups] */
	double *alpha;	      /* [groups][kept] */
	double *offset;	      /* [groups] */
	double *level;	      /* [1 << kept] */
	uint64_t *codes;      /* [1 << planes] */
};

static void scratch_done(struct scratch *s)
{
	free(s->counts);
	free(s->alpha);
	free(s->offset);
	free(s->level);
	free(s->codes);
}

static int scratch_init(struct scratch *s, const struct matrix *m)
{
	size_t levels = (size_t) 1 << m->planes;

	s->counts = malloc((lower_pairs(m->planes, m->planes) + m->planes) * sizeof *s->counts * m->groups);
	s->alpha = malloc(m->planes * sizeof *s->alpha * m->groups);
	s->offset = malloc(m->groups * sizeof *s->offset);
	s->level = malloc(levels * sizeof *s->level);
	s->codes = malloc(levels * sizeof *s->codes);
	return s->counts && s->alpha && s->offset && s->level && s->codes ? 0 : -ENOMEM;
}

static uint32_t group_size(const struct matrix *m, uint32_t group)
{
	return MIN_OF(m->group_columns, m->columns - group * m->group_columns);
}

/*
 * Inner products of the kept planes (and the ones column) with everything to their right in the upper
 * triangle; the rest is not needed.
 */
static void fill_gram(const struct matrix *m, uint32_t kept, bool ones, const uint32_t *counts,
	uint32_t group, double gram[9][9])
{
	double n = group_size(m, group);
	const uint32_t *p = counts + group;

	for (uint32_t i = 0; i < kept; i++) {
		gram[i][i] = n;
		for (uint32_t j = i + 1; j < m->planes; j++, p += m->groups)
			gram[i][j] = n - 2.0 * *p;
	}
	gram[m->planes][m->planes] = n;
	for (uint32_t i = 0; i < kept; i++)
		gram[i][m->planes] = 0;
	for (uint32_t i = 0; ones && i < m->planes; i++, p += m->groups)
		gram[i][m->planes] = gram[m->planes][i] = 2.0 * *p - n;
}

static void refit_one(const struct matrix *m, const uint32_t *counts, uint32_t group, const float *stored,
	double *ret)
{
	double n = group_size(m, group), r = 0;

	for (uint32_t j = 1; j < m->planes; j++)
		r += (n - 2.0 * counts[(j - 1) * m->groups + group]) * (double) stored[j];
	ret[0] = (double) stored[0] + r / n;
}

/* The usual step down to two planes in closed form: a row of a large matrix has dozens of groups. */
static void refit_two(const struct matrix *m, const uint32_t *counts, uint32_t group, const float *stored,
	double *ret)
{
	double n = group_size(m, group), g01, r0 = 0, r1 = 0, pivot, x1;
	const uint32_t *first = counts + group, *second = first + (m->planes - 1) * m->groups;

	g01 = n - 2.0 * first[0];
	for (uint32_t j = 2; j < m->planes; j++) {
		r0 += (n - 2.0 * first[(j - 1) * m->groups]) * (double) stored[j];
		r1 += (n - 2.0 * second[(j - 2) * m->groups]) * (double) stored[j];
	}
	pivot = n * n - g01 * g01;
	x1 = pivot > 0 ? (n * r1 - g01 * r0) / pivot : 0;
	ret[0] = (double) stored[0] + (r0 - g01 * x1) / n;
	ret[1] = (double) stored[1] + x1;
}

static void refit_group(const struct lower_matrix *l, const struct scratch *s, uint32_t group,
	const float *stored, double *ret_offset)
{
	double gram[9][9], alpha[BITS_PLANES_MAX];
	const struct matrix *m = l->matrix;
	bool ones = m->offset;

	fill_gram(m, l->kept, ones, s->counts, group, gram);
	for (uint32_t i = 0; i < m->planes; i++)
		alpha[i] = (double) stored[i];
	lower_refit_scales(gram, m->planes, l->kept, alpha, ones, s->alpha + (size_t) group * l->kept,
		ret_offset);
}

/* Real scales of one row as the file has them for this width. */
static void take_row(const struct lower_matrix *l, const struct scratch *s, uint32_t row)
{
	const struct matrix *m = l->matrix;
	size_t first = (size_t) row * m->groups;
	const float *stored = l->kept == m->planes ? m->alpha : m->alpha_at + matrix_alpha_at(m, l->kept);

	for (size_t i = 0; i < (size_t) m->groups * l->kept; i++)
		s->alpha[i] = (double) stored[first * l->kept + i];
	for (uint32_t g = 0; g < m->groups; g++)
		s->offset[g] = m->offset ? (double) m->offset[first + g] : 0;
}

/* Real scales of one row at a width that has none of its own. */
static void fit_row(const struct lower_matrix *l, const struct scratch *s, uint32_t row)
{
	const struct matrix *m = l->matrix;
	size_t first = (size_t) row * m->groups;
	const float *stored = m->alpha + first * m->planes;

	lower_count_pairs(m, l->planes, row, l->kept, s->counts);
	if (m->offset)
		lower_count_ones(m, l->planes, row, m->planes,
			s->counts + (size_t) lower_pairs(m->planes, l->kept) * m->groups);
	for (uint32_t g = 0; g < m->groups; g++, stored += m->planes) {
		double increase = 0, *alpha = s->alpha + (size_t) g * l->kept;

		if (l->kept == 1 && !m->offset)
			refit_one(m, s->counts, g, stored, alpha);
		else if (l->kept == 2 && !m->offset)
			refit_two(m, s->counts, g, stored, alpha);
		else
			refit_group(l, s, g, stored, &increase);
		s->offset[g] = (m->offset ? (double) m->offset[first + g] : 0) + increase;
	}
}

static double reach(const double *alpha, uint32_t kept, double offset)
{
	double sum = fabs(offset);

	for (uint32_t i = 0; i < kept; i++)
		sum += fabs(alpha[i]);
	return sum;
}

/* Lowers by one the magnitude of the step that rounding has moved up most, or raises the one moved down most. */
static void give_way(const double *exact, int32_t *size, uint32_t kept, int32_t by)
{
	double most = -INFINITY;
	uint32_t at = 0;

	for (uint32_t i = 0; i < kept; i++) {
		double moved = (exact[i] - size[i]) * by;

		if (size[i] + by >= 0 && moved > most) {
			most = moved;
			at = i;
		}
	}
	size[at] += by;
}

/* Which way costs less to change the parity of the sum. */
static int32_t parity_step(const double *exact, const int32_t *size, uint32_t kept)
{
	double up = -INFINITY, down = -INFINITY;

	for (uint32_t i = 0; i < kept; i++) {
		up = fmax(up, exact[i] - size[i]);
		if (size[i] > 0)
			down = fmax(down, size[i] - exact[i]);
	}
	return up >= down ? 1 : -1;
}

/* Magnitudes of steps whose sum is at most @limit and, like it, even or odd. Return: the sum */
static int32_t round_steps(const double *exact, int32_t *size, uint32_t kept, int32_t limit)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < kept; i++) {
		size[i] = round_even(exact[i]);
		sum += size[i];
	}
	for (; sum > limit; sum--)
		give_way(exact, size, kept, -1);
	if ((limit - sum) % 2 != 0) {
		int32_t by = parity_step(exact, size, kept);

		give_way(exact, size, kept, by);
		sum += by;
	}
	return sum;
}

static void round_group(const double *alpha, double offset, uint32_t kept, double scale, int16_t *ret_step,
	int8_t *ret_base)
{
	/* Twice the centre: the sum of steps has its parity, so that the centre is exact. */
	int32_t size[BITS_PLANES_MAX], twice = scale > 0 ? round_even(2 * offset / scale) : 0, base;
	double exact[BITS_PLANES_MAX];

	for (uint32_t i = 0; i < kept; i++)
		exact[i] = scale > 0 ? 2 * fabs(alpha[i]) / scale : 0;
	base = (twice - round_steps(exact, size, kept, 2 * WEIGHT_MAX - abs(twice))) / 2;
	for (uint32_t i = 0; i < kept; i++) {
		base += alpha[i] < 0 ? size[i] : 0;
		ret_step[i] = (int16_t) (alpha[i] < 0 ? -size[i] : size[i]);
	}
	*ret_base = (int8_t) base;
}

/* The sum of the integer weights of a row of sum coding. */
static double sum_of_row(const struct lower_matrix *l, const struct scratch *s, uint32_t row)
{
	const struct matrix *m = l->matrix;
	size_t first = (size_t) row * m->groups;
	int64_t sum = 0;

	lower_count_ones(m, l->planes, row, l->kept, s->counts);
	for (uint32_t g = 0; g < m->groups; g++) {
		int64_t n = group_size(m, g);

		sum += l->base[first + g] * n;
		for (uint32_t i = 0; i < l->kept; i++)
			sum += l->step[(first + g) * l->kept + i] *
				(int64_t) s->counts[(size_t) i * m->groups + g];
	}
	return (double) sum;
}

/* @sum: of the row's integer weights. Double throughout, rounded once. */
static int set_gain(const struct lower_matrix *l, uint32_t row, double scale, double sum,
	struct error *reterr)
{
	const struct matrix *m = l->matrix;
	size_t at = (size_t) (l->kept - 1) * m->rows + row;
	double gain_at = m->gain_at ? (double) m->gain_at[at] : 1;
	double bias_at = m->bias_at ? (double) m->bias_at[at] : (double) m->bias[row];
	double gain = gain_at * scale * l->scale_in / l->scale_out;

	l->gain[row] = (float) gain;
	l->bias[row] = (float) (bias_at / l->scale_out - gain * l->zero_in * sum);
	if (!isfinite(l->gain[row]) || !isfinite(l->bias[row]))
		return error_set(reterr, -EBADMSG, "row %u: gain or bias is not finite", row);
	return 0;
}

static int lower_sum_row(const struct lower_matrix *l, const struct scratch *s, uint32_t row,
	struct error *reterr)
{
	const struct matrix *m = l->matrix;
	size_t first = (size_t) row * m->groups;
	double most = 0, scale;

	if (lower_needs_refit(m, l->kept))
		fit_row(l, s, row);
	else
		take_row(l, s, row);
	for (uint32_t g = 0; g < m->groups; g++)
		most = fmax(most, reach(s->alpha + (size_t) g * l->kept, l->kept, s->offset[g]));
	scale = most / WEIGHT_MAX;
	for (uint32_t g = 0; g < m->groups; g++)
		round_group(s->alpha + (size_t) g * l->kept, s->offset[g], l->kept, scale,
			l->step + (first + g) * l->kept, l->base + first + g);
	return set_gain(l, row, scale, l->zero_in != 0 ? sum_of_row(l, s, row) : 0, reterr);
}

/*
 * Levels of the first planes: each is the mean of the levels below it, weighted by how often they occur
 * (methods D4.5). One that nobody uses is the plain mean, so that levels keep ascending.
 */
static void merge_levels(const float *stored, const uint64_t *codes, uint32_t planes, uint32_t kept,
	double *ret)
{
	uint32_t below = UINT32_C(1) << (planes - kept);

	for (uint32_t c = 0; c < UINT32_C(1) << kept; c++) {
		double sum = 0, plain = 0, n = 0;

		for (uint32_t i = c * below; i < (c + 1) * below; i++) {
			sum += (double) codes[i] * (double) stored[i];
			n += (double) codes[i];
			plain += (double) stored[i];
		}
		ret[c] = n > 0 ? sum / n : plain / below;
	}
}

static void clear_codes(const struct scratch *s, uint32_t planes)
{
	for (uint32_t i = 0; i < UINT32_C(1) << planes; i++)
		s->codes[i] = 0;
}

/* Integer levels of one table, for the rows @begin to @end. Return: their scale */
static double lower_table(const struct lower_matrix *l, const struct scratch *s, const float *stored,
	uint32_t begin, uint32_t end, int8_t *ret)
{
	const struct matrix *m = l->matrix;
	uint32_t levels = UINT32_C(1) << l->kept;
	double most = 0, scale;

	clear_codes(s, m->planes);
	if (l->kept < m->planes)
		for (uint32_t row = begin; row < end; row++)
			lower_count_codes(m, l->planes, row, m->planes, s->codes);
	merge_levels(stored, s->codes, m->planes, l->kept, s->level);
	for (uint32_t c = 0; c < levels; c++)
		most = fmax(most, fabs(s->level[c]));
	scale = most / WEIGHT_MAX;
	for (uint32_t c = 0; c < levels; c++)
		ret[c] = (int8_t) (scale > 0 ? round_even(s->level[c] / scale) : 0);
	return scale;
}

static double sum_of_level_row(const struct lower_matrix *l, const struct scratch *s, uint32_t row,
	const int8_t *level)
{
	int64_t sum = 0;

	clear_codes(s, l->kept);
	lower_count_codes(l->matrix, l->planes, row, l->kept, s->codes);
	for (uint32_t c = 0; c < UINT32_C(1) << l->kept; c++)
		sum += (int64_t) s->codes[c] * level[c];
	return (double) sum;
}

static int lower_levels(const struct lower_matrix *l, const struct scratch *s, struct error *reterr)
{
	const struct matrix *m = l->matrix;
	const float *stored = m->level;
	int8_t *level = l->level;
	double scale = 0;
	int r = 0;

	for (uint32_t row = 0; r >= 0 && row < m->rows; row++) {
		if (!m->shared_levels) {
			stored = m->level + ((size_t) row << m->planes);
			level = l->level + ((size_t) row << l->kept);
		}
		if (!m->shared_levels || row == 0)
			scale = lower_table(l, s, stored, row, m->shared_levels ? m->rows : row + 1, level);
		r = set_gain(l, row, scale, l->zero_in != 0 ? sum_of_level_row(l, s, row, level) : 0,
			reterr);
	}
	return r;
}

int lower_matrix_run(const struct lower_matrix *l, struct error *reterr)
{
	_cleanup_(scratch_done) struct scratch s = {0};
	int r;

	r = scratch_init(&s, l->matrix);
	if (r < 0)
		return r;
	if (l->matrix->coding == CODING_LEVEL)
		return lower_levels(l, &s, reterr);
	for (uint32_t row = 0; r >= 0 && row < l->matrix->rows; row++)
		r = lower_sum_row(l, &s, row, reterr);
	return r;
}
