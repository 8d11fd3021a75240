/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/recode_fit.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/lower_matrix.h"

#define ROUNDS_MAX 20
/* A round that gains less ends its start. */
#define GAIN_MIN 1e-4
#define GRIDS 8

/* One way to say it: @alpha with the offset behind the last. */
struct fit {
	double alpha[LOWER_COLUMNS_MAX], error;
	uint8_t map[RECODE_POINTS_MAX]; /* by point */
};

void recode_points(struct recode_points *ret, const uint32_t *counts, const float *alpha, uint32_t planes)
{
	uint32_t n = 0;

	for (uint32_t c = 0; c < UINT32_C(1) << planes; c++) {
		double v = 0;

		if (counts[c] == 0)
			continue;
		for (uint32_t i = 0; i < planes; i++)
			v += c >> (planes - 1 - i) & 1 ? (double) alpha[i] : -(double) alpha[i];
		ret->value[n] = v;
		ret->count[n] = counts[c];
		ret->code[n++] = (uint8_t) c;
	}
	ret->n = n;
}

/* Values of all codes, the offset included. */
static void fill_levels(const double *alpha, uint32_t kept, double *level)
{
	level[0] = alpha[kept];
	for (uint32_t i = 0; i < kept; i++)
		level[0] -= alpha[i];
	for (uint32_t i = 0; i < kept; i++)
		for (uint32_t z = 0; z < UINT32_C(1) << i; z++)
			level[z | UINT32_C(1) << i] = level[z] + 2 * alpha[kept - 1 - i];
}

static void assign(const struct recode_points *p, const double *level, uint32_t n_levels, uint8_t *map)
{
	for (uint32_t t = 0; t < p->n; t++) {
		double best = fabs(p->value[t] - level[0]);
		uint32_t at = 0;

		for (uint32_t z = 1; z < n_levels; z++) {
			double d = fabs(p->value[t] - level[z]);

			at = d < best ? z : at;
			best = d < best ? d : best;
		}
		map[t] = (uint8_t) at;
	}
}

/* Least squares for a map: sums by code are all that the points have to say. */
static void refit(const struct recode_points *p, struct fit *f, uint32_t kept)
{
	double n[RECODE_POINTS_MAX], sum[RECODE_POINTS_MAX], gram[LOWER_COLUMNS_MAX][LOWER_COLUMNS_MAX];
	double right[LOWER_COLUMNS_MAX] = {}, squares = 0;
	uint32_t levels = UINT32_C(1) << kept;

	for (uint32_t z = 0; z < levels; z++)
		n[z] = sum[z] = 0;
	for (uint32_t t = 0; t < p->n; t++) {
		double s = p->count[t] * p->value[t];

		n[f->map[t]] += p->count[t];
		sum[f->map[t]] += s;
		squares += s * p->value[t];
	}
	for (uint32_t i = 0; i <= kept; i++)
		for (uint32_t j = i; j <= kept; j++)
			gram[i][j] = 0;
	for (uint32_t z = 0; z < levels; z++)
		for (uint32_t i = 0; i <= kept; i++) {
			bool plus = i == kept || z >> (kept - 1 - i) & 1;

			right[i] += plus ? sum[z] : -sum[z];
			for (uint32_t j = i; j <= kept; j++)
				gram[i][j] += (j == kept || z >> (kept - 1 - j) & 1) == plus ? n[z]
											  : -n[z];
		}
	lower_solve(kept + 1, gram, right, f->alpha);
	f->error = squares;
	for (uint32_t i = 0; i <= kept; i++)
		f->error -= right[i] * f->alpha[i];
}

/* From scales to codes to scales, until it gains no more. */
static void improve(const struct recode_points *p, struct fit *f, uint32_t kept)
{
	struct fit next = *f;

	for (int round = 0; round < ROUNDS_MAX; round++) {
		double level[RECODE_POINTS_MAX];

		fill_levels(f->alpha, kept, level);
		assign(p, level, UINT32_C(1) << kept, next.map);
		refit(p, &next, kept);
		if (next.error >= f->error * (1 - GAIN_MIN))
			break;
		*f = next;
	}
}

static void keep_better(struct fit *best, const struct fit *f)
{
	if (f->error < best->error)
		*best = *f;
}

/* The codes of the first planes, as they are. */
static void start_with_prefix(const struct recode_points *p, struct fit *f, uint32_t planes, uint32_t kept)
{
	for (uint32_t t = 0; t < p->n; t++)
		f->map[t] = p->code[t] >> (planes - kept);
	refit(p, f, kept);
}

/* Each plane the signs of what those before leave. */
static void start_greedily(const struct recode_points *p, struct fit *f, uint32_t kept)
{
	double left[RECODE_POINTS_MAX];

	memcpy(left, p->value, p->n * sizeof *left);
	memset(f->map, 0, p->n);
	for (uint32_t i = 0; i < kept; i++) {
		double sum = 0, n = 0;

		for (uint32_t t = 0; t < p->n; t++) {
			sum += p->count[t] * fabs(left[t]);
			n += p->count[t];
		}
		for (uint32_t t = 0; t < p->n; t++) {
			f->map[t] |= (uint8_t) ((left[t] >= 0) << (kept - 1 - i));
			left[t] -= left[t] >= 0 ? sum / n : -sum / n;
		}
	}
	refit(p, f, kept);
}

