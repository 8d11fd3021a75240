/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a moved code does to the gradients of columns after it waits until its block of columns is done, and is
 * then added for all rows at once.
 */
#include "convert/quantize/refine.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/quantize/rank_update.h"

#define ROUNDS 3

/**
 * struct refine_row - one row
 * @value: [planes][groups][codes], what the prefix of a code means
 * @gradient: [planes][columns], H (w - decoded); @target: [columns], H w
 * @moving: the last round moved a code; @moved: this one did
 */
struct refine_row {
	double *value, *gradient, *target, lambda[BITS_PLANES_MAX];
	bool moving, moved;
};

int refine_init(struct refine *r, const struct coded *c, uint32_t rows)
{
	r->rows = rows;
	r->row = calloc(rows, sizeof *r->row);
	r->factor = calloc((size_t) RANK_MAX * rows * c->planes, sizeof *r->factor);
	r->to = calloc((size_t) rows * c->planes, sizeof *r->to);
	if (!r->row || !r->factor || !r->to)
		return -ENOMEM;
	for (uint32_t i = 0; i < rows; i++) {
		struct refine_row *row = &r->row[i];

		row->value = calloc(((size_t) c->planes * c->groups) << c->planes, sizeof *row->value);
		row->gradient = calloc((size_t) c->planes * c->columns, sizeof *row->gradient);
		row->target = calloc(c->columns, sizeof *row->target);
		if (!row->value || !row->gradient || !row->target)
			return -ENOMEM;
	}
	return equations_new_rows(&r->equations, c, c->planes);
}

void refine_done(struct refine *r)
{
	for (uint32_t i = 0; r->row && i < r->rows; i++) {
		free(r->row[i].value);
		free(r->row[i].gradient);
		free(r->row[i].target);
	}
	equations_free_rows(&r->equations);
	free(r->row);
	free(r->factor);
	free(r->to);
}

/* H w, the same in all rounds. */
static void make_targets(struct refine *r, uint32_t rows, const float *weights, const struct metric *m)
{
	size_t columns = m->columns;
	struct rank_update u = {.to = r->to, .n_to = rows, .factor = r->factor, .stride = columns, .end = columns};

	for (uint32_t row = 0; row < rows; row++) {
		r->to[row] = r->row[row].target;
		memset(r->to[row], 0, columns * sizeof **r->to);
	}
	for (size_t begin = 0; begin < columns; begin += RANK_MAX) {
		u.rank = (uint32_t) MIN_OF((size_t) RANK_MAX, columns - begin);
		u.from = m->h + begin * columns;
		for (size_t k = 0; k < u.rank; k++)
			for (uint32_t row = 0; row < rows; row++)
				r->factor[k * rows + row] = (double) weights[row * columns + begin + k];
		rank_update(&u);
	}
}

static const double *group_values(
	const struct refine_row *r, const struct coded *c, uint32_t planes, uint32_t group)
{
	return r->value + (((size_t) (planes - 1) * c->groups + group) << c->planes);
}

/* From the scales in the equations: what codes mean at @planes planes, and the gradient there. */
static void make_width(struct refine_row *r, const struct equations *e, const struct coded *c, uint32_t planes)
{
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

static double width_error(const struct refine_row *r, const struct coded *c, const uint8_t *codes,
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
	struct refine_row *r, const struct coded *c, const uint8_t *codes, const float *weights)
{
	for (uint32_t p = 1; p <= c->planes; p++) {
		double error = width_error(r, c, codes, weights, p);

		r->lambda[p - 1] = error > 0 ? 1 / error : 0;
	}
}

/* How the sum changes when the code of @column becomes @code. */
static double move_cost(const struct refine_row *r, const struct coded *c, uint32_t column,
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

static uint32_t best_code(const struct refine_row *r, const struct coded *c, uint32_t column, uint32_t old,
	const struct metric *m)
{
	double smallest = -1e-9, h = m->h[(size_t) column * m->columns + column];
	uint32_t best = old;

	for (uint32_t code = 0; code < 1u << c->planes; code++) {
		double cost = move_cost(r, c, column, old, code, h);

		if (cost < smallest) {
			smallest = cost;
			best = code;
		}
	}
	return best;
}

/* @factor: [planes], how far each width steps; the columns up to @end see it at once */
static void move_code(struct refine_row *r, const struct coded *c, uint32_t column, uint32_t old,
	uint32_t code, const struct metric *m, uint32_t end, double *factor)
{
	const double *h = m->h + (size_t) column * m->columns;

	for (uint32_t p = 1; p <= c->planes; p++) {
		const double *value = group_values(r, c, p, column / c->group_columns);
		double step = value[code] - value[old],
		       *gradient = r->gradient + (size_t) (p - 1) * c->columns;

		factor[p - 1] = -step;
		for (uint32_t t = column + 1; t < end; t++)
			gradient[t] -= step * h[t];
	}
}

static void sweep_block(struct refine *r, uint32_t rows, const struct coded *c, uint8_t *codes, uint32_t begin,
	uint32_t end, const struct metric *m)
{
	uint32_t n_to = rows * c->planes;
	struct rank_update u = {.to = r->to, .n_to = n_to, .rank = end - begin, .factor = r->factor,
		.from = m->h + (size_t) begin * c->columns, .stride = c->columns, .first = end,
		.end = c->columns};

	memset(r->factor, 0, (size_t) n_to * u.rank * sizeof *r->factor);
	for (uint32_t i = 0; i < rows; i++) {
		struct refine_row *row = &r->row[i];
		uint8_t *code = codes + (size_t) i * c->columns;

		for (uint32_t p = 0; p < c->planes; p++)
			r->to[i * c->planes + p] = row->gradient + (size_t) p * c->columns;
		for (uint32_t t = begin; row->moving && t < end; t++) {
			uint32_t best = best_code(row, c, t, code[t], m);

			if (best == code[t])
				continue;
			move_code(row, c, t, code[t], best, m, end,
				r->factor + (size_t) (t - begin) * n_to + i * c->planes);
			code[t] = (uint8_t) best;
			row->moved = true;
		}
	}
	rank_update(&u);
}

/* Return: whether any code moved; rows where none did are done */
static bool sweep(struct refine *r, uint32_t rows, const struct coded *c, uint8_t *codes, const struct metric *m)
{
	bool any = false;

	for (uint32_t i = 0; i < rows; i++)
		r->row[i].moved = false;
	for (uint32_t begin = 0; begin < c->columns; begin += RANK_MAX)
		sweep_block(r, rows, c, codes, begin, MIN_OF(begin + RANK_MAX, c->columns), m);
	for (uint32_t i = 0; i < rows; i++) {
		r->row[i].moving = r->row[i].moved;
		any |= r->row[i].moved;
	}
	return any;
}

void refine_rows(struct refine *r, uint32_t rows, const struct coded *c, uint8_t *codes, const float *weights,
	const struct metric *m)
{
	make_targets(r, rows, weights, m);
	for (uint32_t i = 0; i < rows; i++)
		r->row[i].moving = true;
	for (uint32_t round = 0; round < ROUNDS; round++) {
		equations_make(r->equations, rows, c, codes, weights, m);
		for (uint32_t i = 0; i < rows; i++) {
			size_t at = (size_t) i * c->columns;

			for (uint32_t p = 1; p <= c->planes; p++) {
				equations_solve(&r->equations[i], p);
				make_width(&r->row[i], &r->equations[i], c, p);
			}
			if (round == 0)
				choose_lambda(&r->row[i], c, codes + at, weights + at);
		}
		if (!sweep(r, rows, c, codes, m))
			return;
	}
}
