/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ALQ, adaptive loss-aware quantization (methods A5): each group of weights is a sum of signed bases, w^ = B
 * alpha, with as many bases as the loss asks for. There are no latent weights: gradients are taken at w^,
 * and the discrete B and the real alpha minimise AMSGrad's own model of the loss,
 *
 *	loss(w^ + d) ~ loss(w^) + G d + 1/2 d^T diag(H) d
 *
 * in turns: bases (codes nearest to w^ - G / H, then alpha by least squares weighted with H), coordinates
 * (alpha alone), pruning (the alphas of the whole network whose loss the model says is least to lose). After
 * the last pruning latent weights are kept for a while (straight-through), then coordinates alone.
 *
 * Our choices: a group is a row, as scales of the model file belong to 64 columns or more, and its width may
 * fall to nothing; the number of alphas falls evenly to the average that is asked for (half of the planes),
 * without a limit for each layer; parts of the run in place of epochs (below), norms with statistics of the
 * batch in all of them; the sort reads the importance from the list that it sorts, unlike the published
 * code. Activations of few bits are those of --activation-bits: the integer kernels want equal steps, where
 * the paper fits a base for each bit.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/fit.h"
#include "convert/train/method.h"

#define BETA_1 0.9f
#define BETA_2 0.999f
#define EPSILON 1e-8f
#define RATE 1e-3f
#define RIDGE 1e-6
#define ROUNDS 4	  /* of bases, coordinates, pruning */
#define PRUNED 0.5	  /* part of the run in which they lie */
#define STRAIGHT 0.9	  /* up to here with latent weights */
#define SKETCHED 1e-6	  /* part of a row's energy that needs no plane */

enum phase { BASES, COORDINATES, PRUNING, LATENT, REST };

/**
 * struct alq - of one layer
 * @alpha: [rows][planes], 0: pruned
 * @codes: [rows][columns], plane i is bit planes - 1 - i
 * @alpha_second, @alpha_largest: [rows][planes], moments of the gradients of @alpha; the first one follows
 *	from that of the weights
 * @hat, @first, @second, @largest: [rows][columns]; w^ and the moments of its gradient
 */
struct alq {
	float *alpha, *alpha_second, *alpha_largest, *hat, *first, *second, *largest;
	uint8_t *codes;
};

static size_t size_of(const struct train_layer *l)
{
	return (size_t) l->rows * l->columns;
}

static enum phase phase_of(const struct train_moment *m)
{
	double round = m->t / PRUNED * ROUNDS, part = round - floor(round);

	if (m->t < PRUNED)
		return part < 0.4 ? BASES : part < 0.6 ? COORDINATES : PRUNING;
	return m->t < STRAIGHT ? LATENT : REST;
}

static float decode(const struct train_layer *l, uint32_t row, uint32_t code)
{
	const float *alpha = ((const struct alq *) l->own)->alpha + (size_t) row * l->planes;
	float sum = 0;

	for (uint32_t i = 0; i < l->planes; i++)
		sum += code >> (l->planes - 1 - i) & 1 ? alpha[i] : -alpha[i];
	return sum;
}

static void decode_row(struct train_layer *l, uint32_t row)
{
	struct alq *a = l->own;
	float value[FIT_CODES_MAX];

	for (uint32_t c = 0; c < 1u << l->planes; c++)
		value[c] = decode(l, row, c);
	for (size_t i = (size_t) row * l->columns; i < (size_t) (row + 1) * l->columns; i++)
		a->hat[i] = value[a->codes[i]];
}

/* A plane that is pruned has clear bits, so that one value has one code. */
static void encode_row(struct train_layer *l, uint32_t row, const float *target)
{
	struct alq *a = l->own;
	const float *alpha = a->alpha + (size_t) row * l->planes;
	float value[FIT_CODES_MAX];
	uint8_t code[FIT_CODES_MAX];
	uint32_t n = 0, pruned = 0;

	for (uint32_t i = 0; i < l->planes; i++)
		pruned |= (uint32_t) (alpha[i] == 0) << (l->planes - 1 - i);
	for (uint32_t c = 0; c < 1u << l->planes; c++)
		if (!(c & pruned)) {
			value[n] = decode(l, row, c);
			code[n++] = (uint8_t) c;
		}
	for (uint32_t t = 0; t < l->columns; t++) {
		float best = INFINITY;

		for (uint32_t k = 0; k < n; k++) {
			float d = fabsf(target[t] - value[k]);

			if (d < best) {
				best = d;
				a->codes[(size_t) row * l->columns + t] = code[k];
			}
		}
	}
}

