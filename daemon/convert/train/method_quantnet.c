/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QuantNet (methods A2): a small net of each layer makes nearly binary weights from the latent ones, so that
 * every gradient is exact. It widens a vector of weights, bends it, brings it back, and bends it again:
 *
 *	u = r / mean|R|		h = tanh(A1 u + c1)	q = tanh(s (u + A2 h + c2))	w^ = a_row q
 *
 * Both the weights and the small net are trained; a loss on 1 - |q| and a growing s bring q to -1 and 1.
 * Architecture and figures are a reconstruction: vectors are kernels, or runs of 16 weights; h is 8 times
 * as wide; A2 starts at zero, so that the start is a soft sign; the small net's rate is a tenth.
 *
 * More planes are small nets in a row: each sees what those before it left of the weights, r = w - sum a q,
 * and all are trained through that chain. Scales are constants to the gradient: the first one is the mean
 * magnitude of a row as with one plane, the others fit what is left of it by least squares.
 *
 * After HARD of the run signs are taken, with the scales that together fit the soft weights best, and what is
 * left adapts to them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/train/loader.h"
#include "convert/train/method.h"

#define PLANES_MAX 4
#define WIDEN 8
#define RUN 16
#define RUN_MAX 64
#define SHARP_LAST 8.0f
#define MU 0.5f
#define HARD 0.8

/**
 * struct small - the net of one plane
 * @value: A1 [d][m], c1 [d], A2 [m][d], c2 [m]; @grad likewise
 * @param: its index in the store
 */
struct small {
	float *value, *grad;
	uint32_t param;
};

/**
 * struct quantnet - of one layer
 * @m: length of a vector; @d: width of the middle
 * @q: [planes][rows][columns]; @rest: [rows][columns], what all planes leave of the latent weights
 * @scale: [planes][rows]
 * @mean: of each plane, mean magnitude of what it sees
 * @hard: q are signs and stay
 */
