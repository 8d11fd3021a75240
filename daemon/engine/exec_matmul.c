/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions as matrix products. A task takes a tile of output pixels, and where these are few
 * also just some rows of the matrix:
 *
 *	gather the tile's columns into scratch, pack them to bits for a bits kernel (or gather bits); or
 *		just pad its lines for a kernel that finds columns there
 *	for each block of rows: kernel -> sums in scratch -> requantize -> the output's pixels,
 *		or kernel -> the output's pixels, where it can
 */
#include <string.h>

#include "engine/exec_steps.h"

#define ROWS_PER_TASK 16 /* rows are split in multiples of it */
#define DECODE_COLUMNS 16 /* a row is decoded in the time in which so many columns are multiplied with it */
#define GATHER_ROWS 8 /* and a column is gathered in that of so many rows, */
#define PAD_ROWS 1 /* or padded */
#define MACS_PER_NSEC 32
#define MACS_PER_NSEC_SCALAR 2

/**
 * struct product - how one step is cut; the same for all of its tasks
 * @columns: output pixels; @tile: of them, per task
 * @rows: of one group; @rows_per_task: of them
 */
struct product {
	const struct run *r;
	uint64_t columns;
	uint32_t tile, rows, rows_per_task, n_row_tasks;
	const float *gain, *bias;
};

static void pack_columns(const struct run *r, const uint8_t *u8, uint32_t count, uint64_t *bits)
{
	const uint32_t words = r->step->matrix.words, planes = r->op->activation_bits;

	for (uint32_t i = 0; i < count; i++) {
		r->step->pack->pack(u8, words, planes, bits);
		u8 += (size_t) words * BITS_PER_WORD;
		bits += (size_t) planes * words;
	}
}

/* Nothing is gathered: the kernel finds the taps in the lines of the image. */
static void find_image(const struct run *r, uint64_t first, uint32_t count, uint8_t *scratch,
	struct kernel_columns *ret)
{
	const struct step *s = r->step;
	const struct op *op = r->op;
	const struct shape *in = &run_input_value(r, 0)->shape, *out = &run_output_value(r)->shape;
	const bool lines = s->tile_unit == out->width;
	const uint32_t y = (uint32_t) (first / out->width);
	const size_t width = s->padded ? plan_padded_width(op, out) : in->width, line = width * in->channels;

	ret->run = op->kernel_w * in->channels;
	ret->run_step = line;
	ret->step = (size_t) op->stride_w * in->channels;
	ret->width = lines ? out->width : count;
	ret->line_step = op->stride_h * line;
	if (s->padded) {
		pad_lines(r, (struct lines){0, in->channels, y, count / out->width, width}, scratch);
		ret->u8 = scratch;
	} else {
		ret->u8 = (const uint8_t *) run_input(r, 0) +
			  (lines ? y * ret->line_step : first * in->channels);
	}
}

static void find_columns(const struct run *r, uint32_t group, uint64_t first, uint32_t count,
	uint8_t *scratch, struct kernel_columns *ret)
{
	const struct step *s = r->step;
	const struct value *in = run_input_value(r, 0);
	struct gather g = {
		.kernel = r->plan->kernels[KERNEL_GATHER],
		.op = r->op,
		.image = in->shape,
		.data = run_input(r, 0),
		.group_channels = in->shape.channels / r->op->groups,
		.out_width = run_output_value(r)->shape.width,
		.stride = (size_t) s->matrix.words * BITS_PER_WORD,
		.zero_point = in->zero_point,
	};

	*ret = (struct kernel_columns){
		.count = count,
		.planes = r->op->activation_bits,
		.values = r->network->matrices[r->op->matrix].columns,
	};
	if (s->direct) {
		ret->u8 = g.data + first * g.stride;
		return;
	}
	if (s->image) {
		find_image(r, first, count, scratch, ret);
		return;
	}
	if (s->packed_bytes) {
		ret->bits = (uint64_t *) (scratch + s->bits_at);
		gather_bits(r, first, count, (uint64_t *) (scratch + s->bits_at));
		return;
	}
	g.first_channel = group * g.group_channels;
	gather_columns(&g, first, count, scratch);
	ret->u8 = scratch;
	if (s->pack) {
		pack_columns(r, scratch, count, (uint64_t *) (scratch + s->bits_at));
		ret->bits = (uint64_t *) (scratch + s->bits_at);
	}
}

