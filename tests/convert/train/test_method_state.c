/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every method of the list on two layers that follow a loss of their own: what it exports is what it trained,
 * and a run that is taken up from its store, wherever it was broken off, ends as one that was not.
 */
#include "nets.h"

#include "convert/train/method.h"

#define LAYERS 2
#define ROWS 6
#define COLUMNS 36
#define SIZE ((size_t) ROWS * COLUMNS)
#define STEPS 40
#define EVERY 4 /* steps between two places where runs are broken off: the first and the last is one */

/**
 * struct run - layers under way; the loss is the squared distance of their weights to drawn ones
 * @target: [LAYERS][SIZE]
 */
struct run {
	const struct train_method *method;
	struct train_store store;
	struct train_layer layers[LAYERS];
	struct optimise optimise;
	float *target, hat[SIZE], grad[SIZE];
	uint64_t step;
};

static struct run *run_new(const struct train_method *m, uint32_t planes, float average)
{
	struct run *r = calloc(1, sizeof *r);

	r->method = m;
	r->optimise = (struct optimise){.rate = 0.02f, .momentum = 0.9f, .decay = 1e-4f};
	r->target = drawn_floats(9, LAYERS * SIZE, 0.3f);
	for (uint32_t i = 0; i < LAYERS; i++) {
		struct train_layer *l = &r->layers[i];

		*l = (struct train_layer){.rows = ROWS, .columns = COLUMNS, .taps = 9, .planes = planes, .order = i, .index = i,
			.n_layers = LAYERS, .seed = i, .average = average, .store = &r->store};
		l->weight = drawn_floats(i + 1, SIZE, 0.3f);
		l->weight_grad = calloc(SIZE, sizeof *l->weight_grad);
		l->param = (uint32_t) train_store_param(&r->store, l->weight, l->weight_grad, SIZE, true, 1);
		if (m->init)
			CU_ASSERT(m->init(l, NULL) >= 0);
	}
	return r;
}

static void run_free(struct run *r)
{
	for (uint32_t i = 0; i < LAYERS; i++) {
		if (r->method->done)
			r->method->done(&r->layers[i]);
		free(r->layers[i].weight);
		free(r->layers[i].weight_grad);
	}
	train_store_done(&r->store);
	free(r->target);
	free(r);
}

/* Half way one width settles, and a while later another. */
static struct train_moment moment_of(const struct run *r)
{
	uint32_t settled = r->method->nested ? (r->step >= STEPS / 2) + (r->step >= STEPS * 3 / 4) : 0;

	return (struct train_moment){.t = (double) r->step / STEPS, .step = r->step, .steps = STEPS,
		.settled = MIN_OF(settled, r->layers[0].planes - 1), .optimise = &r->optimise, .rate = optimise_rate(&r->optimise, r->step, STEPS)};
}

/* Drawn ones, each a bit like the one before it. */
static void show_inputs(const struct train_method *m, struct train_layer *l, uint64_t step)
{
	_cleanup_free_ float *x = drawn_floats(step + 100, 8 * COLUMNS, 1);

	for (uint32_t i = 1; i < 8 * COLUMNS; i++)
		x[i] += 0.5f * x[i - 1];
	CU_ASSERT_EQUAL(m->inputs(l, x, 8), 0);
}

static void run_width(struct run *r, uint32_t layer, uint32_t planes)
{
	struct train_layer *l = &r->layers[layer];

	r->method->weights(l, planes, r->hat);
	if (l->look)
		show_inputs(r->method, l, r->step);
	for (size_t i = 0; i < SIZE; i++)
		r->grad[i] = 0.5f * (r->hat[i] - r->target[layer * SIZE + i]);
	if (r->method->gradient)
		r->method->gradient(l, planes, r->grad);
	else
		method_straight(l, r->grad);
}

/* As the trainer does it. */
static void run_step(struct run *r)
{
	const struct train_method *m = r->method;
	struct train_moment now = moment_of(r);

	train_store_clear(&r->store);
	for (uint32_t i = 0; i < LAYERS; i++) {
		if (m->prepare)
			CU_ASSERT_EQUAL(m->prepare(&r->layers[i], &now), 0);
		run_width(r, i, m->nested ? now.settled + 1 : r->layers[i].planes);
	}
	optimise_step(&r->optimise, &r->store, r->step, now.rate);
	r->step++;
	now = moment_of(r);
	for (uint32_t i = 0; m->stepped && i < LAYERS; i++)
		CU_ASSERT_EQUAL(m->stepped(&r->layers[i], &now), 0);
	if (m->together)
		CU_ASSERT_EQUAL(m->together(r->layers, LAYERS, &now), 0);
}