/* Even steps, with the outermost level at @part of the largest value. */
static void start_evenly(const struct recode_points *p, struct fit *f, uint32_t kept, double most, double part)
{
	double step = part * 2 * most / (1 << kept);

	for (uint32_t i = 0; i < kept; i++)
		f->alpha[i] = step / 2 * (1 << (kept - 1 - i));
	f->alpha[kept] = 0;
	f->error = INFINITY;
}

static void sum_points(const struct recode_points *p, struct recode_sums *ret)
{
	double n = 0, v = 0, vv = 0;

	for (uint32_t t = 0; t < p->n; t++) {
		n += p->count[t];
		v += p->count[t] * p->value[t];
		vv += p->count[t] * p->value[t] * p->value[t];
	}
	*ret = (struct recode_sums){.n = n, .mean = v / n, .variance = fmax(vv - v * v / n, 0)};
}

double recode_gain(const struct recode_sums *s)
{
	return s->error < s->variance / 2 ? s->variance / (s->variance - s->error) : s->variance > 0 ? 2 : 1;
}

void recode_fit(const struct recode_points *p, const float *alpha, uint32_t planes, uint32_t kept,
	double *ret_alpha, double *ret_offset, uint8_t *ret_map, struct recode_sums *ret)
{
	struct fit best, f;
	double most = 0;

	for (uint32_t t = 0; t < p->n; t++)
		most = fmax(most, fabs(p->value[t]));
	start_with_prefix(p, &best, planes, kept);
	improve(p, &best, kept);
	start_greedily(p, &f, kept);
	improve(p, &f, kept);
	keep_better(&best, &f);
	for (int i = 0; i < GRIDS; i++) {
		start_evenly(p, &f, kept, most, 0.3 + 0.1 * i);
		improve(p, &f, kept);
		keep_better(&best, &f);
	}
	memcpy(ret_alpha, best.alpha, kept * sizeof *ret_alpha);
	*ret_offset = best.alpha[kept];
	for (uint32_t t = 0; t < p->n; t++)
		ret_map[p->code[t]] = best.map[t];
	sum_points(p, ret);
	ret->error = fmax(best.error, 0);
}

/* Sums before each index, so that the error of a run of levels is three differences. */
struct sums {
	double n[RECODE_POINTS_MAX + 1], v[RECODE_POINTS_MAX + 1], vv[RECODE_POINTS_MAX + 1];
};

static void fill_sums(struct sums *s, const float *level, const uint64_t *counts, uint32_t n)
{
	s->n[0] = s->v[0] = s->vv[0] = 0;
	for (uint32_t i = 0; i < n; i++) {
		double c = (double) counts[i], v = (double) level[i];

		s->n[i + 1] = s->n[i] + c;
		s->v[i + 1] = s->v[i] + c * v;
		s->vv[i + 1] = s->vv[i] + c * v * v;
	}
}

static double run_error(const struct sums *s, uint32_t begin, uint32_t end)
{
	double n = s->n[end] - s->n[begin], v = s->v[end] - s->v[begin];

	return n > 0 ? fmax(s->vv[end] - s->vv[begin] - v * v / n, 0) : 0;
}

/* Where the last of @m runs over the first @i levels begins, for all m and i. Return: the least error */
static double best_runs(const struct sums *s, uint32_t n, uint32_t runs, uint8_t (*begin)[RECODE_POINTS_MAX + 1])
{
	double error[2][RECODE_POINTS_MAX + 1];

	for (uint32_t i = 0; i <= n; i++)
		error[1][i] = run_error(s, 0, i);
	for (uint32_t m = 2; m <= runs; m++) {
		double *now = error[m & 1];
		const double *before = error[~m & 1];

		for (uint32_t i = 0; i <= n; i++) {
			now[i] = INFINITY;
			for (uint32_t j = m - 1; j < i; j++) {
				double e = before[j] + run_error(s, j, i);

				if (e < now[i]) {
					now[i] = e;
					begin[m][i] = (uint8_t) j;
				}
			}
		}
	}
	return error[runs & 1][n];
}

int recode_fit_levels(const float *level, const uint64_t *counts, uint32_t planes, uint32_t kept,
	float *ret_level, uint8_t *ret_map, struct recode_sums *ret)
{
	uint32_t n = UINT32_C(1) << planes, runs = UINT32_C(1) << kept, end = n;
	_cleanup_free_ uint8_t(*begin)[RECODE_POINTS_MAX + 1] = malloc((runs + 1) * sizeof *begin);
	struct sums s;

	if (!begin)
		return -ENOMEM;
	fill_sums(&s, level, counts, n);
	*ret = (struct recode_sums){.n = s.n[n], .variance = run_error(&s, 0, n)};
	ret->mean = s.n[n] > 0 ? s.v[n] / s.n[n] : 0;
	ret->error = best_runs(&s, n, runs, begin);
	for (uint32_t m = runs; m > 0; m--) {
		uint32_t first = m > 1 ? begin[m][end] : 0;
		double weight = s.n[end] - s.n[first];

		/* One that nobody uses lies among its own. */
		ret_level[m - 1] = weight > 0 ? (float) ((s.v[end] - s.v[first]) / weight) : level[first];
		for (uint32_t i = first; i < end; i++)
			ret_map[i] = (uint8_t) (m - 1);
		end = first;
	}
	return 0;
}