static void repeat_gains(const struct product *p, float *gain, float *bias)
{
	for (uint32_t i = 0; i < p->r->step->repeat; i++) {
		memcpy(gain + (size_t) i * p->rows, p->gain, p->rows * sizeof *gain);
		memcpy(bias + (size_t) i * p->rows, p->bias, p->rows * sizeof *bias);
	}
}

/* Sums [count][rows] of rows from @row on to the output pixels from @first on. */
static void store(const struct product *p, const int32_t *acc, uint64_t first, uint32_t count,
	uint32_t row, uint32_t rows)
{
	const struct value *v = run_output_value(p->r);
	const float *gain = p->gain + row, *bias = p->bias + row;
	size_t at = first * v->shape.channels + row;

	for (uint32_t i = 0; i < count; i++, acc += rows, at += v->shape.channels) {
		if (v->element == ELEMENT_F32)
			run_to_float(acc, rows, gain, bias, (float *) run_output(p->r) + at);
		else
			run_requantize(p->r, acc, 1, rows, gain, bias, 1,
				(uint8_t *) run_output(p->r) + at);
	}
}

/* The same where rows are all channels, so that the pixels lie one after the other. */
static void store_whole(const struct product *p, const int32_t *acc, uint64_t first, uint32_t count,
	uint8_t *scratch)
{
	const struct step *s = p->r->step;
	float *gain = (float *) (scratch + s->gain_at), *bias = gain + (size_t) p->rows * s->repeat;

	repeat_gains(p, gain, bias);
	run_requantize(p->r, acc, count, p->rows, gain, bias, s->repeat,
		(uint8_t *) run_output(p->r) + first * p->rows);
}

/* Rows from @row on of all groups, to the output pixels from @first on. */
static void multiply_to_output(const struct product *p, const struct kernel_matrix *block,
	const struct kernel_columns *columns, uint32_t row, uint64_t first, uint8_t *scratch)
{
	const struct step *s = p->r->step;
	const struct value *v = run_output_value(p->r);
	const struct kernel_output o = {
		.gain = p->gain + row,
		.bias = p->bias + row,
		.zero_point = v->zero_point,
		.low = p->r->op->clamp_low,
		.high = p->r->op->clamp_high,
		.out = (uint8_t *) run_output(p->r) + first * v->shape.channels + row,
		.stride = v->shape.channels,
	};

	s->kernel->matmul_u8(block, columns, (int32_t *) (scratch + s->acc_at), scratch + s->kernel_at, &o);
}

static void product_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct product *p = userdata;
	const struct step *s = p->r->step;
	uint32_t part = task % p->n_row_tasks * p->rows_per_task;
	uint32_t group = task / p->n_row_tasks % p->r->op->groups;
	uint64_t first = (uint64_t) (task / p->n_row_tasks / p->r->op->groups) * p->tile;
	uint32_t count = (uint32_t) MIN_OF(p->tile, p->columns - first);
	uint32_t end = MIN_OF(part + p->rows_per_task, p->rows), rows;
	uint32_t row_bits = s->matrix.words * BITS_PER_WORD;
	uint8_t *scratch = run_scratch(p->r, thread);
	int32_t *acc = (int32_t *) (scratch + s->acc_at);
	struct kernel_columns columns;
	struct kernel_matrix block;

	find_columns(p->r, group, first, count, scratch, &columns);
	for (uint32_t row = part; row < end; row += rows) {
		rows = MIN_OF(s->rows_per_block, end - row);
		plan_matrix_rows(&s->matrix, row_bits, group * p->rows + row, rows, &block);
		if (s->to_output) {
			multiply_to_output(p, &block, &columns, group * p->rows + row, first, scratch);
			continue;
		}
		s->kernel->matmul(&block, &columns, acc, rows, scratch + s->kernel_at);
		if (s->repeat > 1 && rows == p->rows)
			store_whole(p, acc, first, count, scratch);
		else
			store(p, acc, first, count, group * p->rows + row, rows);
	}
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static uint64_t count_tasks(const struct product *p)
{
	return divide_up(p->columns, p->tile) * p->r->op->groups * p->n_row_tasks;
}

