/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QuantNet (methods A2): a small net of each layer makes nearly binary weights from the latent ones, so that
 * every gradient is exact. It widens a vector of weights, bends it, brings it back, and bends it again:
 *
 *	u = r / mean|W|		h = tanh(A1 u + c1)	q = tanh(s (u + A2 h + c2))	w^ = a_row q
 *
 * Both the weights and the small net are trained; a loss on 1 - |q| and a growing s bring q to -1 and 1.
 * Architecture and figures are a reconstruction: vectors are kernels, or runs of 16 weights; h is 8 times
 * as wide; A2 starts at zero, so that the start is a soft sign; the small net's rate is a tenth.
 *
 * After HARD of the run signs are taken, with scales that fit the soft weights best, and what is left
 * adapts to them. Several planes are not built: one is what the paper is about.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/train/loader.h"
#include "convert/train/method.h"

#define WIDEN 8
#define RUN 16
#define RUN_MAX 64
#define SHARP_LAST 8.0f
#define MU 0.5f
#define HARD 0.8

/**
 * struct quantnet - of one layer
 * @m: length of a vector; @d: width of the middle
 * @meta: A1 [d][m], c1 [d], A2 [m][d], c2 [m]; @meta_grad likewise
 * @q: [rows][columns]; @mean: mean magnitude of the layer
 * @scale: [rows]
 */
struct quantnet {
	uint32_t m, d, param;
	float *meta, *meta_grad, *q, *scale;
	float mean, sharp, mu;
	bool hard;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static int quantnet_init(struct train_layer *l, struct error *reterr)
{
	struct quantnet *n = l->own = calloc(1, sizeof *n);
	size_t meta;
	int r;

	if (!n)
		return -ENOMEM;
	n->m = l->taps > 1 && l->taps <= RUN_MAX ? l->taps : RUN;
	while (l->columns % n->m)
		n->m--;
	n->d = WIDEN * n->m;
	meta = 2 * (size_t) n->d * n->m + n->d + n->m;
	n->meta = calloc(meta, sizeof *n->meta);
	n->meta_grad = calloc(meta, sizeof *n->meta_grad);
	n->q = calloc(size_of(l), sizeof *n->q);
	n->scale = calloc(l->rows, sizeof *n->scale);
	if (!n->meta || !n->meta_grad || !n->q || !n->scale)
		return -ENOMEM;
	for (size_t i = 0; i < (size_t) n->d * n->m; i++)
		n->meta[i] = (float) ((double) (draw_u64(l->seed, i) >> 11) / 4503599627370496.0 - 1) *
			sqrtf(3 / (float) n->m);
	r = train_store_param(l->store, n->meta, n->meta_grad, meta, false, 0.1f);
	if (r < 0)
		return r;
	n->param = (uint32_t) r;
	r = train_store_block(l->store, n->scale, l->rows * sizeof *n->scale);
	return r < 0 ? r : train_store_block(l->store, n->q, size_of(l) * sizeof *n->q);
}

/* The middle of one vector: h[d]. */
static void widen(const struct quantnet *n, const float *u, float *h)
{
	const float *a1 = n->meta, *c1 = a1 + (size_t) n->d * n->m;

	for (uint32_t i = 0; i < n->d; i++) {
		float sum = c1[i];

		for (uint32_t k = 0; k < n->m; k++)
			sum += a1[(size_t) i * n->m + k] * u[k];
		h[i] = tanhf(sum);
	}
}

static void narrow(const struct quantnet *n, const float *u, const float *h, float *q)
{
	const float *a2 = n->meta + (size_t) n->d * n->m + n->d, *c2 = a2 + (size_t) n->d * n->m;

	for (uint32_t k = 0; k < n->m; k++) {
		float sum = u[k] + c2[k];

		for (uint32_t i = 0; i < n->d; i++)
			sum += a2[(size_t) k * n->d + i] * h[i];
		q[k] = tanhf(n->sharp * sum);
	}
}

static void run_vectors(struct train_layer *l)
{
	struct quantnet *n = l->own;
	float u[RUN_MAX], h[WIDEN * RUN_MAX];

	for (size_t i = 0; i < size_of(l); i += n->m) {
		for (uint32_t k = 0; k < n->m; k++)
			u[k] = l->weight[i + k] / n->mean;
		widen(n, u, h);
		narrow(n, u, h, n->q + i);
	}
}

/* Signs of the soft weights, and the scale that fits them best. */
static void harden(struct train_layer *l)
{
	struct quantnet *n = l->own;

	for (uint32_t row = 0; row < l->rows; row++) {
		float *q = n->q + (size_t) row * l->columns;
		double sum = 0;

		for (uint32_t t = 0; t < l->columns; t++) {
			sum += (double) fabsf(q[t]);
			q[t] = q[t] >= 0 ? 1 : -1;
		}
		n->scale[row] *= (float) (sum / l->columns);
	}
}

static void soft_scales(struct train_layer *l)
{
	struct quantnet *n = l->own;
	double all = 0;

	for (uint32_t row = 0; row < l->rows; row++) {
		double sum = 0;

		for (uint32_t t = 0; t < l->columns; t++)
			sum += (double) fabsf(l->weight[(size_t) row * l->columns + t]);
		n->scale[row] = (float) (sum / l->columns);
		all += sum;
	}
	n->mean = (float) (all / (double) size_of(l)) + 1e-8f;
}

static int quantnet_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct quantnet *n = l->own;
	float part = (float) fmin(m->t / HARD, 1);
	bool was = n->hard;

