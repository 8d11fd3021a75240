/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Convolutions as matrix products. A task takes a tile of output pixels, and where these are few
 * also just some rows of the matrix:
 *
 *	gather the tile's columns into scratch, pack them to bits for a bits kernel (or gather bits)
 *	for each block of rows: kernel -> sums in scratch -> requantize -> the output's pixels
 */
#include <string.h>

#include "engine/exec_steps.h"

#define TASKS_PER_THREAD 3
#define ROWS_PER_TASK 16 /* rows are split in multiples of it */
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

static uint64_t count_tiles(const struct product *p)
{
	return divide_up(p->columns, p->tile) * p->r->op->groups;
}

static void cut_columns(struct product *p, uint64_t want)
{
	uint64_t like = p->r->step->kernel->columns_per_tile;
	uint64_t parts = divide_up(want, (uint64_t) p->r->op->groups * p->n_row_tasks);
	uint64_t tile = divide_up(divide_up(p->columns, parts), like) * like;

	p->tile = (uint32_t) MIN_OF(tile, p->tile);
}

static void cut_rows(struct product *p, uint64_t want)
{
	uint64_t rows = divide_up(p->rows, divide_up(want, count_tiles(p)));

	p->rows_per_task = (uint32_t) (divide_up(rows, ROWS_PER_TASK) * ROWS_PER_TASK);
	p->n_row_tasks = (uint32_t) divide_up(p->rows, p->rows_per_task);
}

/*
 * Enough tasks for all threads. Each tile decodes the weights again, each part of the rows gathers
 * the columns again: so whatever there is more of is cut first.
 */
static void cut(struct product *p, uint32_t threads)
{
	uint64_t want = (uint64_t) threads * TASKS_PER_THREAD;

	p->tile = p->r->step->columns_per_tile;
	p->rows_per_task = p->rows;
	p->n_row_tasks = 1;
	if (threads == 1)
		return;
	if (p->columns > p->rows)
		cut_columns(p, want);
	cut_rows(p, want);
	if (p->columns <= p->rows)
		cut_columns(p, want);
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
	run_tasks(r, product_task, &p, count_tiles(&p) * p.n_row_tasks, work);
}