/* Gauss without pivots: a positive definite matrix. */
static void solve(double m[BITS_PLANES_MAX][BITS_PLANES_MAX + 1], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t r = 0; r < n; r++) {
			double factor = m[r][i] / m[i][i];

			for (uint32_t k = i; r != i && k <= n; k++)
				m[r][k] -= factor * m[i][k];
		}
	for (uint32_t i = 0; i < n; i++)
		m[i][n] /= m[i][i];
}

/* Scales of the active planes that come nearest to @target, each weight as heavy as @heavy says; signs go
 * into the codes, so that scales are not negative. */
static void fit_row(struct train_layer *l, uint32_t row, const float *target, const float *heavy)
{
	struct alq *a = l->own;
	float *alpha = a->alpha + (size_t) row * l->planes;
	uint8_t *codes = a->codes + (size_t) row * l->columns;
	double m[BITS_PLANES_MAX][BITS_PLANES_MAX + 1] = {}, all = 0;
	uint32_t active[BITS_PLANES_MAX], n = 0;

	for (uint32_t i = 0; i < l->planes; i++)
		if (alpha[i] != 0)
			active[n++] = i;
	for (uint32_t t = 0; t < l->columns; t++) {
		double h = (double) heavy[t], sign[BITS_PLANES_MAX];

		all += h;
		for (uint32_t i = 0; i < n; i++)
			sign[i] = codes[t] >> (l->planes - 1 - active[i]) & 1 ? h : -h;
		for (uint32_t i = 0; i < n; i++) {
			for (uint32_t k = 0; k < n; k++)
				m[i][k] += codes[t] >> (l->planes - 1 - active[k]) & 1 ? sign[i] : -sign[i];
			m[i][n] += sign[i] * (double) target[t];
		}
	}
	for (uint32_t i = 0; i < n; i++)
		m[i][i] += RIDGE * all + 1e-30;
	solve(m, n);
	for (uint32_t i = 0; i < n; i++) {
		float was = alpha[active[i]], is = (float) m[i][n];

		alpha[active[i]] = isfinite(is) && fabsf(is) > 1e-12f ? fabsf(is) : was;
		for (uint32_t t = 0; is < 0 && t < l->columns; t++)
			codes[t] ^= (uint8_t) (1u << (l->planes - 1 - active[i]));
	}
}

/* One more base: the signs of what @p of them leave. */
static void add_base(const float *w, uint8_t *codes, uint32_t n, const double *fitted, uint32_t p)
{
	for (uint32_t t = 0; t < n; t++) {
		double rest = (double) w[t];

		for (uint32_t i = 0; i < p; i++)
			rest -= codes[t] >> (p - 1 - i) & 1 ? fitted[i] : -fitted[i];
		codes[t] = (uint8_t) (codes[t] << 1 | (rest >= 0));
	}
}

/* Structured sketching: signs of the residual, all scales fitted again for each plane (A5.2). */
static void sketch_row(struct train_layer *l, uint32_t row)
{
	struct alq *a = l->own;
	const float *w = l->weight + (size_t) row * l->columns;
	uint8_t *codes = a->codes + (size_t) row * l->columns;
	float *alpha = a->alpha + (size_t) row * l->planes;
	double fitted[BITS_PLANES_MAX] = {}, all = 0, left;
	uint32_t p = 0;

	for (uint32_t t = 0; t < l->columns; t++)
		all += (double) w[t] * (double) w[t];
	for (left = all; p < l->planes && left > SKETCHED * all; p++) {
		add_base(w, codes, l->columns, fitted, p);
		left = fit_scales(fitted, w, codes, l->columns, p + 1);
	}
	for (uint32_t t = 0; t < l->columns; t++)
		codes[t] = (uint8_t) (codes[t] << (l->planes - p));
	for (uint32_t i = 0; i < p; i++) {
		alpha[i] = fabsf((float) fitted[i]);
		for (uint32_t t = 0; fitted[i] < 0 && t < l->columns; t++)
			codes[t] ^= (uint8_t) (1u << (l->planes - 1 - i));
	}
	decode_row(l, row);
}

