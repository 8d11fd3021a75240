/* SPDX-License-Identifier: Apache-2.0 */
/* From the ranges of fp32 values to the numbers of the graph: scale, zero point, clamps, gains, tables. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/export.h"

static uint32_t root_of(const struct export *e, uint32_t v)
{
	while (e->value_infos[v].tie != v)
		v = e->value_infos[v].tie;
	return v;
}

/* @channel is the network's; means and deviations are those of the picture's channels, red first. */
static float pixel_value(const struct preprocess *p, uint32_t channel, uint32_t pixel)
{
	if (p->bgr && channel < 3)
		channel = 2 - channel;
	return ((float) pixel * p->scale - p->mean[channel]) / p->std[channel];
}

/* Every pixel is known: the input's range needs no data. */
static void input_range(const struct export *e, float *low, float *high)
{
	*low = *high = 0;
	for (uint32_t c = 0; c < e->input_shape.channels; c++)
		for (uint32_t p = 0; p < 256; p += 255) {
			float x = pixel_value(&e->preprocess, c, p);

			*low = fminf(*low, x);
			*high = fmaxf(*high, x);
		}
}

/* The matrices at the edges keep their planes, and their inputs keep eight bits. */
static void spread_bits(struct export *e)
{
	for (uint32_t i = 0; i < e->n_matrices; i++)
		if (e->matrices[i].fixed) {
			uint32_t v = e->ops[e->matrices[i].op].inputs[0];

			e->value_infos[v].bits = 8;
		}
	for (uint32_t i = 0; i < e->n_values; i++) {
		struct export_value *root = &e->value_infos[root_of(e, i)];

		root->bits = MAX_OF(root->bits, e->value_infos[i].bits);
	}
}

static enum calibrate_clip clip_of(const struct export *e, const struct export_value *v)
{
	if (e->options.clip != CLIP_DEFAULT)
		return e->options.clip;
	return v->bits == 8 ? CLIP_MIN_MAX : CLIP_MSE;
}

static void measure(struct export *e, const struct calibration *c)
{
	for (uint32_t i = 0; i < e->n_values; i++) {
		struct export_value *v = &e->value_infos[i], *root = &e->value_infos[root_of(e, i)];
		float low, high;

		if (e->values[i].element != ELEMENT_U8 || v->exact)
			continue;
		if (v->net_value == e->net->input && e->pixels)
			input_range(e, &low, &high);
		else
			calibration_range(c, v->net_value, clip_of(e, root), root->bits, &low, &high);
		root->low = fminf(root->low, low);
		root->high = fmaxf(root->high, high);
	}
}

static void set_scale(struct value *v, float low, float high, uint32_t bits)
{
	float levels = (float) ((1u << bits) - 1);

	v->scale = (high - low) / levels;
	if (!(v->scale >= 1e-30f) || !isfinite(v->scale))
		v->scale = 1;
	v->zero_point = (uint8_t) fminf(fmaxf(rintf(-low / v->scale), 0), levels);
}

static uint8_t quantize(const struct value *v, float x)
{
	float q = rintf(x / v->scale) + (float) v->zero_point;

	return (uint8_t) (q > 0 ? fminf(q, 255) : 0);
}

static uint8_t clamp_of(uint8_t q, const struct op *op)
{
	return q < op->clamp_low ? op->clamp_low : q > op->clamp_high ? op->clamp_high : q;
}

static float apply(const struct export_op *o, float x)
{
	switch (o->function) {
	case FUNCTION_AFFINE:
		x = x * o->a + o->b;
		break;
	case FUNCTION_SIGMOID:
		x = 1 / (1 + expf(-x));
		break;
	case FUNCTION_CLIP:
	case FUNCTION_NONE:
		break;
	}
	return fminf(fmaxf(x, o->low), o->high);
}

static int tables_new(struct op *op, uint32_t n)
{
	op->table = calloc(n, sizeof *op->table);
	if (!op->table)
		return -ENOMEM;
	op->n_tables = n;
	return 0;
}

/* From the q of @from to the q of @to, through the operation's function. */
static void fill_table(uint8_t *table, const struct value *from, const struct value *to,
	const struct export_op *o, const struct op *op)
{
	for (int q = 0; q < 256; q++) {
		float x = (float) (q - from->zero_point) * from->scale;

		table[q] = clamp_of(quantize(to, apply(o, x)), op);
	}
}

static int input_tables(struct export *e, struct op *op)
{
	const struct value *v = &e->values[op->output];
	int r;

	if (!e->pixels)
		return 0;
	r = tables_new(op, e->input_shape.channels);
	for (uint32_t c = 0; r >= 0 && c < e->input_shape.channels; c++)
		for (uint32_t p = 0; p < 256; p++)
			op->table[c][p] = quantize(v, pixel_value(&e->preprocess, c, p));
	return r;
}

static void set_gains(struct export *e, struct op *op)
{
	const struct value *out = &e->values[op->output];
	float scale = out->element == ELEMENT_F32 ? 1 : out->scale;

	for (uint32_t i = 0; i < op->n_inputs && i < 2; i++)
		op->gain[i] = e->values[op->inputs[i]].scale / scale;
}

static int set_op(struct export *e, uint32_t i)
{
	struct op *op = &e->ops[i];
	const struct export_op *info = &e->op_infos[i];
	const struct value *out = &e->values[op->output];
	uint32_t bits = e->value_infos[root_of(e, op->output)].bits;
	int r = 0;

	if (out->element == ELEMENT_U8) {
		op->clamp_low = info->low == -INFINITY ? 0 : quantize(out, info->low);
		op->clamp_high = (uint8_t) ((1u << bits) - 1);
		if (info->high != INFINITY)
			op->clamp_high = MIN_OF(op->clamp_high, quantize(out, info->high));
		op->clamp_low = MIN_OF(op->clamp_low, op->clamp_high);
	}
	if (op->kind == OP_ADD || op->kind == OP_AVERAGE_POOL)
		set_gains(e, op);
	if (op->kind == OP_CONVOLUTION) {
		bits = e->value_infos[root_of(e, op->inputs[0])].bits;
		op->activation_bits = bits <= 4 ? bits : 8;
	}
	if (op->kind == OP_INPUT)
		return input_tables(e, op);
	if (op->kind == OP_TABLE || op->kind == OP_CONCAT) {
		r = tables_new(op, op->kind == OP_TABLE ? 1 : op->n_inputs);
		for (uint32_t j = 0; r >= 0 && j < op->n_inputs; j++)
			fill_table(op->table[j], &e->values[op->inputs[j]], out, info, op);
	}
	return r;
}

int export_scales(struct export *e, const struct calibration *c, struct error *reterr)
{
	int r = 0;

	spread_bits(e);
	measure(e, c);
	for (uint32_t i = 0; i < e->n_values; i++) {
		const struct export_value *root = &e->value_infos[root_of(e, i)];

		if (e->values[i].element == ELEMENT_U8)
			set_scale(&e->values[i], root->low, root->high, root->bits);
	}
	for (uint32_t i = 0; r >= 0 && i < e->n_ops; i++)
		r = set_op(e, i);
	return r;
}
