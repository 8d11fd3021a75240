/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolutions. A task takes some channels and a band of output lines: it decodes its
 * weights, copies the input lines that the band needs into scratch with padding around them, and
 * runs the kernel line by line, or all lines at once where the kernel makes bytes of its sums.
 */
#include <string.h>

#include "engine/exec_steps.h"

#define MACS_PER_NSEC 4

struct band {
	const struct run *r;
	uint32_t n_blocks;
	const float *gain, *bias;
};

/* The part of a task that both of its halves need. Lines are of the output. */
struct part {
	uint32_t channel, channels, line, lines;
	size_t width; /* of a padded line, in pixels */
	uint8_t *scratch;
};

/* Where the taps of output line @line of the band begin. */
static void find_taps(
	const struct run *r, const struct part *part, uint32_t line, const uint8_t **taps)
{
	const struct op *op = r->op;

	for (uint32_t i = 0; i < op->kernel_h; i++)
		for (uint32_t j = 0; j < op->kernel_w; j++) {
			size_t y = (size_t) line * op->stride_h + (size_t) i * op->dilation_h;
			size_t x = (size_t) j * op->dilation_w;

			*taps++ = part->scratch + (y * part->width + x) * part->channels;
		}
}

static void decode(const struct run *r, const struct part *part, int8_t *weights)
{
	uint32_t row_bits = r->network->matrices[r->op->matrix].row_bits;
	struct kernel_matrix rows;

	plan_matrix_rows(&r->step->matrix, row_bits, part->channel, part->channels, &rows);
	depthwise_decode(&rows, row_bits, r->op->kernel_h * r->op->kernel_w, weights);
}

static void store_line(
	const struct band *b, const struct part *part, const int32_t *acc, uint32_t y)
{
	const struct step *s = b->r->step;
	const struct value *v = run_output_value(b->r);
	const uint32_t n = part->channels;
	const float *gain = (const float *) (part->scratch + s->gain_at);
	const float *bias = gain + (size_t) s->rows_per_block * s->repeat;
	size_t at = (size_t) y * v->shape.width * v->shape.channels + part->channel;

	if (v->element == ELEMENT_U8 && n == v->shape.channels) {
		run_requantize(b->r, acc, v->shape.width, n, gain, bias, s->repeat,
			(uint8_t *) run_output(b->r) + at);
		return;
	}
	for (uint32_t x = 0; x < v->shape.width; x++, acc += n, at += v->shape.channels) {
		if (v->element == ELEMENT_F32)
			run_to_float(acc, n, gain, bias, (float *) run_output(b->r) + at);
		else
			run_requantize(
				b->r, acc, 1, n, gain, bias, 1, (uint8_t *) run_output(b->r) + at);
	}
}

static void repeat_gains(const struct band *b, const struct part *part)
{
	const struct step *s = b->r->step;
	float *gain = (float *) (part->scratch + s->gain_at);
	float *bias = gain + (size_t) s->rows_per_block * s->repeat;
	size_t bytes = part->channels * sizeof *gain;

	for (uint32_t i = 0; i < s->repeat; i++) {
		memcpy(gain + (size_t) i * part->channels, b->gain + part->channel, bytes);
		memcpy(bias + (size_t) i * part->channels, b->bias + part->channel, bytes);
	}
}

static void sum_lines(const struct band *b, const struct part *part, const uint8_t **taps, int8_t *weights)
{
	const struct run *r = b->r;
	const struct step *s = r->step;
	int32_t *acc = (int32_t *) (part->scratch + s->acc_at);

	decode(r, part, weights);
	repeat_gains(b, part);
	for (uint32_t i = 0; i < part->lines; i++) {
		find_taps(r, part, i, taps);
		s->kernel->depthwise(weights, r->op->kernel_h * r->op->kernel_w, part->channels, taps,
			r->op->stride_w * part->channels, run_output_value(r)->shape.width, acc);
		store_line(b, part, acc, part->line + i);
	}
}

/* The kernel decodes and requantizes itself. */
static void lines_to_output(
	const struct band *b, const struct part *part, const uint8_t **taps, int8_t *weights)
{
	const struct run *r = b->r;
	const struct op *op = r->op;
	const struct value *v = run_output_value(r);
	const size_t out_line = (size_t) v->shape.width * v->shape.channels;
	const uint32_t row_bits = r->network->matrices[op->matrix].row_bits;
	const struct kernel_depthwise d = {
		.taps = taps,
		.n_taps = op->kernel_h * op->kernel_w,
		.pixel_stride = op->stride_w * part->channels,
		.width = v->shape.width,
		.lines = part->lines,
		.line_stride = op->stride_h * part->width * part->channels,
		.weights = weights,
		.output = {b->gain + part->channel, b->bias + part->channel, v->zero_point, op->clamp_low,
			op->clamp_high,
			(uint8_t *) run_output(r) + part->line * out_line + part->channel, v->shape.channels},
		.out_line = out_line,
	};
	struct kernel_matrix rows;

	find_taps(r, part, 0, taps);
	plan_matrix_rows(&r->step->matrix, row_bits, part->channel, part->channels, &rows);
	r->step->kernel->depthwise_u8(&rows, row_bits, &d);
}

static void band_task(void *userdata, uint32_t task, uint32_t thread)
{
	const struct band *b = userdata;
	const struct run *r = b->r;
	const struct step *s = r->step;
	const struct shape *out = &run_output_value(r)->shape;
	struct part part = {
		.channel = task % b->n_blocks * s->rows_per_block,
		.line = task / b->n_blocks * s->columns_per_tile,
		.width = plan_padded_width(r->op, out),
		.scratch = run_scratch(r, thread),
	};
	const uint8_t **taps = (const uint8_t **) (part.scratch + s->line_at);

	part.channels = MIN_OF(s->rows_per_block, out->channels - part.channel);
	part.lines = MIN_OF(s->columns_per_tile, out->height - part.line);
	pad_lines(r, (struct lines){part.channel, part.channels, part.line, part.lines, part.width},
		part.scratch);
	(s->to_output ? lines_to_output : sum_lines)(b, &part, taps, (int8_t *) (part.scratch + s->kernel_at));
}

void step_depthwise(const struct run *r)
{
	const struct step *s = r->step;
	const struct shape *out = &run_output_value(r)->shape;
	const struct layer *layer = &r->plan->model->layers[r->op->matrix];
	struct band b = {
		.r = r,
		.n_blocks = (out->channels + s->rows_per_block - 1) / s->rows_per_block,
		.gain = layer->gain,
		.bias = layer->bias,
	};
	uint64_t n_bands = (out->height + s->columns_per_tile - 1) / s->columns_per_tile;

	run_tasks(r, band_task, &b, n_bands * b.n_blocks,
		shape_elements(*out) * r->op->kernel_h * r->op->kernel_w / MACS_PER_NSEC);
}
