/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/quantize/refine.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define ROUNDS 3

int refine_init(struct refine *r, const struct coded *c)
{
	r->value = calloc(((size_t) c->planes * c->groups) << c->planes, sizeof *r->value);
	r->gradient = calloc((size_t) c->planes * c->columns, sizeof *r->gradient);
	r->target = calloc(c->columns, sizeof *r->target);
	if (!r->value || !r->gradient || !r->target)
		return -ENOMEM;
	return equations_init(&r->equations, c, c->planes);
}

void refine_done(struct refine *r)
{
	equations_done(&r->equations);
	free(r->value);
	free(r->gradient);
	free(r->target);
}

/* H w, the same in all rounds. */
static void make_target(struct refine *r, const float *weights, const struct metric *m)
{
	for (size_t i = 0; i < m->columns; i++) {
		const double *h = m->h + i * m->columns;

		r->target[i] = 0;
		for (size_t j = 0; j < m->columns; j++)
			r->target[i] += h[j] * weights[j];
	}
}

static const double *group_values(
	const struct refine *r, const struct coded *c, uint32_t planes, uint32_t group)
{
	return r->value + (((size_t) (planes - 1) * c->groups + group) << c->planes);
}

/* From the scales in the equations: what codes mean at @planes planes, and the gradient there. */
static void make_width(struct refine *r, const struct coded *c, uint32_t planes)
{
	const struct equations *e = &r->equations;
	double *gradient = r->gradient + (size_t) (planes - 1) * c->columns;

	memcpy(gradient, r->target, c->columns * sizeof *gradient);
	for (uint32_t group = 0; group < c->groups; group++) {
		double *value =
			r->value + (((size_t) (planes - 1) * c->groups + group) << c->planes);
		const double *x = e->x + (size_t) group * planes;

		for (uint32_t code = 0; code < 1u << c->planes; code++) {
			value[code] = 0;
			for (uint32_t i = 0; i < planes; i++)
				value[code] += code >> (c->planes - 1 - i) & 1 ? x[i] : -x[i];
		}
		for (uint32_t i = 0; i < planes; i++) {
			const double *product =
				e->product + (size_t) (group * e->planes + i) * c->columns;

			for (uint32_t t = 0; t < c->columns; t++)
				gradient[t] -= x[i] * product[t];
		}
	}
}

static double width_error(const struct refine *r, const struct coded *c, const uint8_t *codes,
	const float *weights, uint32_t planes)
{
	const double *gradient = r->gradient + (size_t) (planes - 1) * c->columns;
	double sum = 0;

	for (uint32_t t = 0; t < c->columns; t++)
		sum += gradient[t] *
		       (weights[t] - group_values(r, c, planes, t / c->group_columns)[codes[t]]);
	return sum;
}

static void choose_lambda(
	struct refine *r, const struct coded *c, const uint8_t *codes, const float *weights)
{
	for (uint32_t p = 1; p <= c->planes; p++) {
		double error = width_error(r, c, codes, weights, p);

		r->lambda[p - 1] = error > 0 ? 1 / error : 0;
	}
}

/* How the sum changes when the code of @column becomes @code. */
static double move_cost(const struct refine *r, const struct coded *c, uint32_t column,
	uint32_t old, uint32_t code, double h)
{
	uint32_t group = column / c->group_columns;
	double cost = 0;

	for (uint32_t p = 1; p <= c->planes; p++) {
		const double *value = group_values(r, c, p, group);
		double step = value[code] - value[old];

		cost += r->lambda[p - 1] * step *
			(step * h - 2 * r->gradient[(size_t) (p - 1) * c->columns + column]);
	}
	return cost;
}

static void move_code(struct refine *r, const struct coded *c, uint32_t column, uint32_t old,
	uint32_t code, const struct metric *m)
{
	const double *h = m->h + (size_t) column * m->columns;

	for (uint32_t p = 1; p <= c->planes; p++) {
		const double *value = group_values(r, c, p, column / c->group_columns);
		double step = value[code] - value[old],
		       *gradient = r->gradient + (size_t) (p - 1) * c->columns;

		if (step == 0)
			continue;
		for (uint32_t t = 0; t < c->columns; t++)
			gradient[t] -= step * h[t];
	}
}

static bool sweep(struct refine *r, const struct coded *c, uint8_t *codes, const struct metric *m)
{
	bool moved = false;

	for (uint32_t t = 0; t < c->columns; t++) {
		double smallest = -1e-9, h = m->h[(size_t) t * m->columns + t];
		uint32_t best = codes[t];

		for (uint32_t code = 0; code < 1u << c->planes; code++) {
			double cost = move_cost(r, c, t, codes[t], code, h);

			if (cost < smallest) {
				smallest = cost;
				best = code;
			}
		}
		if (best == codes[t])
			continue;
		move_code(r, c, t, codes[t], best, m);
		codes[t] = (uint8_t) best;
		moved = true;
	}
	return moved;
}

void refine_row(struct refine *r, const struct coded *c, uint8_t *codes, const float *weights,
	const struct metric *m)
{
	make_target(r, weights, m);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		equations_make(&r->equations, c, codes, weights, m);
		for (uint32_t p = 1; p <= c->planes; p++) {
			equations_solve(&r->equations, p);
			make_width(r, c, p);
		}
		if (round == 0)
			choose_lambda(r, c, codes, weights);
		if (!sweep(r, c, codes, m))
			return;
	}
}
