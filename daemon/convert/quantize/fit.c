/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/fit.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/**
 * struct fit
 * @keys: order-preserving bits of the weight above its place, for sorting and for the way back
 * @sum: [n + 1], sums of the sorted weights before each
 * @order: codes by rising slope; nearly sorted from round to round
 */
struct fit {
	uint32_t n, n_max;
	uint64_t *keys;
	float *sorted;
	double *sum;
	struct fit_state state;
	uint32_t order[FIT_CODES_MAX], n_order;
};

/* cost(w) = intercept - 2 w slope, the same for all codes left out */
struct line {
	double slope, intercept;
};

int fit_new(struct fit **ret, uint32_t n_max)
{
	_cleanup_(fit_freep) struct fit *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	f->n_max = n_max;
	f->keys = calloc(n_max, sizeof *f->keys);
	f->sorted = calloc(n_max, sizeof *f->sorted);
	f->sum = calloc((size_t) n_max + 1, sizeof *f->sum);
	if (!f->keys || !f->sorted || !f->sum)
		return -ENOMEM;
	*ret = take_ptr(f);
	return 0;
}

struct fit *fit_free(struct fit *f)
{
	if (!f)
		return NULL;
	free(f->keys);
	free(f->sorted);
	free(f->sum);
	free(f);
	return NULL;
}

