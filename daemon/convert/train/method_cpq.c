/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPQ, cluster-promoting quantization (methods B5), of weights: a weight is the most probable point of a grid
 * with a learned step, under logistic noise of a learned scale; the gradient goes through the probabilities,
 * as if the mean of the points had been taken. It is small near a point and large between two, so that
 * weights gather at points without any penalty.
 *
 * With DropBits: the points that only the k-th bit gives have their probabilities multiplied with a mask of
 * the layer, drawn in each step; towards the end masks are what is expected of them. With --average-bits
 * layers learn how many bits they have, at the price of a bit (the paper's L0 penalty), then go on with them.
 *
 * A reconstruction: the noise is a part of the step, within bounds; gradients of step, noise and masks are
 * scaled as in LSQ; a bit is there only as far as those before it are; two bits always stay. The price is
 * the one for which the expected bits fall evenly to those asked for, at PAID of the run; at FIXED each
 * layer takes its width, the least probable bits of all going first and what there is room for coming back.
 */
#include <errno.h>
#include <math.h>

#include "convert/train/bit_drop.h"
#include "convert/train/loader.h"
#include "convert/train/method.h"
#include "convert/train/noisy_grid.h"

#define NOISE 0.3f
#define NOISE_MIN 0.1f
#define NOISE_MAX 1.0f
#define DRAWN 0.9 /* of the run, where widths are not learned */
#define PAID 0.4
#define FIXED 0.5

enum { STEP, NOISE_SCALE, SCALES };

/**
 * struct cpq - @scale: step of the layer's grid, and the noise in steps; trained
 * @logits: index of the masks' in the store
 * @width: bits of the layer; 0: not fixed
 */
struct cpq {
	float scale[SCALES], grad[SCALES];
	uint32_t logits, width;
	struct bit_drop drop;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static int add_state(struct train_layer *l, struct cpq *c)
{
	int r = train_store_param(l->store, c->scale, c->grad, SCALES, false, 0.1f);

	if (r >= 0)
		r = train_store_param(l->store, c->drop.logit, c->drop.grad, MAX_OF(c->drop.n, 1u), false, 1);
	if (r < 0)
		return r;
	c->logits = (uint32_t) r;
	r = train_store_block(l->store, c->drop.mask, sizeof c->drop.mask);
	return r < 0 ? r : train_store_block(l->store, &c->width, sizeof c->width);
}

static int cpq_init(struct train_layer *l, struct error *reterr)
{
	struct cpq *c = l->own = calloc(1, sizeof *c);
	double sum = 0;

	if (!c)
		return -ENOMEM;
	if (l->average > 0 && l->average < NOISY_GRID_CORE)
		return error_set(reterr, -ERANGE, "cpq keeps at least %u bits of a weight", NOISY_GRID_CORE);
	for (size_t i = 0; i < size_of(l); i++)
		sum += (double) fabsf(l->weight[i]);
	c->scale[STEP] = (float) (2 * sum / (double) size_of(l) / sqrt((double) (1u << (l->planes - 1))));
	c->scale[NOISE_SCALE] = NOISE;
	bit_drop_init(&c->drop, l->planes - NOISY_GRID_CORE);
	return add_state(l, c);
}

static struct noisy_grid grid_of(const struct train_layer *l)
{
	const struct cpq *c = l->own;
	struct noisy_grid g = {.planes = c->width ?: l->planes, .noise = c->scale[NOISE_SCALE]};

	for (uint32_t k = NOISY_GRID_CORE + 1; k <= g.planes; k++)
		g.mask[k] = c->width ? 1 : c->drop.mask[k - NOISY_GRID_CORE - 1];
	return g;
}

static int cpq_prepare(struct train_layer *l, const struct train_moment *m)
{
	struct cpq *c = l->own;
	bool drawn = !c->width && m->t < DRAWN;

	l->store->params[c->logits].frozen = !drawn;
	if (drawn)
		bit_drop_draw(&c->drop, draw_u64(l->seed, m->step));
	return 0;
}

static int cpq_stepped(struct train_layer *l, const struct train_moment *m)
{
	struct cpq *c = l->own;

	c->scale[STEP] = fmaxf(c->scale[STEP], 1e-8f);
	c->scale[NOISE_SCALE] = fminf(fmaxf(c->scale[NOISE_SCALE], NOISE_MIN), NOISE_MAX);
	bit_drop_expect(&c->drop);
	return 0;
}

static void cpq_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	float step = ((const struct cpq *) l->own)->scale[STEP];
	struct noisy_grid g = grid_of(l);

	for (size_t i = 0; i < size_of(l); i++)
		hat[i] = (float) noisy_grid_point(&g, l->weight[i] / step) * step;
}

static void cpq_gradient(struct train_layer *l, uint32_t planes, const float *grad)
{
	struct cpq *c = l->own;
	struct noisy_grid g = grid_of(l);
	float step = c->scale[STEP], factor = 1 / sqrtf((float) size_of(l) * (float) (1u << (l->planes - 1)));
	double by_step = 0, by_noise = 0, by_mask[BITS_PLANES_MAX + 1] = {};

	for (size_t i = 0; i < size_of(l); i++) {
		float u = l->weight[i] / step;
		struct noisy_mean m = noisy_grid_mean(&g, u);

		l->weight_grad[i] += grad[i] * m.by_place;
		by_step += (double) (grad[i] * ((float) m.point - u * m.by_place));
		by_noise += (double) (grad[i] * step * m.by_noise);
		for (uint32_t k = NOISY_GRID_CORE + 1; k <= g.planes; k++)
			by_mask[k] += (double) (grad[i] * step * m.by_mask[k]);
	}
	c->grad[STEP] += (float) by_step * factor;
	c->grad[NOISE_SCALE] += (float) by_noise * factor;
	for (uint32_t i = 0; !c->width && i < c->drop.n; i++)
		if (c->drop.mask[i] > 0)
			c->drop.grad[i] += (float) by_mask[i + NOISY_GRID_CORE + 1] / c->drop.mask[i] *
				c->drop.slope[i] * factor;
}

/* Bits of an average weight, with all logits @shift less. */
static double expected_bits(const struct train_layer *layers, uint32_t n, double shift)
{
	double bits = 0, weights = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct train_layer *l = &layers[i];
		const struct cpq *c = l->own;

		if (l->fixed)
			continue;
		bits += (double) size_of(l) * (c->width ?: NOISY_GRID_CORE + bit_drop_bits(&c->drop, shift));
		weights += (double) size_of(l);
	}
	return weights > 0 ? bits / weights : 0;
}