	n->hard = m->t >= HARD;
	l->store->params[l->param].frozen = l->store->params[n->param].frozen = n->hard;
	n->sharp = 1 + (SHARP_LAST - 1) * part;
	n->mu = MU * part;
	/* What was taken up from a checkpoint behind the turn is hard already. */
	if (n->hard && (was || n->q[0] * n->q[0] == 1))
		return 0;
	soft_scales(l);
	run_vectors(l);
	if (n->hard)
		harden(l);
	return 0;
}

static void quantnet_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct quantnet *n = l->own;

	for (size_t i = 0; i < size_of(l); i++)
		hat[i] = n->scale[i / l->columns] * n->q[i];
}

/* One vector: @dz, the gradient at the second bend's input, to everything before it. */
static void backward(struct quantnet *n, const float *u, const float *h, const float *dz, float *du)
{
	size_t half = (size_t) n->d * n->m;
	const float *a1 = n->meta, *a2 = n->meta + half + n->d;
	float *g1 = n->meta_grad, *gc1 = g1 + half, *g2 = gc1 + n->d, *gc2 = g2 + half;

	for (uint32_t k = 0; k < n->m; k++) {
		gc2[k] += dz[k];
		du[k] = dz[k];
	}
	for (uint32_t i = 0; i < n->d; i++) {
		float dh = 0;

		for (uint32_t k = 0; k < n->m; k++) {
			g2[(size_t) k * n->d + i] += dz[k] * h[i];
			dh += a2[(size_t) k * n->d + i] * dz[k];
		}
		dh *= 1 - h[i] * h[i];
		gc1[i] += dh;
		for (uint32_t k = 0; k < n->m; k++) {
			g1[(size_t) i * n->m + k] += dh * u[k];
			du[k] += a1[(size_t) i * n->m + k] * dh;
		}
	}
}

static void quantnet_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct quantnet *n = l->own;
	float u[RUN_MAX], h[WIDEN * RUN_MAX], dz[RUN_MAX], du[RUN_MAX];
	float push = 2 * n->mu / (float) size_of(l);

	if (n->hard)
		return;
	for (size_t i = 0; i < size_of(l); i += n->m) {
		for (uint32_t k = 0; k < n->m; k++) {
			float q = n->q[i + k], dq = n->scale[(i + k) / l->columns] * grad[i + k];

			dq -= push * (1 - fabsf(q)) * copysignf(1, q);
			dz[k] = dq * (1 - q * q) * n->sharp;
			u[k] = l->weight[i + k] / n->mean;
		}
		widen(n, u, h);
		backward(n, u, h, dz, du);
		for (uint32_t k = 0; k < n->m; k++)
			l->weight_grad[i + k] += du[k] / n->mean;
	}
}

static int quantnet_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct quantnet *n = l->own;
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, 1, false, reterr);

	if (r < 0)
		return r;
	memcpy(ret->alpha, n->scale, l->rows * sizeof *ret->alpha);
	for (size_t i = 0; i < size_of(l); i++)
		ret->codes[i] = n->q[i] >= 0;
	return 0;
}

static void quantnet_done(struct train_layer *l)
{
	struct quantnet *n = l->own;

	if (!n)
		return;
	free(n->meta);
	free(n->meta_grad);
	free(n->q);
	free(n->scale);
	free(n);
}

const struct train_method train_quantnet = {
	.name = "quantnet",
	.help = "one plane by a learned, differentiable quantizer (QuantNet)",
	.planes_min = 1,
	.planes_max = 1,
	.planes_default = 1,
	.init = quantnet_init,
	.prepare = quantnet_prepare,
	.weights = quantnet_weights,
	.gradient = quantnet_gradient,
	.codes = quantnet_codes,
	.done = quantnet_done,
};
