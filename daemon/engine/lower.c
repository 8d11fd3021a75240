/* SPDX-License-Identifier: Apache-2.0 */
/* Which matrix gets how many planes, and the model made of that; the numbers are lower_matrix.c's. */
#include "engine/lower.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "engine/lower_matrix.h"

#define NUMBERS_ALIGN 64

static uint64_t matrix_weights(const struct matrix *m)
{
	return (uint64_t) m->rows * m->columns;
}

/* Planes that one matrix could take on, and what each bit of them is worth. */
struct purchase {
	double per_bit, bits;
	uint32_t matrix, planes;
};

/* Without sensitivities each matrix counts the same: small ones, which cost least, come first. */
static double gain_of(const struct matrix *m, uint32_t from, uint32_t to)
{
	if (m->sensitivity)
		return (double) m->sensitivity[from - 1] - (double) m->sensitivity[to - 1];
	return ldexp(1, -2 * (int) from) - ldexp(1, -2 * (int) to);
}

/* The best of what @budget, in bits, can still buy. Return: whether there is anything */
static bool best_purchase(struct purchase *ret, const uint32_t *planes, const struct network *n,
	uint32_t highest, double budget)
{
	*ret = (struct purchase) {.per_bit = -INFINITY};
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		double weights = (double) matrix_weights(m);

		for (uint32_t p = planes[i] + 1; !m->fixed && p <= MIN_OF(m->planes, highest); p++) {
			double bits = (p - planes[i]) * weights;
			double per_bit = gain_of(m, planes[i], p) / bits;

			if (bits <= budget && per_bit > ret->per_bit)
				*ret = (struct purchase) {per_bit, bits, i, p};
		}
	}
	return ret->per_bit > -INFINITY;
}

int lower_spend(uint32_t *ret_planes, const struct network *network, double bits, uint32_t lowest,
	uint32_t highest)
{
	struct purchase buy;
	double budget = 0;

	/* Written so that NaN is refused. */
	if (!(bits >= lowest))
		return -ERANGE;
	for (uint32_t i = 0; i < network->n_matrices; i++) {
		const struct matrix *m = &network->matrices[i];

		ret_planes[i] = m->fixed ? m->planes : MIN_OF(lowest, m->planes);
		if (!m->fixed)
			budget += (bits - ret_planes[i]) * (double) matrix_weights(m);
	}
	while (best_purchase(&buy, ret_planes, network, highest, budget)) {
		budget -= buy.bits;
		ret_planes[buy.matrix] = buy.planes;
	}
	return 0;
}

int lower_allocate(uint32_t *ret_planes, const struct network *network, double bits)
{
	uint32_t base;

	if (!(bits >= 1 && bits <= network->planes_max))
		return -ERANGE;
	base = (uint32_t) bits;
	return lower_spend(ret_planes, network, bits, base, bits > base ? base + 1 : base);
}

static double average_bits(const struct network *n, const uint32_t *planes, double asked)
{
	double bits = 0, weights = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		if (!n->matrices[i].fixed) {
			/* Sums of integers below 2^53: a common width divides out exactly. */
			bits += (double) planes[i] * (double) matrix_weights(&n->matrices[i]);
			weights += (double) matrix_weights(&n->matrices[i]);
		}
	return weights > 0 ? bits / weights : asked;
}

/*
 * A model in the making.
 * @planes: [n_matrices], the allocation
 * @whole: planes that are needed for a refit only, let go at the end
 * @given: [@given_bytes], numbers that were computed before; NULL: to be computed
 */
struct build {
	struct network *network;
	struct model *model;
	uint32_t *planes;
	bool *used;
	struct plane *whole[BITS_PLANES_MAX];
	const void *given;
	size_t given_bytes;
};

static void build_done(struct build *b)
{
	for (uint32_t i = 0; i < BITS_PLANES_MAX; i++)
		(void) plane_unref(b->whole[i]);
	(void) model_unref(b->model);
	free(b->planes);
	free(b->used);
}