struct quantnet {
	uint32_t m, d;
	struct small small[PLANES_MAX];
	float *q, *rest, *scale, mean[PLANES_MAX], sharp, mu;
	bool hard;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static int add_small(struct train_layer *l, struct small *s, uint64_t plane)
{
	const struct quantnet *n = l->own;
	size_t half = (size_t) n->d * n->m, all = 2 * half + n->d + n->m;
	int r;

	s->value = calloc(all, sizeof *s->value);
	s->grad = calloc(all, sizeof *s->grad);
	if (!s->value || !s->grad)
		return -ENOMEM;
	for (size_t i = 0; i < half; i++)
		s->value[i] = (float) ((double) (draw_u64(l->seed + plane, i) >> 11) / 4503599627370496.0 - 1) *
			sqrtf(3 / (float) n->m);
	r = train_store_param(l->store, s->value, s->grad, all, false, 0.1f);
	if (r >= 0)
		s->param = (uint32_t) r;
	return r;
}

static int quantnet_init(struct train_layer *l, struct error *reterr)
{
	struct quantnet *n = l->own = calloc(1, sizeof *n);
	size_t size = size_of(l), scales = (size_t) l->planes * l->rows;
	int r = 0;

	if (!n)
		return -ENOMEM;
	n->m = l->taps > 1 && l->taps <= RUN_MAX ? l->taps : RUN;
	while (l->columns % n->m)
		n->m--;
	n->d = WIDEN * n->m;
	n->q = calloc(l->planes * size, sizeof *n->q);
	n->rest = calloc(size, sizeof *n->rest);
	n->scale = calloc(scales, sizeof *n->scale);
	if (!n->q || !n->rest || !n->scale)
		return -ENOMEM;
	for (uint32_t p = 0; r >= 0 && p < l->planes; p++)
		r = add_small(l, &n->small[p], p);
	if (r >= 0)
		r = train_store_block(l->store, n->scale, scales * sizeof *n->scale);
	if (r >= 0)
		r = train_store_block(l->store, &n->hard, sizeof n->hard);
	return r < 0 ? r : train_store_block(l->store, n->q, l->planes * size * sizeof *n->q);
}

/* The middle of one vector: h[d]. */
static void widen(const struct quantnet *n, const struct small *s, const float *u, float *h)
{
	const float *a1 = s->value, *c1 = a1 + (size_t) n->d * n->m;

	for (uint32_t i = 0; i < n->d; i++) {
		float sum = c1[i];

		for (uint32_t k = 0; k < n->m; k++)
			sum += a1[(size_t) i * n->m + k] * u[k];
		h[i] = tanhf(sum);
	}
}

static void narrow(const struct quantnet *n, const struct small *s, const float *u, const float *h, float *q)
{
	const float *a2 = s->value + (size_t) n->d * n->m + n->d, *c2 = a2 + (size_t) n->d * n->m;

	for (uint32_t k = 0; k < n->m; k++) {
		float sum = u[k] + c2[k];

		for (uint32_t i = 0; i < n->d; i++)
			sum += a2[(size_t) k * n->d + i] * h[i];
		q[k] = tanhf(n->sharp * sum);
	}
}

/* What plane @p makes of what is left. */
static void run_plane(struct train_layer *l, uint32_t p)
{
	struct quantnet *n = l->own;
	float u[RUN_MAX], h[WIDEN * RUN_MAX];

	for (size_t i = 0; i < size_of(l); i += n->m) {
		for (uint32_t k = 0; k < n->m; k++)
			u[k] = n->rest[i + k] / n->mean[p];
		widen(n, &n->small[p], u, h);
		narrow(n, &n->small[p], u, h, n->q + p * size_of(l) + i);
	}
}

static void take_away(struct train_layer *l, uint32_t p)
{
	struct quantnet *n = l->own;
	const float *q = n->q + p * size_of(l);

	for (size_t i = 0; i < size_of(l); i++)
		n->rest[i] -= n->scale[p * l->rows + i / l->columns] * q[i];
}

/* Mean magnitude of what is left, in rows (as the first scale) and in all. */
static void find_means(struct train_layer *l, uint32_t p)
{
	struct quantnet *n = l->own;
	double all = 0;

	for (uint32_t row = 0; row < l->rows; row++) {
		double sum = 0;

		for (uint32_t t = 0; t < l->columns; t++)
			sum += (double) fabsf(n->rest[(size_t) row * l->columns + t]);
		if (p == 0)
			n->scale[row] = (float) (sum / l->columns);
		all += sum;
	}
	n->mean[p] = (float) (all / (double) size_of(l)) + 1e-8f;
}

static void fit_scales_of(struct train_layer *l, uint32_t p)
{
	struct quantnet *n = l->own;

	for (uint32_t row = 0; row < l->rows; row++) {
		const float *rest = n->rest + (size_t) row * l->columns;
		const float *q = n->q + p * size_of(l) + (size_t) row * l->columns;
		double product = 0, square = 1e-12;

		for (uint32_t t = 0; t < l->columns; t++) {
			product += (double) rest[t] * (double) q[t];
			square += (double) q[t] * (double) q[t];
		}
		n->scale[p * l->rows + row] = (float) (product / square);
	}
}

/* What counts as constant in a step. A single plane does not have to be run for it. */
static void find_constants(struct train_layer *l)
{
	struct quantnet *n = l->own;

	memcpy(n->rest, l->weight, size_of(l) * sizeof *n->rest);
	for (uint32_t p = 0; p < l->planes; p++) {
		find_means(l, p);
		if (l->planes > 1)
			run_plane(l, p);
		if (p > 0)
			fit_scales_of(l, p);
		if (l->planes > 1)
			take_away(l, p);
	}
}

static void run_planes(struct train_layer *l)
{
	struct quantnet *n = l->own;

	memcpy(n->rest, l->weight, size_of(l) * sizeof *n->rest);
	for (uint32_t p = 0; p < l->planes; p++) {
		run_plane(l, p);
		take_away(l, p);
	}
}

static float sum_of(const struct train_layer *l, size_t i)
{
	const struct quantnet *n = l->own;
	float sum = 0;

	for (uint32_t p = 0; p < l->planes; p++)
		sum += n->scale[p * l->rows + i / l->columns] * n->q[p * size_of(l) + i];
	return sum;
}

/* Signs of the planes of a row, and the scales, made positive, that fit the soft weights best. */
static void harden_row(struct train_layer *l, uint32_t row, float *soft, uint8_t *codes)
{
	struct quantnet *n = l->own;
	size_t at = (size_t) row * l->columns;
	double fitted[BITS_PLANES_MAX];

	for (uint32_t t = 0; t < l->columns; t++) {
		soft[t] = sum_of(l, at + t);
		codes[t] = 0;
		for (uint32_t p = 0; p < l->planes; p++)
			codes[t] = (uint8_t) (2 * codes[t] + (n->q[p * size_of(l) + at + t] >= 0));
	}
	(void) fit_scales(fitted, soft, codes, l->columns, l->planes);
	for (uint32_t p = 0; p < l->planes; p++) {
		float *scale = &n->scale[p * l->rows + row];

		*scale = isfinite(fitted[p]) ? (float) fitted[p] : *scale;
		for (uint32_t t = 0; t < l->columns; t++)
			n->q[p * size_of(l) + at + t] =
				(codes[t] >> (l->planes - 1 - p) & 1) == (*scale >= 0) ? 1 : -1;
		*scale = fabsf(*scale);
	}
}

static int harden(struct train_layer *l)
{
	_cleanup_free_ float *soft = malloc(l->columns * sizeof *soft);
	_cleanup_free_ uint8_t *codes = malloc(l->columns);

	if (!soft || !codes)
		return -ENOMEM;
	run_planes(l);
	for (uint32_t row = 0; row < l->rows; row++)
		harden_row(l, row, soft, codes);
	((struct quantnet *) l->own)->hard = true;
	return 0;
}

static int quantnet_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct quantnet *n = l->own;
	float part = (float) fmin(m->t / HARD, 1);
	int r = 0;

