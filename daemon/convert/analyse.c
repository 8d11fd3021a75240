/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/analyse.h"

#include <errno.h>
#include <math.h>

static uint32_t layer_code(const struct matrix *m, const struct layer *l, uint32_t row, uint32_t column)
{
	uint32_t code = 0;

	for (uint32_t p = 0; p < l->planes; p++)
		code = code << 1 | bits_get(l->plane[p], (uint64_t) row * m->row_bits + column);
	return code;
}

int layer_weight(const struct matrix *m, const struct layer *l, uint32_t row, uint32_t column)
{
	size_t group = (size_t) row * m->groups + column / m->group_columns;
	uint32_t code = layer_code(m, l, row, column);
	int w;

	if (m->coding == CODING_LEVEL)
		return l->level[((size_t) (m->shared_levels ? 0 : row) << l->planes) + code];
	w = l->base[group];
	for (uint32_t p = 0; p < l->planes; p++)
		if (code >> (l->planes - 1 - p) & 1)
			w += l->step[group * l->planes + p];
	return w;
}

static uint32_t taps_of(const struct network *n, uint32_t matrix)
{
	for (uint32_t i = 0; i < n->n_ops; i++)
		if ((n->ops[i].kind == OP_CONVOLUTION || n->ops[i].kind == OP_DEPTHWISE) && n->ops[i].matrix == matrix)
			return n->ops[i].kernel_h * n->ops[i].kernel_w;
	return 1;
}

/* Mean and deviation of shares: @n units of @each weights, @zeros of each. */
static void spread(const uint32_t *zeros, size_t n, uint32_t each, double *ret_mean, double *ret_deviation)
{
	double sum = 0, square = 0;

	for (size_t i = 0; i < n; i++) {
		double share = (double) zeros[i] / each;

		sum += share;
		square += share * share;
	}
	*ret_mean = sum / (double) n;
	*ret_deviation = sqrt(fmax(square / (double) n - *ret_mean * *ret_mean, 0));
}

static void read_values(struct analysis *a, const uint64_t *count, const uint64_t *codes, double total)
{
	int largest = 0, smallest = 0;

	for (int v = 127; v > 0; v--)
		if (count[128 + v] + count[128 - v] > 0) {
			largest = MAX_OF(largest, v);
			smallest = v;
		}
	a->range_bits = smallest ? log2((double) largest / smallest) : 0;
	for (int v = 0; v < 256; v++)
		if (codes[v] > 0)
			a->occupancy -= (double) codes[v] / total * log2((double) codes[v] / total);
}

int analyse_matrix(struct analysis *ret, const struct model *m, uint32_t matrix)
{
	const struct matrix *x = &m->network->matrices[matrix];
	uint32_t taps = taps_of(m->network, matrix), channels = x->columns / taps;
	_cleanup_free_ uint32_t *rows = calloc(x->rows, sizeof *rows);
	_cleanup_free_ uint32_t *kernels = calloc((size_t) x->rows * channels, sizeof *kernels);
	struct analysis a = {0};
	uint64_t count[256] = {0}, codes[256] = {0};

	if (!rows || !kernels)
		return -ENOMEM;
	for (uint32_t r = 0; r < x->rows; r++)
		for (uint32_t c = 0; c < x->columns; c++) {
			int w = layer_weight(x, &m->layers[matrix], r, c);

			count[128 + w]++;
			codes[layer_code(x, &m->layers[matrix], r, c)]++;
			rows[r] += w == 0;
			kernels[(size_t) r * channels + c % channels] += w == 0;
		}
	spread(rows, x->rows, x->columns, &a.rows_mean, &a.rows_deviation);
	spread(kernels, (size_t) x->rows * channels, taps, &a.taps_mean, &a.taps_deviation);
	read_values(&a, count, codes, (double) x->rows * x->columns);
	*ret = a;
	return 0;
}