static int build_init(struct build *b, struct network *network)
{
	b->network = network;
	b->model = calloc(1, sizeof *b->model);
	if (!b->model)
		return -ENOMEM;
	atomic_init(&b->model->refs, 1);
	b->model->network = network_ref(network);
	b->model->layers = calloc((size_t) network->n_matrices + 1, sizeof *b->model->layers);
	b->planes = malloc(network->n_matrices * sizeof *b->planes + 1);
	b->used = malloc(network->n_matrices * sizeof *b->used + 1);
	return b->model->layers && b->planes && b->used ? 0 : -ENOMEM;
}

/* The planes of the model, the last of them perhaps for some matrices only. */
static int acquire_kept(struct build *b, struct error *reterr)
{
	struct model *m = b->model;
	uint32_t most = 0;
	int r = 0;

	if (b->network->fixed_bytes > 0)
		r = plane_acquire(&m->fixed, b->network, PLANE_FIXED, NULL, reterr);
	for (uint32_t i = 0; i < b->network->n_matrices; i++)
		if (!b->network->matrices[i].fixed)
			most = MAX_OF(most, b->planes[i]);
	for (uint32_t p = 0; r >= 0 && p < most; p++) {
		for (uint32_t i = 0; i < b->network->n_matrices; i++)
			b->used[i] = b->planes[i] > p;
		r = plane_acquire(&m->planes[p], b->network, p, b->used, reterr);
		if (r >= 0)
			m->n_planes = p + 1;
	}
	return r;
}

/* A refit compares the kept planes with the dropped ones. */
static int acquire_dropped(struct build *b, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; i < b->network->n_matrices; i++)
		for (uint32_t p = b->planes[i]; r >= 0 && p < b->network->matrices[i].planes; p++)
			if (!b->whole[p] && lower_needs_refit(&b->network->matrices[i], b->planes[i]))
				r = plane_acquire(&b->whole[p], b->network, p, NULL, reterr);
	return r;
}

/* Where the numbers of a layer lie in the model's block. */
struct layer_sizes {
	size_t step, base, level, rows;
};

static struct layer_sizes layer_sizes(const struct matrix *m, uint32_t kept)
{
	bool sum = m->coding == CODING_SUM;
	size_t groups = (size_t) m->rows * m->groups;

	return (struct layer_sizes) {
		.step = bytes_align(sum ? groups * kept * sizeof(int16_t) : 0, NUMBERS_ALIGN),
		.base = bytes_align(sum ? groups : 0, NUMBERS_ALIGN),
		.level = bytes_align(sum ? 0 : (size_t) (m->shared_levels ? 1 : m->rows) << kept,
			NUMBERS_ALIGN),
		.rows = bytes_align(m->rows * sizeof(float), NUMBERS_ALIGN),
	};
}

static int allocate_numbers(struct build *b, struct error *reterr)
{
	size_t total = 0;

	for (uint32_t i = 0; i < b->network->n_matrices; i++) {
		struct layer_sizes s = layer_sizes(&b->network->matrices[i], b->planes[i]);

		total += s.step + s.base + s.level + 2 * s.rows;
	}
	b->model->numbers = aligned_alloc(NUMBERS_ALIGN, MAX_OF(total, (size_t) NUMBERS_ALIGN));
	b->model->numbers_bytes = total;
	if (!b->model->numbers)
		return -ENOMEM;
	if (b->given && b->given_bytes != total)
		return error_set(reterr, -EBADMSG, "%zu bytes of numbers, not %zu", b->given_bytes, total);
	if (b->given)
		memcpy(b->model->numbers, b->given, total);
	return 0;
}

static void *carve(uint8_t **p, size_t size)
{
	void *v = size > 0 ? *p : NULL;

	*p += size;
	return v;
}

static void point_to_planes(const struct build *b, uint32_t i, struct lower_matrix *l)
{
	const struct matrix *m = &b->network->matrices[i];
	struct layer *layer = &b->model->layers[i];
	uint64_t words = bits_plane_words(m->rows, m->row_bits);

	layer->planes = b->planes[i];
	for (uint32_t p = 0; p < m->planes; p++) {
		const struct plane *plane = p < b->planes[i] ? b->model->planes[p] : b->whole[p];

		if (m->fixed)
			l->planes[p] = b->model->fixed->words + m->plane_word + p * words;
		else if (plane)
			l->planes[p] = plane->words + plane->matrix_word[i];
		if (p < b->planes[i])
			layer->plane[p] = l->planes[p];
	}
}

