/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_times.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "worker/cl_plan.h"

/* Runs of each row; one that takes so much longer than the best runs once. */
#define ROUNDS 3
#define HOPELESS 4

bool cl_shape_of(const struct cl_launch *l, struct cl_shape *ret)
{
	const struct launch *n = &l->numbers;
	enum kernel_cl_op op = kernel_cl_table[l->kernel].op;

	*ret = (struct cl_shape){op, n->rows, n->words, n->group_words, n->planes, n->coded_level,
		n->activation_planes, n->groups, n->out_height * n->out_width};
	return op == KERNEL_CL_MATMUL || op == KERNEL_CL_MATMUL_BITS;
}

static const struct cl_time *find(const struct cl_times *t, const struct cl_shape *shape, uint32_t kernel)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->rows[i].kernel == kernel && memcmp(&t->rows[i].shape, shape, sizeof *shape) == 0)
			return &t->rows[i];
	return NULL;
}

void cl_times_set(struct cl_times *t, const struct cl_shape *shape, uint32_t kernel, uint64_t nsec)
{
	struct cl_time *row = (struct cl_time *) find(t, shape, kernel);

	if (row)
		row->nsec = MIN_OF(row->nsec, nsec);
	else if (t->n < CL_TIMES_MAX)
		t->rows[t->n++] = (struct cl_time){*shape, kernel, nsec};
}

static bool is_usable(const struct cl *cl, uint32_t kernel, const struct cl_shape *shape)
{
	const struct kernel_cl_product p = {
		.pixels = shape->pixels, .planes = shape->planes, .level = shape->level != 0};

	return kernel_cl_table[kernel].op == (enum kernel_cl_op) shape->op && cl->programs[kernel] &&
	       !cl->banned[kernel] && kernel_cl_takes(&kernel_cl_table[kernel], &p);
}

uint32_t cl_times_pick(const struct cl *cl, const struct cl_shape *shape)
{
	const struct cl_times *t = cl->times;
	const struct cl_time *best = NULL;

	/* A test wants one row and no other. */
	if (!t || cl->only != KERNEL_CL_ANY)
		return KERNEL_CL_ANY;
	if (t->trial != KERNEL_CL_ANY)
		return is_usable(cl, t->trial, shape) ? t->trial : KERNEL_CL_ANY;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct cl_time *row = &t->rows[i];

		if (memcmp(&row->shape, shape, sizeof *shape) == 0 && is_usable(cl, row->kernel, shape) &&
			(!best || row->nsec < best->nsec))
			best = row;
	}
	return best ? best->kernel : KERNEL_CL_ANY;
}

/* Has the plan a product by this row, of which no time is known? */
static bool is_wanted(const struct cl_times *t, const struct cl_plan *p, uint32_t kernel)
{
	const struct cl_launches *all = cl_plan_launches(p);
	struct cl_shape shape;

	for (uint32_t i = 0; i < all->n; i++)
		if (all->launches[i].kernel == kernel && cl_shape_of(&all->launches[i], &shape) &&
			!find(t, &shape, kernel))
			return true;
	return false;
}

/* Return: how many times were new */
static int keep(struct cl_times *t, const struct cl_plan *p, uint32_t kernel, const uint64_t *nsec)
{
	const struct cl_launches *all = cl_plan_launches(p);
	uint32_t before = t->n;
	struct cl_shape shape;

	for (uint32_t i = 0; i < all->n; i++)
		if (all->launches[i].kernel == kernel && nsec[i] > 0 &&
			cl_shape_of(&all->launches[i], &shape))
			cl_times_set(t, &shape, kernel, nsec[i]);
	return (int) (t->n - before);
}

/* @best_nsec: of a whole run, of all rows so far */
static int measure_plan(struct cl_times *t, struct cl_plan *p, uint32_t kernel, uint64_t *best_nsec,
	struct error *reterr)
{
	_cleanup_free_ uint64_t *nsec = calloc(cl_plan_launches(p)->n + 1, sizeof *nsec);
	uint64_t least = UINT64_MAX;
	int r = nsec ? 0 : -ENOMEM;

	for (int i = 0; r >= 0 && i < ROUNDS; i++) {
		uint64_t begin = clock_now_nsec();

		r = cl_plan_profile(p, nsec, reterr);
		least = MIN_OF(least, clock_now_nsec() - begin);
		if (least / HOPELESS > *best_nsec)
			break;
	}
	*best_nsec = MIN_OF(*best_nsec, least);
	return r < 0 ? r : keep(t, p, kernel, nsec);
}

/* Return: how many times were new */
static int measure_row(struct cl *cl, struct plan *plan, uint32_t kernel, uint64_t *best_nsec,
	struct error *reterr)
{
	_cleanup_(cl_plan_freep) struct cl_plan *p = NULL;
	int r;

	cl->times->trial = kernel;
	r = cl_plan_new(&p, cl, plan, reterr);
	cl->times->trial = KERNEL_CL_ANY;
	if (r < 0 || !is_wanted(cl->times, p, kernel))
		return r < 0 ? r : 0;
	return measure_plan(cl->times, p, kernel, best_nsec, reterr);
}

int cl_times_measure(struct cl *cl, struct plan *plan, uint64_t nsec, struct error *reterr)
{
	uint64_t end = clock_now_nsec() + nsec, best = UINT64_MAX;
	int n = 0;

	for (uint32_t i = 0; i < kernel_cl_count && clock_now_nsec() < end; i++) {
		enum kernel_cl_op op = kernel_cl_table[i].op;
		int r;

		if ((op != KERNEL_CL_MATMUL && op != KERNEL_CL_MATMUL_BITS) || !cl->programs[i] ||
			cl->banned[i])
			continue;
		r = measure_row(cl, plan, i, &best, reterr);
		if (r == -ENODEV)
			return r;
		/* A row that cannot be started here has no time, and so is not chosen for it. */
		n += MAX_OF(r, 0);
	}
	return n;
}
