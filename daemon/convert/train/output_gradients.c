/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/output_gradients.h"

#include <errno.h>
#include <math.h>

#include "convert/export.h"
#include "convert/train/graph.h"
#include "convert/train/loader.h"
#include "convert/transform.h"

#define SAMPLES 64

/* One sample into the graph, which wants channels last. */
static int load(struct train_graph *g, struct samples *samples, uint32_t at, uint8_t *pixels, float *chw,
	struct error *reterr)
{
	const struct shape s = graph_shape(&g->net->values[g->net->input].shape);
	float *to = train_graph_input(g);
	size_t area = (size_t) s.height * s.width;
	int r = samples_chw(samples, at, pixels, chw);

	if (r < 0)
		return error_set(reterr, r, "the calibration data cannot be read");
	for (size_t i = 0; i < area; i++)
		for (uint32_t c = 0; c < s.channels; c++)
			to[i * s.channels + c] = chw[c * area + i];
	return 0;
}

/* Normal enough: the sum of twelve uniform numbers. */
static void draw_output(struct train_graph *g, uint32_t sample)
{
	struct train_value *out = train_graph_output(g);

	for (size_t i = 0; i < out->elements; i++) {
		double sum = -6;

		for (uint64_t k = 0; k < 12; k++)
			sum += (double) (draw_u64(sample, i * 12 + k) >> 11) * 0x1p-53;
		out->grad[i] = (float) sum;
	}
}

static void add(double *to, const struct train_matrix *m)
{
	for (size_t i = 0; i < m->rows; i++)
		for (size_t j = 0; j <= i; j++) {
			const float *a = m->grad + i * m->columns, *b = m->grad + j * m->columns;
			double sum = 0;

			for (size_t t = 0; t < m->columns; t++)
				sum += (double) a[t] * (double) b[t];
			to[i * m->rows + j] += sum;
			if (i != j)
				to[j * m->rows + i] += sum;
		}
}

static int allocate(double **ret, const struct train_graph *g)
{
	for (uint32_t i = 0; i < g->n_matrices; i++) {
		const struct train_matrix *m = &g->matrices[i];

		if (!transform_serves(g->net, m->node))
			continue;
		ret[m->node] = calloc((size_t) m->rows * m->rows, sizeof **ret);
		if (!ret[m->node])
			return -ENOMEM;
	}
	return 0;
}

int output_gradients(double **ret, const struct net *net, struct samples *samples, struct error *reterr)
{
	_cleanup_(train_graph_freep) struct train_graph *g = NULL;
	_cleanup_free_ uint8_t *pixels = malloc(samples_elements(samples));
	_cleanup_free_ float *chw = malloc(samples_elements(samples) * sizeof *chw);
	uint32_t all = dataset_count(samples->data), n = MIN_OF((uint32_t) SAMPLES, all);
	int r = pixels && chw ? train_graph_new(&g, net, 1, 1, NULL, true, reterr) : -ENOMEM;

	if (r >= 0)
		r = allocate(ret, g);
	for (uint32_t k = 0; r >= 0 && k < n; k++) {
		r = load(g, samples, (uint32_t) ((uint64_t) k * all / n), pixels, chw, reterr);
		if (r >= 0)
			r = train_graph_forward(g, reterr);
		if (r < 0)
			break;
		draw_output(g, k);
		r = train_graph_backward(g, reterr);
		for (uint32_t i = 0; r >= 0 && i < g->n_matrices; i++)
			if (ret[g->matrices[i].node])
				add(ret[g->matrices[i].node], &g->matrices[i]);
	}
	return r;
}