static int lower_layer(const struct build *b, const struct op *op, uint8_t **numbers,
	struct error *reterr)
{
	const struct value *in = &b->network->values[op->inputs[0]];
	const struct value *out = &b->network->values[op->output];
	const struct matrix *m = &b->network->matrices[op->matrix];
	struct layer_sizes s = layer_sizes(m, b->planes[op->matrix]);
	struct layer *layer = &b->model->layers[op->matrix];
	struct lower_matrix l = {
		.matrix = m,
		.kept = b->planes[op->matrix],
		.scale_in = (double) in->scale,
		.zero_in = in->zero_point,
		.scale_out = out->element == ELEMENT_U8 ? (double) out->scale : 1,
	};

	point_to_planes(b, op->matrix, &l);
	layer->step = l.step = carve(numbers, s.step);
	layer->base = l.base = carve(numbers, s.base);
	layer->level = l.level = carve(numbers, s.level);
	layer->gain = l.gain = carve(numbers, s.rows);
	layer->bias = l.bias = carve(numbers, s.rows);
	return b->given ? 0 : lower_matrix_run(&l, reterr);
}

static int lower_layers(const struct build *b, struct error *reterr)
{
	uint8_t *numbers = b->model->numbers;
	int r;

	for (uint32_t i = 0; i < b->network->n_ops; i++) {
		const struct op *op = &b->network->ops[i];

		if (op->kind != OP_CONVOLUTION && op->kind != OP_DEPTHWISE)
			continue;
		r = lower_layer(b, op, &numbers, reterr);
		if (r < 0)
			return error_prefix(reterr, r, "matrix %u", op->matrix);
	}
	return 0;
}

static int build_model(struct build *b, double bits, struct model **ret, struct error *reterr)
{
	int r = acquire_kept(b, reterr);

	if (r >= 0 && !b->given)
		r = acquire_dropped(b, reterr);
	if (r >= 0)
		r = allocate_numbers(b, reterr);
	if (r >= 0)
		r = lower_layers(b, reterr);
	if (r < 0)
		return r;
	b->model->bits = average_bits(b->network, b->planes, bits);
	*ret = take_ptr(b->model);
	return 0;
}

int model_build(struct model **ret, struct network *network, double bits, struct error *reterr)
{
	_cleanup_(build_done) struct build b = {0};
	int r;

	r = build_init(&b, network);
	if (r < 0)
		return r;
	r = lower_allocate(b.planes, network, bits);
	if (r == -ERANGE)
		return error_set(reterr, r, "%g bits, the model has 1 to %u", bits, network->planes_max);
	return r < 0 ? r : build_model(&b, bits, ret, reterr);
}

static int take_planes(struct build *b, const uint32_t *planes, struct error *reterr)
{
	const struct network *network = b->network;

	for (uint32_t i = 0; i < network->n_matrices; i++) {
		const struct matrix *m = &network->matrices[i];

		b->planes[i] = m->fixed ? m->planes : planes[i];
		if (b->planes[i] < 1 || b->planes[i] > m->planes)
			return error_set(reterr, -ERANGE, "matrix %u: %u planes, it has 1 to %u", i,
				planes[i], m->planes);
	}
	return 0;
}

int model_build_mixed(struct model **ret, struct network *network, const uint32_t *planes,
	struct error *reterr)
{
	_cleanup_(build_done) struct build b = {0};
	int r;

	r = build_init(&b, network);
	if (r >= 0)
		r = take_planes(&b, planes, reterr);
	return r < 0 ? r : build_model(&b, network->planes_max, ret, reterr);
}

int model_adopt(struct model **ret, struct network *network, const uint32_t *planes, const void *numbers,
	size_t bytes, struct error *reterr)
{
	_cleanup_(build_done) struct build b = {.given = numbers, .given_bytes = bytes};
	int r;

	r = build_init(&b, network);
	if (r >= 0)
		r = take_planes(&b, planes, reterr);
	return r < 0 ? r : build_model(&b, network->planes_max, ret, reterr);
}
