/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free levels by k-means (methods A4, S6). In one dimension a cluster is an interval of the sorted
 * weights and dynamic programming finds the best ones; of many weights on equally full runs of
 * them, after which Lloyd's iteration settles the borders. Sums come from prefix sums.
 *
 * hessian-kmeans (methods B9, "Towards the limit of network quantization") weighs each squared error by the
 * second derivative of the loss. Without labels that of the layer's own output stands for it: the mean square
 * of the weight's input.
 */
#include <errno.h>
#include <math.h>

#include "base/cleanup.h"
#include "convert/quantize/method.h"

#define ROUNDS_MAX 400
#define POINTS_MAX 2048

struct point {
	float w, mass;
};

/* Points in order; @sum of mass * w and @mass before each. */
struct sorted {
	size_t n;
	struct point *points;
	double *sum, *mass;
};

static int compare_points(const void *a, const void *b)
{
	float x = ((const struct point *) a)->w, y = ((const struct point *) b)->w;

	return (x > y) - (x < y);
}

static double mean_of(const struct sorted *s, size_t begin, size_t end)
{
	return (s->sum[end] - s->sum[begin]) / (s->mass[end] - s->mass[begin]);
}

static size_t find_border(const struct sorted *s, size_t begin, double w)
{
	size_t end = s->n;

	while (begin < end) {
		size_t middle = begin + (end - begin) / 2;

		if ((double) s->points[middle].w < w)
			begin = middle + 1;
		else
			end = middle;
	}
	return begin;
}

/* One round. Empty clusters keep their level. Return: sum over clusters of sum^2 / n, which rises
 * to the best */
static double move_levels(const struct sorted *s, double *levels, uint32_t n)
{
	double gain = 0, next;
	size_t begin = 0;

	for (uint32_t i = 0; i < n; i++) {
		size_t end =
			i + 1 < n ? find_border(s, begin, (levels[i] + levels[i + 1]) / 2) : s->n;

		if (end > begin) {
			next = mean_of(s, begin, end);
			gain += next * next * (s->mass[end] - s->mass[begin]);
			levels[i] = next;
		}
		begin = end;
	}
	return gain;
}

static void iterate(const struct sorted *s, double *levels, uint32_t n)
{
	double gain = -1, last;
	uint32_t round = 0;

	do {
		last = gain;
		gain = move_levels(s, levels, n);
	} while (gain > last && ++round < ROUNDS_MAX);
}

/*
 * The optimal levels of at most POINTS_MAX points by dynamic programming: best[m][j] is the largest
 * gain of the first j points in m intervals. Where its last interval begins never moves left as j
 * grows, so halving the range of j finds a whole row in points * log(points) steps.
 */
struct search {
	const struct sorted *s;
	uint32_t points;
	const double *last;
	double *best;
	uint16_t *from;
};

static size_t point_border(const struct search *d, uint32_t j)
{
	return d->s->n * j / d->points;
}

static void search_row(
	const struct search *d, uint32_t low, uint32_t high, uint32_t from_low, uint32_t from_high)
{
	uint32_t j = (low + high) / 2, end = MIN_OF(j, from_high);
	size_t border = point_border(d, j);

	if (low > high)
		return;
	d->best[j] = -INFINITY;
	for (uint32_t i = from_low; i <= end; i++) {
		size_t begin = point_border(d, i);
		double sum = d->s->sum[border] - d->s->sum[begin];
		double gain =
			d->last[i] + (border > begin
					? sum * sum / (d->s->mass[border] - d->s->mass[begin]) : 0);

		if (gain > d->best[j]) {
			d->best[j] = gain;
			d->from[j] = (uint16_t) i;
		}
	}
	if (j > low)
		search_row(d, low, j - 1, from_low, d->from[j]);
	search_row(d, j + 1, high, d->from[j], from_high);
}

static int start_optimal(const struct sorted *s, double *levels, uint32_t n)
{
	uint32_t points = (uint32_t) MIN_OF(s->n, (size_t) POINTS_MAX), row = points + 1;
	_cleanup_free_ double *best = calloc(2 * (size_t) row, sizeof *best);
	_cleanup_free_ uint16_t *from = calloc((size_t) n * row, sizeof *from);
	struct search d = {.s = s, .points = points};

	if (!best || !from)
		return -ENOMEM;
	for (uint32_t j = 1; j < row; j++)
		best[row + j] = -INFINITY; /* no interval holds no point but the empty sum */
	for (uint32_t m = 0; m < n; m++) {
		d.last = best + (m % 2 ? 0 : row);
		d.best = best + (m % 2 ? row : 0);
		d.from = from + (size_t) m * row;
		search_row(&d, 0, points, 0, points);
	}
	for (uint32_t m = n, j = points; m-- > 0; j = from[(size_t) m * row + j]) {
		size_t begin = point_border(&d, from[(size_t) m * row + j]),
		       end = point_border(&d, j);
		size_t edge = MIN_OF(end, s->n - 1);

		levels[m] = end > begin ? mean_of(s, begin, end) : (double) s->points[edge].w;
	}
	return 0;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Inputs that were never seen still weigh a little, or an interval of them would have no mean. */
static void sort_points(struct sorted *s, const struct span *span)
{
	double total = 0, least;

	for (size_t i = 0; span->importance && i < s->n; i++)
		total += (double) span->importance[i];
	least = total > 0 ? 1e-6 * total / (double) s->n : 1;
	for (size_t i = 0; i < s->n; i++)
		s->points[i] = (struct point){span->weights[i],
			span->importance ? (float) ((double) span->importance[i] + least) : 1};
	qsort(s->points, s->n, sizeof *s->points, compare_points);
	for (size_t i = 0; i < s->n; i++) {
		s->sum[i + 1] = s->sum[i] + (double) s->points[i].mass * (double) s->points[i].w;
		s->mass[i + 1] = s->mass[i] + (double) s->points[i].mass;
	}
}

static int choose_levels(float *levels, const struct span *span, uint32_t planes)
{
	_cleanup_free_ struct point *points = malloc(span->n * sizeof *points);
	_cleanup_free_ double *sums = calloc(2 * (span->n + 1), sizeof *sums);
	struct sorted s = {.n = span->n, .points = points, .sum = sums, .mass = sums + span->n + 1};
	double best[1 << BITS_PLANES_MAX];
	uint32_t n = 1u << planes;
	int r;

	if (!points || !sums)
		return -ENOMEM;
	sort_points(&s, span);
	r = start_optimal(&s, best, n);
	if (r < 0)
		return r;
	iterate(&s, best, n);
	/* A level that lost all its weights may have been overtaken by a neighbour. */
	qsort(best, n, sizeof *best, compare_doubles);
	for (uint32_t i = 0; i < n; i++)
		levels[i] = (float) best[i];
	return 0;
}

int quantize_kmeans(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	struct quantize_options plain = *options;

	plain.importance = NULL;
	return quantize_levels(ret, weights, rows, columns, &plain, choose_levels, reterr);
}

int quantize_hessian_kmeans(struct coded *ret, const float *weights, uint32_t rows, uint32_t columns,
	const struct quantize_options *options, struct error *reterr)
{
	return quantize_levels(ret, weights, rows, columns, options, choose_levels, reterr);
}