/* Another run, with what a checkpoint of @r would hold. */
static struct run *taken_up(const struct run *r)
{
	struct run *n = run_new(r->method, r->layers[0].planes, r->layers[0].average);

	CU_ASSERT_EQUAL_FATAL(n->store.n_blocks, r->store.n_blocks);
	for (uint32_t i = 0; i < r->store.n_blocks; i++) {
		CU_ASSERT_EQUAL_FATAL(n->store.blocks[i].bytes, r->store.blocks[i].bytes);
		memcpy(n->store.blocks[i].data, r->store.blocks[i].data, r->store.blocks[i].bytes);
	}
	n->step = r->step;
	return n;
}

static void check_codes(struct run *r, uint32_t layer)
{
	struct train_layer *l = &r->layers[layer];
	_cleanup_(coded_done) struct coded c = {};
	uint32_t wrong = 0;

	r->method->weights(l, l->planes, r->hat);
	if (!r->method->codes)
		return;
	CU_ASSERT_EQUAL_FATAL(r->method->codes(l, &c, NULL), 0);
	CU_ASSERT(c.planes >= 1 && c.planes <= l->planes);
	for (size_t i = 0; i < SIZE; i++) {
		float value = coded_value(&c, (uint32_t) (i / COLUMNS), (uint32_t) (i % COLUMNS));

		wrong += fabsf(value - r->hat[i]) > 1e-6f;
	}
	if (wrong)
		printf("%s, %u planes: %u of %zu weights differ\n", r->method->name, l->planes, wrong, SIZE);
	CU_ASSERT_EQUAL(wrong, 0);
}

static void check_same(struct run *a, struct run *b, uint64_t broken_at)
{
	bool same = true;

	for (uint32_t i = 0; i < LAYERS; i++) {
		a->method->weights(&a->layers[i], a->layers[i].planes, a->hat);
		b->method->weights(&b->layers[i], b->layers[i].planes, b->hat);
		same = same && memcmp(a->hat, b->hat, sizeof a->hat) == 0;
	}
	if (!same)
		printf("%s, %u planes: broken off at step %llu, it ends elsewhere\n", a->method->name,
			a->layers[0].planes, (unsigned long long) broken_at);
	CU_ASSERT(same);
}

/* @average: bits that are asked for; 0: none */
static void check(const struct train_method *m, uint32_t planes, float average)
{
	struct run *whole = run_new(m, planes, average), *broken[STEPS / EVERY + 1];

	for (uint64_t i = 0; i < STEPS; i++) {
		if (i % EVERY == 0)
			broken[i / EVERY] = taken_up(whole);
		run_step(whole);
	}
	broken[STEPS / EVERY] = taken_up(whole);
	for (uint32_t i = 0; i < LAYERS; i++)
		check_codes(whole, i);
	for (uint64_t i = 0; i <= STEPS / EVERY; i++) {
		while (broken[i]->step < STEPS)
			run_step(broken[i]);
		check_same(whole, broken[i], i * EVERY);
		run_free(broken[i]);
	}
	run_free(whole);
}

static void test_every_method(void)
{
	for (uint32_t i = 0; i < n_train_methods; i++) {
		const struct train_method *m = train_methods[i];

		check(m, m->planes_default, 0);
		if (m->planes_min != m->planes_default)
			check(m, m->planes_min, 0);
		if (m->planes_max != m->planes_default)
			check(m, m->planes_max, 0);
	}
}

/* Methods that choose: down to what is asked for, and still what they trained. */
static void test_average_widths(void)
{
	check(train_method_find("alq"), 3, 0.5f);
	check(train_method_find("cpq"), 4, 2.5f);
}

static double distance(const struct run *r, const float *hat)
{
	double sum = 0;

	for (size_t i = 0; i < SIZE; i++)
		sum += (double) ((hat[i] - r->target[i]) * (hat[i] - r->target[i]));
	return sum;
}

/* What a narrow width multiplies with stays, and the next comes nearer to what it should be. */
static void test_settled_widths_stay(void)
{
	struct run *r = run_new(train_method_find("nested"), 2, 0);
	struct train_layer *l = &r->layers[0];
	float one[SIZE], two[SIZE];

	while (r->step <= STEPS / 2)
		run_step(r);
	r->method->weights(l, 1, one);
	r->method->weights(l, 2, two);
	while (r->step < STEPS)
		run_step(r);
	r->method->weights(l, 1, r->hat);
	CU_ASSERT_EQUAL(memcmp(one, r->hat, sizeof one), 0);
	r->method->weights(l, 2, r->hat);
	CU_ASSERT(distance(r, r->hat) < distance(r, two));
	run_free(r);
}

TEST_MAIN("method_state", TEST(every_method), TEST(average_widths), TEST(settled_widths_stay))