struct fit_state *fit_state(struct fit *f)
{
	return &f->state;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* Negative floats sort backwards by their bits: flip all of them, else just the sign. */
static uint64_t make_key(float w, uint32_t place)
{
	uint32_t bits;

	w += 0.0f; /* no -0, which would sort below 0 */
	memcpy(&bits, &w, sizeof bits);
	bits ^= bits >> 31 ? UINT32_MAX : UINT32_C(1) << 31;
	return (uint64_t) bits << 32 | place;
}

/* First place in [begin, end) whose weight is not below @w. */
static uint32_t find_border(const struct fit *f, uint32_t begin, uint32_t end, double w)
{
	while (begin < end) {
		uint32_t middle = begin + (end - begin) / 2;

		if (f->sorted[middle] < w)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

void fit_load(struct fit *f, const float *weights, uint32_t n)
{
	struct fit_state *s = &f->state;

	f->n = n;
	f->n_order = 0;
	s->error[0] = 0;
	for (uint32_t i = 0; i < n; i++) {
		f->keys[i] = make_key(weights[i], i);
		s->error[0] += (double) weights[i] * weights[i];
	}
	qsort(f->keys, n, sizeof *f->keys, compare_keys);
	for (uint32_t i = 0; i < n; i++) {
		f->sorted[i] = weights[(uint32_t) f->keys[i]];
		f->sum[i + 1] = f->sum[i] + f->sorted[i];
	}
	s->planes = 1;
	s->begin[0] = 0;
	s->end[0] = s->begin[1] = find_border(f, 0, n, 0);
	s->end[1] = n;
	fit_solve(f);
}

void fit_transform(double *x, uint32_t size)
{
	for (uint32_t half = 1; half < size; half *= 2)
		for (uint32_t i = 0; i < size; i += 2 * half)
			for (uint32_t j = i; j < i + half; j++) {
				double clear = x[j], set = x[j + half];

				x[j] = set + clear;
				x[j + half] = set - clear;
			}
}

/*
 * Cholesky of the Gram matrix: its leading blocks are those of the prefixes, so one factor serves
 * all widths. A plane that depends on earlier ones has no pivot and gets scale 0.
 */
static void solve_prefixes(struct fit_state *s, const double *count, const double *moment)
{
	double l[BITS_PLANES_MAX][BITS_PLANES_MAX] = {0}, y[BITS_PLANES_MAX];
	uint32_t k = s->planes;

	for (uint32_t i = 0; i < k; i++) {
		uint32_t bit_i = 1u << (k - 1 - i);
		double rest = moment[bit_i], pivot;

		for (uint32_t j = 0; j <= i; j++) {
			double g = i == j ? count[0] : count[bit_i | 1u << (k - 1 - j)];

			for (uint32_t m = 0; m < j; m++)
				g -= l[i][m] * l[j][m];
			if (j < i)
				l[i][j] = l[j][j] > 0 ? g / l[j][j] : 0;
			else
				l[i][i] = g > 1e-9 * count[0] ? sqrt(g) : 0;
		}
		for (uint32_t m = 0; m < i; m++)
			rest -= l[i][m] * y[m];
		pivot = l[i][i];
		y[i] = pivot > 0 ? rest / pivot : 0;
		s->error[i + 1] = s->error[i] - y[i] * y[i];
	}
	for (uint32_t p = 1; p <= k; p++)
		for (uint32_t i = p; i-- > 0;) {
			double rest = y[i];

			for (uint32_t j = i + 1; j < p; j++)
				rest -= l[j][i] * s->alpha[p][j];
			s->alpha[p][i] = l[i][i] > 0 ? rest / l[i][i] : 0;
		}
}

void fit_solve(struct fit *f)
{
	double count[FIT_CODES_MAX], moment[FIT_CODES_MAX];
	struct fit_state *s = &f->state;
	uint32_t size = 1u << s->planes;

	for (uint32_t c = 0; c < size; c++) {
		count[c] = s->end[c] - s->begin[c];
		moment[c] = f->sum[s->end[c]] - f->sum[s->begin[c]];
	}
	fit_transform(count, size);
	fit_transform(moment, size);
	solve_prefixes(s, count, moment);
}

double fit_scales(
	double *alpha, const float *weights, const uint8_t *codes, uint32_t n, uint32_t planes)
{
	double count[FIT_CODES_MAX] = {0}, moment[FIT_CODES_MAX] = {0};
	struct fit_state s = {.planes = planes};

	for (uint32_t t = 0; t < n; t++) {
		s.error[0] += (double) weights[t] * weights[t];
		moment[codes[t]] += weights[t];
		count[codes[t]]++;
	}
	fit_transform(count, 1u << planes);
	fit_transform(moment, 1u << planes);
	solve_prefixes(&s, count, moment);
	memcpy(alpha, s.alpha[planes], planes * sizeof *alpha);
	return s.error[planes];
}

/* What the codes of @planes planes mean with @alpha. */
static void make_values(double *values, const double *alpha, uint32_t planes)
{
	values[0] = 0;
	for (uint32_t p = 0; p < planes; p++)
		for (uint32_t c = 1u << p; c-- > 0;) {
			double v = values[c];

			values[2 * c] = v - alpha[p];
			values[2 * c + 1] = v + alpha[p];
		}
}

static void make_lines(struct line *lines, const struct fit_state *s, const double *lambda)
{
	uint32_t k = s->planes, size = 1u << k;
	double values[FIT_CODES_MAX];

	memset(lines, 0, size * sizeof *lines);
	for (uint32_t p = 1; p <= k; p++) {
		if (lambda[p - 1] == 0)
			continue;
		make_values(values, s->alpha[p], p);
		for (uint32_t c = 0; c < size; c++) {
			double v = values[c >> (k - p)];

			lines[c].slope += lambda[p - 1] * v;
			lines[c].intercept += lambda[p - 1] * v * v;
		}
	}
}

static void sort_by_slope(struct fit *f, const struct line *lines)
{
	uint32_t size = 1u << f->state.planes;

	if (f->n_order != size)
		for (uint32_t c = 0; c < size; c++)
			f->order[c] = c;
	f->n_order = size;
	for (uint32_t i = 1; i < size; i++) {
		uint32_t code = f->order[i], j = i;

		for (; j > 0 && lines[f->order[j - 1]].slope > lines[code].slope; j--)
			f->order[j] = f->order[j - 1];
		f->order[j] = code;
	}
}

static double crossing(const struct line *low, const struct line *high)
{
	return (high->intercept - low->intercept) / (2 * (high->slope - low->slope));
}

/* The lower envelope. Return: its number of codes; from[i] is where codes[i] begins to win. */
static uint32_t make_envelope(
	const struct fit *f, const struct line *lines, uint32_t *codes, double *from)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n_order; i++) {
		const struct line *new = &lines[f->order[i]];
		double start = -INFINITY;

		while (n > 0) {
			const struct line *top = &lines[codes[n - 1]];

			if (top->slope == new->slope) {
				if (top->intercept <= new->intercept)
					break;
				n--;
				continue;
			}
			start = crossing(top, new);
			if (start > from[n - 1])
				break;
			n--;
		}
		if (n > 0 && lines[codes[n - 1]].slope == new->slope)
			continue;
		codes[n] = f->order[i];
		from[n] = n == 0 ? -INFINITY : start;
		n++;
	}
	return n;
}

/* Return: whether a border moved. */
static bool assign_codes(struct fit *f, const double *lambda)
{
	struct line lines[FIT_CODES_MAX];
	uint32_t codes[FIT_CODES_MAX], begin[FIT_CODES_MAX] = {0}, end[FIT_CODES_MAX] = {0}, n;
	double from[FIT_CODES_MAX];
	struct fit_state *s = &f->state;
	size_t bytes = (sizeof *begin) << s->planes;
	bool moved;

	make_lines(lines, s, lambda);
	sort_by_slope(f, lines);
	n = make_envelope(f, lines, codes, from);
	for (uint32_t i = 0, at = 0; i < n; i++) {
		uint32_t next = i + 1 < n ? find_border(f, at, f->n, from[i + 1]) : f->n;

		if (next > at) {
			begin[codes[i]] = at;
			end[codes[i]] = next;
		}
		at = next;
	}
	moved = memcmp(begin, s->begin, bytes) != 0 || memcmp(end, s->end, bytes) != 0;
	memcpy(s->begin, begin, bytes);
	memcpy(s->end, end, bytes);
	return moved;
}

void fit_joint(struct fit *f, const double *lambda, uint32_t rounds)
{
	for (uint32_t i = 0; i < rounds && assign_codes(f, lambda); i++)
		fit_solve(f);
}

void fit_split(struct fit *f, uint32_t rounds)
{
	struct fit_state *s = &f->state;
	uint32_t k = s->planes, size = 1u << k, begin[FIT_CODES_MAX / 2], end[FIT_CODES_MAX / 2];
	double values[FIT_CODES_MAX];

	memcpy(begin, s->begin, size * sizeof *begin);
	memcpy(end, s->end, size * sizeof *end);
	make_values(values, s->alpha[k], k);
	s->planes = k + 1;
	s->alpha[k + 1][k] = 0;
	for (uint32_t i = 0; i < rounds; i++) {
		bool negative = s->alpha[k + 1][k] < 0;

		for (uint32_t c = 0; c < size; c++) {
			uint32_t border = find_border(f, begin[c], end[c], values[c]);
			uint32_t low = 2 * c + negative, high = 2 * c + !negative;

			s->begin[low] = begin[c];
			s->end[low] = s->begin[high] = border;
			s->end[high] = end[c];
		}
		fit_solve(f);
		make_values(values, s->alpha[k + 1], k);
	}
}

static void start_uniform(struct fit *f, uint32_t planes, const double *lambda)
{
	double largest = fmax(fabs((double) f->sorted[0]), fabs((double) f->sorted[f->n - 1]));
	struct fit_state *s = &f->state, best;

	s->planes = planes;
	best.error[planes] = INFINITY;
	for (int tenths = 6; tenths <= 20; tenths++) {
		double step = 0.05 * tenths * 2 * largest / (1u << planes);

		for (uint32_t i = 0; i < planes; i++)
			s->alpha[planes][i] = ldexp(step, (int) (planes - 2 - i));
		(void) assign_codes(f, lambda);
		fit_solve(f);
		if (s->error[planes] < best.error[planes])
			best = *s;
	}
	*s = best;
}

void fit_alternate(struct fit *f, uint32_t planes, uint32_t rounds)
{
	double lambda[BITS_PLANES_MAX] = {0};
	struct fit_state *s = &f->state, greedy;

	lambda[planes - 1] = 1;
	while (s->planes < planes)
		fit_split(f, 1);
	if (planes == 1)
		return;
	fit_joint(f, lambda, rounds);
	greedy = *s;
	start_uniform(f, planes, lambda);
	fit_joint(f, lambda, rounds);
	if (greedy.error[planes] <= s->error[planes])
		*s = greedy;
}

void fit_store(struct fit *f, float *alpha, uint8_t *codes)
{
	const struct fit_state *s = &f->state;
	uint32_t flip = 0;

	for (uint32_t i = 0; i < s->planes; i++) {
		double a = s->alpha[s->planes][i];

		alpha[i] = (float) fabs(a);
		if (a < 0)
			flip |= 1u << (s->planes - 1 - i);
	}
	for (uint32_t c = 0; c < 1u << s->planes; c++)
		for (uint32_t i = s->begin[c]; i < s->end[c]; i++)
			codes[(uint32_t) f->keys[i]] = (uint8_t) (c ^ flip);
}