	n->sharp = 1 + (SHARP_LAST - 1) * part;
	n->mu = MU * part;
	if (!n->hard)
		find_constants(l);
	if (!n->hard && m->t >= HARD)
		r = harden(l);
	l->store->params[l->param].frozen = n->hard;
	for (uint32_t p = 0; p < l->planes; p++)
		l->store->params[n->small[p].param].frozen = n->hard;
	return r;
}

static void quantnet_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct quantnet *n = l->own;

	if (!n->hard)
		run_planes(l);
	for (size_t i = 0; i < size_of(l); i++)
		hat[i] = sum_of(l, i);
}

/* One vector: @dz, the gradient at the second bend's input, to everything before it. */
static void backward(const struct quantnet *n, const struct small *s, const float *u, const float *h,
	const float *dz, float *du)
{
	size_t half = (size_t) n->d * n->m;
	const float *a1 = s->value, *a2 = s->value + half + n->d;
	float *g1 = s->grad, *gc1 = g1 + half, *g2 = gc1 + n->d, *gc2 = g2 + half;

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

/*
 * The vector at @i through plane @p. @rest: what the plane left of what it saw, which becomes what it saw;
 * @later: the gradient by what later planes saw, which becomes that of this plane and later ones.
 */
static void plane_gradient(struct train_layer *l, uint32_t p, size_t i, const float *grad, float *rest,
	float *later)
{
	const struct quantnet *n = l->own;
	const float *q = n->q + p * size_of(l) + i;
	float u[RUN_MAX], h[WIDEN * RUN_MAX], dz[RUN_MAX], du[RUN_MAX];
	float scale = n->scale[p * l->rows + i / l->columns], push = 2 * n->mu / (float) size_of(l);

	for (uint32_t k = 0; k < n->m; k++) {
		float dq = scale * (grad[i + k] - later[k]) - push * (1 - fabsf(q[k])) * copysignf(1, q[k]);

		dz[k] = dq * (1 - q[k] * q[k]) * n->sharp;
		rest[k] += scale * q[k];
		u[k] = rest[k] / n->mean[p];
	}
	widen(n, &n->small[p], u, h);
	backward(n, &n->small[p], u, h, dz, du);
	for (uint32_t k = 0; k < n->m; k++)
		later[k] += du[k] / n->mean[p];
}

static void quantnet_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	const struct quantnet *n = l->own;

	for (size_t i = 0; !n->hard && i < size_of(l); i += n->m) {
		float rest[RUN_MAX], later[RUN_MAX] = {};

		memcpy(rest, n->rest + i, n->m * sizeof *rest);
		for (uint32_t p = l->planes; p-- > 0;)
			plane_gradient(l, p, i, grad, rest, later);
		for (uint32_t k = 0; k < n->m; k++)
			l->weight_grad[i + k] += later[k];
	}
}

static int quantnet_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct quantnet *n = l->own;
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, l->planes, false, reterr);

	if (r < 0)
		return r;
	for (uint32_t p = 0; p < l->planes; p++) {
		for (uint32_t row = 0; row < l->rows; row++)
			ret->alpha[row * l->planes + p] = n->scale[p * l->rows + row];
		for (size_t i = 0; i < size_of(l); i++)
			ret->codes[i] = (uint8_t) (2 * ret->codes[i] + (n->q[p * size_of(l) + i] >= 0));
	}
	return 0;
}

static void quantnet_done(struct train_layer *l)
{
	struct quantnet *n = l->own;

	if (!n)
		return;
	for (uint32_t p = 0; p < PLANES_MAX; p++) {
		free(n->small[p].value);
		free(n->small[p].grad);
	}
	free(n->q);
	free(n->rest);
	free(n->scale);
	free(n);
}

const struct train_method train_quantnet = {
	.name = "quantnet",
	.help = "planes by learned, differentiable quantizers (QuantNet)",
	.planes_min = 1,
	.planes_max = PLANES_MAX,
	.planes_default = 1,
	.init = quantnet_init,
	.prepare = quantnet_prepare,
	.weights = quantnet_weights,
	.gradient = quantnet_gradient,
	.codes = quantnet_codes,
	.done = quantnet_done,
};