static int alq_init(struct train_layer *l, struct error *reterr)
{
	struct alq *a = l->own = calloc(1, sizeof *a);
	size_t n = size_of(l), scales = (size_t) l->rows * l->planes;
	int r;

	if (!a)
		return -ENOMEM;
	a->alpha = calloc(3 * scales, sizeof *a->alpha);
	a->hat = calloc(4 * n, sizeof *a->hat);
	a->codes = calloc(n, 1);
	if (!a->alpha || !a->hat || !a->codes)
		return -ENOMEM;
	a->alpha_second = a->alpha + scales;
	a->alpha_largest = a->alpha_second + scales;
	a->first = a->hat + n;
	a->second = a->first + n;
	a->largest = a->second + n;
	for (uint32_t row = 0; row < l->rows; row++)
		sketch_row(l, row);
	r = train_store_block(l->store, a->alpha, 3 * scales * sizeof *a->alpha);
	if (r >= 0)
		r = train_store_block(l->store, a->codes, n);
	return r < 0 ? r : train_store_block(l->store, a->hat, 4 * n * sizeof *a->hat);
}

static int alq_prepare(struct train_layer *l, const struct train_moment *m)
{
	l->store->params[l->param].frozen = true;
	return 0;
}

static void alq_weights(struct train_layer *l, uint32_t planes, float *hat)
{
	const struct alq *a = l->own;

	memcpy(hat, a->hat, size_of(l) * sizeof *hat);
}

static void moments(struct train_layer *l)
{
	struct alq *a = l->own;

	for (size_t i = 0; i < size_of(l); i++) {
		float g = l->weight_grad[i];

		a->first[i] = BETA_1 * a->first[i] + (1 - BETA_1) * g;
		a->second[i] = BETA_2 * a->second[i] + (1 - BETA_2) * g * g;
		a->largest[i] = fmaxf(a->largest[i], a->second[i]);
	}
}

/* Learning rate and corrections of the start, as factors of first moment and curvature. */
static void factors(const struct train_moment *m, float *g, float *h)
{
	float rate = RATE * m->rate / m->optimise->rate;

	*g = rate / (1 - powf(BETA_1, (float) m->step));
	*h = 1 / sqrtf(1 - powf(BETA_2, (float) m->step));
}

static void step_bases(struct train_layer *l, uint32_t row, float g, float h, bool latent, float *scratch)
{
	struct alq *a = l->own;
	size_t at = (size_t) row * l->columns;
	float *target = scratch, *heavy = scratch + l->columns;

	for (uint32_t t = 0; t < l->columns; t++) {
		float *from = latent ? &l->weight[at + t] : &a->hat[at + t];

		heavy[t] = (sqrtf(a->largest[at + t]) + EPSILON) * h;
		target[t] = *from - g * a->first[at + t] / heavy[t];
		if (latent)
			*from = target[t];
	}
	encode_row(l, row, target);
	fit_row(l, row, target, heavy);
	decode_row(l, row);
}

/* B^T x of one base. @x: of the row's weights */
static double along_base(const struct train_layer *l, uint32_t row, uint32_t plane, const float *x)
{
	const uint8_t *codes = ((const struct alq *) l->own)->codes + (size_t) row * l->columns;
	double sum = 0;

	for (uint32_t t = 0; t < l->columns; t++)
		sum += (double) (codes[t] >> (l->planes - 1 - plane) & 1 ? x[t] : -x[t]);
	return sum;
}