/* Tiles and parts of the rows, each of nearly one size; no larger than scratch has room for. */
static struct product cut_into(const struct product *p, uint64_t tiles, uint64_t parts)
{
	const struct step *s = p->r->step;
	const uint64_t tile = divide_up(divide_up(p->columns, tiles), s->tile_unit) * s->tile_unit;
	const uint64_t rows = divide_up(divide_up(p->rows, parts), ROWS_PER_TASK) * ROWS_PER_TASK;
	struct product c = *p;

	c.tile = (uint32_t) MIN_OF(tile, s->columns_per_tile);
	c.rows_per_task = (uint32_t) MIN_OF(rows, p->rows);
	c.n_row_tasks = (uint32_t) divide_up(p->rows, c.rows_per_task);
	return c;
}

/*
 * What the busiest thread has to do, in rows times columns. Each tile decodes the weights again, each part of
 * the rows gathers the columns again. Of two ways that take as long the one of smaller tasks is better: they
 * can be stolen.
 */
static uint64_t cut_cost(const struct product *p, uint32_t threads)
{
	const struct step *s = p->r->step;
	const bool in_place = s->direct || s->image;
	const uint32_t gather_rows = !in_place ? GATHER_ROWS : s->padded ? PAD_ROWS : 0;
	const uint64_t task = (p->tile + DECODE_COLUMNS) * (uint64_t) p->rows_per_task + gather_rows * (uint64_t) p->tile;

	return divide_up(count_tasks(p), threads) * task + task / 16;
}

/*
 * As many tasks as share out evenly among all threads, at the least cost: of all rows, of halves, or of as many parts
 * as there are threads, or twice that; tiles in such multiples that tiles times parts are one of the threads.
 */
static void cut(struct product *p, uint32_t threads)
{
	const uint64_t tiles = divide_up(p->columns, p->r->step->columns_per_tile);
	const uint32_t parts[] = {1, 2, threads, 2 * threads};
	uint64_t least = UINT64_MAX;
	struct product best = cut_into(p, tiles, 1);

	for (uint32_t i = 0; i < ARRAY_SIZE(parts) && threads > 1; i++) {
		const bool halves = parts[i] == 2 && threads % 2 == 0;
		const uint64_t step = halves ? threads / 2 : parts[i] < threads ? threads : 1;

		for (uint64_t n = divide_up(tiles, step) * step, end = n + step; n <= end; n += step) {
			const struct product c = cut_into(p, n, parts[i]);
			const uint64_t cost = cut_cost(&c, threads);

			if (cost < least)
				best = c;
			least = MIN_OF(least, cost);
		}
	}
	*p = best;
}

void step_convolution(const struct run *r)
{
	const struct shape *out = &run_output_value(r)->shape;
	const struct layer *layer = &r->plan->model->layers[r->op->matrix];
	struct product p = {
		.r = r,
		.columns = (uint64_t) out->height * out->width,
		.rows = r->step->matrix.rows / r->op->groups,
		.gain = layer->gain,
		.bias = layer->bias,
	};
	uint64_t work = p.columns * r->step->matrix.rows * r->step->matrix.words * BITS_PER_WORD /
			(r->step->kernel->needs != 0 ? MACS_PER_NSEC : MACS_PER_NSEC_SCALAR);

	if (r->step->packed_bytes)
		pack_image(r);
	cut(&p, threads_count(run_threads(r, work)));
	run_tasks(r, product_task, &p, count_tasks(&p), work);
}
