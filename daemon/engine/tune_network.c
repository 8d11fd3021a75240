/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows are timed where they will work: a plan of the whole network for each row, which has it wherever it
 * may be fastest, and these plans by turns. So weights are as cold as they will be, gathering, packing and
 * requantizing count, and a noisy moment meets all rows alike; of each step the least time counts.
 */
#include <errno.h>

#include "base/clock.h"
#include "engine/exec.h"
#include "engine/lower.h"
#include "engine/tune.h"

/* A row that the cost model sees so far behind the best is not run: the scalar ones would take minutes. */
#define COST_FACTOR 4
#define ROUNDS_MIN 2
#define ROUNDS_MAX 30
#define TRIALS_MAX 16

/* struct trial - @want: the shapes that have @kernel in @plan, and their least times */
struct trial {
	const struct kernel *kernel;
	struct tune *want;
	struct plan *plan;
};

struct tuner {
	struct tune *t;
	struct plan *plain;
	struct trial trials[TRIALS_MAX];
	uint32_t n;
	struct workspace space;
	float *input;
};

static void tuner_done(struct tuner *u)
{
	for (uint32_t i = 0; i < u->n; i++) {
		(void) tune_free(u->trials[i].want);
		(void) plan_unref(u->trials[i].plan);
	}
	(void) plan_unref(u->plain);
	workspace_done(&u->space);
	free(u->input);
}

static struct tune_shape shape_of(const struct plan *p, const struct step *s)
{
	const struct shape *out = &p->model->network->values[s->op->output].shape;

	return tune_shape(
		&s->matrix, out->height * out->width, s->op->activation_bits, s->op->groups);
}

static bool may_be_fastest(
	const struct kernel *k, const struct step *s, const struct tune_shape *shape, uint32_t cpu)
{
	const struct kernel *best;

	if ((k->needs & ~cpu) || !kernel_multiplies(k, &s->matrix, shape->columns, shape->bits))
		return false;
	best = kernel_pick_product(cpu, &s->matrix, shape->columns, shape->bits);
	return kernel_cost(k, &s->matrix, shape->bits) / COST_FACTOR <=
	       kernel_cost(best, &s->matrix, shape->bits);
}

/* Which products @k is tried for: those of which no time is known. */
static int find_wanted(struct tuner *u, struct trial *trial, uint32_t cpu)
{
	for (uint32_t i = 0; i < u->plain->n_steps; i++) {
		const struct step *s = &u->plain->steps[i];
		struct tune_shape shape;
		int r;

		if (s->op->kind != OP_CONVOLUTION)
			continue;
		shape = shape_of(u->plain, s);
		if (tune_find(u->t, &shape, trial->kernel) ||
			!may_be_fastest(trial->kernel, s, &shape, cpu))
			continue;
		r = tune_set(trial->want, &shape, trial->kernel, UINT64_MAX);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_trial(struct tuner *u, const struct kernel *k, uint32_t cpu, struct error *reterr)
{
	struct trial *trial = &u->trials[u->n];
	int r;

	if (u->n == TRIALS_MAX)
		return -ENOSPC;
	*trial = (struct trial){.kernel = k, .want = tune_new()};
	if (!trial->want)
		return -ENOMEM;
	u->n++;
	r = find_wanted(u, trial, cpu);
	if (r < 0 || trial->want->n > 0) {
		if (r >= 0)
			r = plan_new_tuned(&trial->plan, u->plain->model, cpu, trial->want, reterr);
		return r < 0 ? r : workspace_reserve(&u->space, trial->plan, 1);
	}
	trial->want = tune_free(trial->want);
	u->n--;
	return 0;
}

static int make_trials(struct tuner *u, uint32_t cpu, struct error *reterr)
{
	int r = 0;

	for (uint32_t i = 0; i < kernel_count && r >= 0; i++)
		if (kernel_table[i].op == KERNEL_MATMUL || kernel_table[i].op == KERNEL_MATMUL_BITS)
			r = add_trial(u, &kernel_table[i], cpu, reterr);
	return r;
}

static int make_input(struct tuner *u)
{
	size_t n = u->plain->input_floats_bytes / sizeof *u->input;

	u->input = malloc(n * sizeof *u->input);
	if (!u->input)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		u->input[i] = (float) (i * 7919 % 257) / 64.0f - 2.0f;
	return 0;
}

static int run_trial(struct tuner *u, struct trial *trial)
{
	for (uint32_t i = 0; i < trial->plan->n_steps; i++) {
		const struct step *s = &trial->plan->steps[i];
		uint64_t begin = clock_now_nsec(), nsec;
		const struct tune_row *row;
		struct tune_shape shape;
		int r = exec_step(trial->plan, &u->space, NULL, INPUT_FLOATS, u->input, i);

		nsec = clock_now_nsec() - begin;
		if (r < 0)
			return r;
		if (s->op->kind != OP_CONVOLUTION)
			continue;
		shape = shape_of(trial->plan, s);
		row = tune_find(trial->want, &shape, trial->kernel);
		if (row && nsec < row->nsec)
			(void) tune_set(trial->want, &shape, trial->kernel, nsec);
	}
	return 0;
}

static int run_trials(struct tuner *u, uint64_t nsec)
{
	uint64_t end = clock_now_nsec() + nsec;

	for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
		if (round >= ROUNDS_MIN && clock_now_nsec() >= end)
			break;
		for (uint32_t i = 0; i < u->n; i++) {
			int r = run_trial(u, &u->trials[i]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Return: how many */
static int keep_times(struct tuner *u)
{
	int n = 0;

	for (uint32_t i = 0; i < u->n; i++)
		for (uint32_t j = 0; j < u->trials[i].want->n; j++, n++) {
			const struct tune_row *row = &u->trials[i].want->rows[j];
			int r = tune_set(u->t, &row->shape, row->kernel, row->nsec);

			if (r < 0)
				return r;
		}
	return n;
}

int tune_network(struct tune *t, struct network *n, double bits, uint32_t cpu, uint64_t nsec,
	struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(tuner_done) struct tuner u = {.t = t};
	int r = model_build(&m, n, bits, reterr);

	if (r >= 0)
		r = plan_new_tuned(&u.plain, m, cpu, NULL, reterr);
	if (r >= 0)
		r = workspace_reserve(&u.space, u.plain, 1);
	if (r >= 0)
		r = make_input(&u);
	if (r >= 0)
		r = make_trials(&u, cpu, reterr);
	if (r >= 0)
		r = run_trials(&u, nsec);
	if (r >= 0)
		r = keep_times(&u);
	return r == -ENOSPC ? error_set(reterr, r, "the table is full") : r;
}