/* Moments of the alphas' gradients. Where bases may have changed they are those of the weights, through B. */
static void alpha_moments(struct train_layer *l, uint32_t row, bool bases)
{
	struct alq *a = l->own;
	size_t at = (size_t) row * l->columns;
	double second = 0, largest = 0;

	for (uint32_t t = 0; bases && t < l->columns; t++) {
		second += (double) a->second[at + t];
		largest += (double) a->largest[at + t];
	}
	for (uint32_t i = 0; i < l->planes; i++) {
		float *s = &a->alpha_second[(size_t) row * l->planes + i];
		float *most = &a->alpha_largest[(size_t) row * l->planes + i];
		float g = bases ? 0 : (float) along_base(l, row, i, l->weight_grad + at);

		*s = bases ? (float) second : BETA_2 * *s + (1 - BETA_2) * g * g;
		*most = bases ? (float) largest : fmaxf(*most, *s);
	}
}

/* G and H of one alpha. */
static void scale_model(const struct train_layer *l, uint32_t row, uint32_t plane, float g, float h,
	double *pseudo, double *curvature)
{
	const struct alq *a = l->own;
	float largest = a->alpha_largest[(size_t) row * l->planes + plane];

	*pseudo = along_base(l, row, plane, a->first + (size_t) row * l->columns) * (double) g;
	*curvature = (sqrt((double) largest) + (double) EPSILON) * (double) h;
}

static void step_coordinates(struct train_layer *l, uint32_t row, float g, float h)
{
	float *alpha = ((struct alq *) l->own)->alpha + (size_t) row * l->planes;

	for (uint32_t i = 0; i < l->planes; i++) {
		double pseudo, curvature;

		if (alpha[i] == 0)
			continue;
		scale_model(l, row, i, g, h, &pseudo, &curvature);
		alpha[i] = fmaxf(alpha[i] - (float) (pseudo / curvature), 1e-12f);
	}
	decode_row(l, row);
}

static int alq_stepped(struct train_layer *l, const struct train_moment *m)
{
	_cleanup_free_ float *scratch = reallocarray(NULL, l->columns, 2 * sizeof *scratch);
	enum phase phase = phase_of(m);
	struct alq *a = l->own;
	float g, h;

	if (!scratch)
		return -ENOMEM;
	moments(l);
	factors(m, &g, &h);
	if (phase == LATENT && (double) (m->step - 1) < PRUNED * (double) m->steps)
		memcpy(l->weight, a->hat, size_of(l) * sizeof *l->weight);
	for (uint32_t row = 0; row < l->rows; row++) {
		bool bases = phase == BASES || phase == LATENT;

		if (bases)
			step_bases(l, row, g, h, phase == LATENT, scratch);
		alpha_moments(l, row, bases);
		if (phase == COORDINATES || phase == REST)
			step_coordinates(l, row, g, h);
	}
	return 0;
}

/**
 * struct candidate - an alpha that could go, and what the model says that its loss costs
 */
struct candidate {
	double cost;
	uint32_t layer, row, plane;
};

static int by_cost(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->cost != y->cost)
		return x->cost < y->cost ? -1 : 1;
	return x->layer != y->layer ? (x->layer < y->layer ? -1 : 1)
		: x->row != y->row  ? (x->row < y->row ? -1 : 1)
				    : (x->plane > y->plane) - (x->plane < y->plane);
}

static size_t list_layer(struct train_layer *l, uint32_t index, float g, float h, struct candidate *list)
{
	const struct alq *a = l->own;
	size_t n = 0;

	for (uint32_t row = 0; row < l->rows; row++)
		for (uint32_t i = 0; i < l->planes; i++) {
			double alpha = (double) a->alpha[(size_t) row * l->planes + i], pseudo, curvature;

			if (alpha == 0)
				continue;
			scale_model(l, row, i, g, h, &pseudo, &curvature);
			list[n++] = (struct candidate){-pseudo * alpha + curvature * alpha * alpha / 2, index, row, i};
		}
	return n;
}

static void prune(struct train_layer *l, const struct candidate *c)
{
	struct alq *a = l->own;

	a->alpha[(size_t) c->row * l->planes + c->plane] = 0;
	for (uint32_t t = 0; t < l->columns; t++)
		a->codes[(size_t) c->row * l->columns + t] &= (uint8_t) ~(1u << (l->planes - 1 - c->plane));
	decode_row(l, c->row);
}

