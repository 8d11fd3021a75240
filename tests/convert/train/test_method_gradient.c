/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods whose gradients are exact, not straight-through: each parameter that they have, latent weights
 * included, against differences of the weights that they make.
 */
#include "nets.h"

#include "convert/train/method.h"

#define ROWS 6
#define COLUMNS 36
#define STEP 1e-3f
#define DIRECTIONS 5

/**
 * struct fixture - one layer; the loss is the sum of its weights, each times a drawn number
 * @once: what prepare() finds counts as constant
 */
struct fixture {
	const struct train_method *method;
	struct train_store store;
	struct train_layer layer;
	struct train_moment moment;
	float *heavy, *hat;
	bool once, prepared;
};

static double loss(struct fixture *f)
{
	double sum = 0;

	if (f->method->prepare && !f->prepared)
		CU_ASSERT_EQUAL(f->method->prepare(&f->layer, &f->moment), 0);
	f->prepared = f->once;
	f->method->weights(&f->layer, f->layer.planes, f->hat);
	for (size_t i = 0; i < ROWS * COLUMNS; i++)
		sum += (double) f->heavy[i] * (double) f->hat[i];
	return sum;
}

static void check_param(struct fixture *f, uint32_t param)
{
	struct train_param p = f->store.params[param];
	_cleanup_free_ float *was = malloc(p.n * sizeof *was);

	memcpy(was, p.value, p.n * sizeof *was);
	for (uint64_t d = 0; d < DIRECTIONS; d++) {
		double said = 0, size = 0, have;

		for (size_t i = 0; i < p.n; i++) {
			double along = (double) drawn(d + 50, i);

			said += along * (double) p.grad[i];
			size += fabs(along * (double) p.grad[i]);
			p.value[i] = was[i] + STEP * (float) along * 0.1f;
		}
		have = loss(f);
		for (size_t i = 0; i < p.n; i++)
			p.value[i] = was[i] - STEP * drawn(d + 50, i) * 0.1f;
		have = (have - loss(f)) / (2 * (double) STEP * 0.1);
		memcpy(p.value, was, p.n * sizeof *was);
		bool near = fabs(have - said) <= 0.03 * (fabs(said) + size / sqrt((double) p.n)) + 5e-3;

		if (!near)
			printf("%s, parameter %u: %g by differences, %g by the gradient\n", f->method->name, param,
				have, said);
		CU_ASSERT(near);
	}
	(void) loss(f);
}

/* @first: what to begin with: 1, where latent weights also set scales that count as constant */
static void check(const char *name, uint32_t planes, uint32_t first, bool once)
{
	struct optimise o = {.rate = 0.01f};
	struct fixture f = {.method = train_method_find(name), .once = once,
		.moment = {.optimise = &o, .steps = 100}};

	CU_ASSERT_PTR_NOT_NULL_FATAL(f.method);
	f.layer = (struct train_layer){.rows = ROWS, .columns = COLUMNS, .taps = 9,
		.planes = planes, .store = &f.store, .n_layers = 1, .seed = 3};
	f.layer.weight = drawn_floats(1, ROWS * COLUMNS, 0.3f);
	f.layer.weight_grad = calloc(ROWS * COLUMNS, sizeof(float));
	f.heavy = drawn_floats(2, ROWS * COLUMNS, 1);
	f.hat = calloc(ROWS * COLUMNS, sizeof *f.hat);
	CU_ASSERT_EQUAL(train_store_param(&f.store, f.layer.weight, f.layer.weight_grad, ROWS * COLUMNS, true,
				1), 0);
	CU_ASSERT(f.method->init(&f.layer, NULL) >= 0);
	(void) loss(&f);
	train_store_clear(&f.store);
	f.method->gradient(&f.layer, f.layer.planes, f.heavy);
	CU_ASSERT(f.store.n_params > 1);
	for (uint32_t i = first; i < f.store.n_params; i++)
		check_param(&f, i);
	f.method->done(&f.layer);
	train_store_done(&f.store);
	free(f.layer.weight);
	free(f.layer.weight_grad);
	free(f.heavy);
	free(f.hat);
}

/* What it divides by and its scales count as constant, and are found once. */
static void test_quantnet(void)
{
	check("quantnet", 1, 0, true);
	check("quantnet", 3, 0, true);
}

static void test_dqa(void)
{
	check("dqa", 2, 1, false);
}

static void test_quantization_networks(void)
{
	check("quantization-networks", 1, 0, false);
	check("quantization-networks", 2, 0, false);
	check("quantization-networks", 3, 0, false);
	check("quantization-networks", 5, 0, false);
}

/* Its sharpness follows the distances and counts as constant: it is found once. */
static void test_soft_to_hard(void)
{
	check("soft-to-hard", 2, 0, true);
}

TEST_MAIN("method_gradient", TEST(quantnet), TEST(dqa), TEST(quantization_networks),
	TEST(soft_to_hard))