/* The price of a bit, taken off all logits alike. */
static void pay(struct train_layer *layers, uint32_t n, double want)
{
	double low = 0, high = 50;

	if (expected_bits(layers, n, 0) <= want)
		return;
	for (int i = 0; i < 40; i++) {
		double middle = (low + high) / 2;

		if (expected_bits(layers, n, middle) > want)
			low = middle;
		else
			high = middle;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct cpq *c = layers[i].own;

		for (uint32_t k = 0; !layers[i].fixed && k < c->drop.n; k++)
			c->drop.logit[k] -= (float) high;
	}
}

/* The layer whose last bit is the least probable; NULL: nobody has one to give. */
static struct cpq *poorest(const struct train_layer *layers, uint32_t n)
{
	struct cpq *ret = NULL;
	double least = INFINITY;

	for (uint32_t i = 0; i < n; i++) {
		struct cpq *c = layers[i].own;
		double alive;

		if (layers[i].fixed || c->width == NOISY_GRID_CORE)
			continue;
		alive = bit_drop_alive(&c->drop, c->width - NOISY_GRID_CORE - 1, 0);
		if (alive < least) {
			least = alive;
			ret = c;
		}
	}
	return ret;
}

/* The layer whose next bit is the most probable of those that there is room for; or NULL. */
static struct cpq *richest(struct train_layer *layers, uint32_t n, double want)
{
	struct cpq *ret = NULL;
	double most = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct cpq *c = layers[i].own;
		double alive;

		if (layers[i].fixed || c->width == layers[i].planes)
			continue;
		alive = bit_drop_alive(&c->drop, c->width - NOISY_GRID_CORE, 0);
		c->width++;
		if (alive > most && expected_bits(layers, n, 0) <= want) {
			most = alive;
			ret = c;
		}
		c->width--;
	}
	return ret;
}

/* A large layer may have made room for bits of small ones that went before it. */
static void fix_widths(struct train_layer *layers, uint32_t n, double want)
{
	struct cpq *c;

	for (uint32_t i = 0; i < n; i++)
		if (!layers[i].fixed)
			((struct cpq *) layers[i].own)->width = layers[i].planes;
	while (expected_bits(layers, n, 0) > want && (c = poorest(layers, n)))
		c->width--;
	while ((c = richest(layers, n, want)))
		c->width++;
}

static int cpq_together(struct train_layer *layers, uint32_t n, const struct train_moment *m)
{
	double average = 0, planes = 0;
	bool fixed = true;

	for (uint32_t i = 0; i < n; i++)
		if (!layers[i].fixed) {
			average = (double) layers[i].average;
			planes = layers[i].planes;
			fixed = ((const struct cpq *) layers[i].own)->width;
		}
	if (average <= 0 || fixed)
		return 0;
	if (m->t >= FIXED)
		fix_widths(layers, n, average);
	else
		pay(layers, n, planes + (average - planes) * fmin(m->t / PAID, 1));
	return 0;
}

/* q - 2^(width - 1) on planes: halves of powers of two, and an offset of half a step. */
static int cpq_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct cpq *c = l->own;
	struct noisy_grid g = grid_of(l);
	float step = c->scale[STEP];
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, g.planes, false, reterr);

	if (r < 0)
		return r;
	ret->offset = calloc(l->rows, sizeof *ret->offset);
	if (!ret->offset) {
		coded_done(ret);
		return -ENOMEM;
	}
	for (uint32_t row = 0; row < l->rows; row++) {
		ret->offset[row] = -step / 2;
		for (uint32_t p = 0; p < g.planes; p++)
			ret->alpha[(size_t) row * g.planes + p] = step * (float) (1u << (g.planes - 1 - p)) / 2;
	}
	for (size_t i = 0; i < size_of(l); i++)
		ret->codes[i] = (uint8_t) (noisy_grid_point(&g, l->weight[i] / step) + (1 << (g.planes - 1)));
	return 0;
}

static void cpq_done(struct train_layer *l)
{
	free(l->own);
}

const struct train_method train_cpq = {
	.name = "cpq",
	.help = "uniform steps, weights gather by the gradient alone; drops bits (CPQ, DropBits)",
	.planes_min = NOISY_GRID_CORE,
	.planes_max = 8,
	.planes_default = 3,
	.init = cpq_init,
	.prepare = cpq_prepare,
	.weights = cpq_weights,
	.gradient = cpq_gradient,
	.stepped = cpq_stepped,
	.together = cpq_together,
	.codes = cpq_codes,
	.done = cpq_done,
};