/* How many bits an average weight should have by now: less in the pruning parts of the rounds only. */
static double average_now(const struct train_layer *l, const struct train_moment *m)
{
	double round = m->t / PRUNED * ROUNDS, part = round - floor(round);
	double done = (floor(round) + fmin(fmax((part - 0.6) / 0.3, 0), 1)) / ROUNDS;

	return l->planes + done * ((l->average > 0 ? (double) l->average : l->planes / 2.0) - l->planes);
}

/* The cheapest alphas of all layers go, until the average is what it should be. */
static int alq_together(struct train_layer *layers, uint32_t n_layers, const struct train_moment *m)
{
	_cleanup_free_ struct candidate *list = NULL;
	size_t alphas = 0, n = 0;
	double bits = 0, weights = 0, want = 0;
	float g, h;

	if (phase_of(m) != PRUNING)
		return 0;
	for (uint32_t i = 0; i < n_layers; i++)
		alphas += layers[i].fixed ? 0 : (size_t) layers[i].rows * layers[i].planes;
	list = reallocarray(NULL, alphas + 1, sizeof *list);
	if (!list)
		return -ENOMEM;
	factors(m, &g, &h);
	for (uint32_t i = 0; i < n_layers; i++) {
		struct train_layer *l = &layers[i];

		if (l->fixed)
			continue;
		size_t more = list_layer(l, i, g, h, list + n);

		n += more;
		bits += (double) more * l->columns;
		weights += (double) size_of(l);
		want = average_now(l, m);
	}
	qsort(list, n, sizeof *list, by_cost);
	for (size_t i = 0; i < n && bits > want * weights; i++) {
		prune(&layers[list[i].layer], &list[i]);
		bits -= layers[list[i].layer].columns;
	}
	return 0;
}

/* Planes of a row by size: a prefix then is what is best kept. */
static void order_row(const struct train_layer *l, uint32_t row, uint32_t *order)
{
	const float *alpha = ((const struct alq *) l->own)->alpha + (size_t) row * l->planes;

	for (uint32_t i = 0; i < l->planes; i++) {
		uint32_t at = i;

		for (; at > 0 && alpha[order[at - 1]] < alpha[i]; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* As many planes as the widest row has. */
static uint32_t planes_left(const struct train_layer *l)
{
	const struct alq *a = l->own;
	uint32_t most = 1;

	for (uint32_t row = 0; row < l->rows; row++) {
		uint32_t left = 0;

		for (uint32_t i = 0; i < l->planes; i++)
			left += a->alpha[(size_t) row * l->planes + i] != 0;
		most = MAX_OF(most, left);
	}
	return most;
}

static int alq_codes(struct train_layer *l, struct coded *ret, struct error *reterr)
{
	const struct alq *a = l->own;
	uint32_t order[BITS_PLANES_MAX], planes = planes_left(l);
	int r = coded_allocate(ret, CODING_SUM, l->rows, l->columns, l->columns, planes, false, reterr);

	for (uint32_t row = 0; r >= 0 && row < l->rows; row++) {
		order_row(l, row, order);
		for (uint32_t p = 0; p < planes; p++)
			ret->alpha[(size_t) row * planes + p] = a->alpha[(size_t) row * l->planes + order[p]];
		for (size_t i = (size_t) row * l->columns; i < (size_t) (row + 1) * l->columns; i++)
			for (uint32_t p = 0; p < planes; p++)
				if (a->codes[i] >> (l->planes - 1 - order[p]) & 1)
					ret->codes[i] |= (uint8_t) (1u << (planes - 1 - p));
	}
	return r;
}

static void alq_done(struct train_layer *l)
{
	struct alq *a = l->own;

	if (!a)
		return;
	free(a->alpha);
	free(a->hat);
	free(a->codes);
	free(a);
}

const struct train_method train_alq = {
	.name = "alq",
	.help = "bases and scales by a model of the loss, fewer where they matter less (ALQ)",
	.planes_min = 1,
	.planes_max = BITS_PLANES_MAX,
	.planes_default = 4,
	.init = alq_init,
	.prepare = alq_prepare,
	.weights = alq_weights,
	.stepped = alq_stepped,
	.together = alq_together,
	.codes = alq_codes,
	.done = alq_done,
};
