/* SPDX-License-Identifier: Apache-2.0 */
#include "support/graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void *take(struct graph *g, size_t bytes)
{
	void *p = calloc(1, bytes + 1);

	if (!p || g->n_memory == ARRAY_SIZE(g->memory))
		abort();
	g->memory[g->n_memory++] = p;
	return p;
}

void graph_init(struct graph *g, uint64_t seed)
{
	memset(g, 0, sizeof *g);
	g->state = seed;
	g->network = (struct network){.refs = 1,
		.fd = -1,
		.values = g->values,
		.ops = g->ops,
		.matrices = g->matrices,
		.input_pixels = true};
	g->model = (struct model){.refs = 1, .network = &g->network, .layers = g->layers};
}

void graph_done(struct graph *g)
{
	for (uint32_t i = 0; i < g->n_memory; i++)
		free(g->memory[i]);
}

/* splitmix64 */
uint64_t graph_random(struct graph *g)
{
	uint64_t z = g->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t graph_below(struct graph *g, uint32_t n)
{
	return (uint32_t) (graph_random(g) >> 32) % n;
}

static float between(struct graph *g, float low, float high)
{
	return low + (high - low) * (float) (graph_random(g) >> 40) / (float) (1 << 24);
}

static uint32_t add_value(struct graph *g, enum element element, struct shape shape)
{
	uint32_t i = g->network.n_values++;

	if (i == GRAPH_MAX || shape_elements(shape) == 0)
		abort();
	g->values[i] = (struct value){.element = element, .shape = shape};
	if (element == ELEMENT_U8) {
		g->values[i].scale = between(g, 0.01f, 0.1f);
		g->values[i].zero_point = (uint8_t) (graph_below(g, 2) ? graph_below(g, 256) : 0);
	}
	g->network.output = i;
	return i;
}

/* max pool, pad, slice and reshape do not change what a q means */
static uint32_t add_value_like(struct graph *g, uint32_t in, struct shape shape)
{
	uint32_t i = add_value(g, g->values[in].element, shape);

	g->values[i].scale = g->values[in].scale;
	g->values[i].zero_point = g->values[in].zero_point;
	return i;
}

static struct op *add_op(struct graph *g, enum op_kind kind, uint32_t n_inputs,
	const uint32_t *inputs, uint32_t output)
{
	struct op *op = &g->ops[g->network.n_ops++];

	*op = (struct op){.kind = kind, .n_inputs = n_inputs, .output = output, .clamp_high = 255};
	for (uint32_t i = 0; i < n_inputs; i++)
		op->inputs[i] = inputs[i];
	return op;
}

static void draw_clamp(struct graph *g, struct op *op)
{
	if (graph_below(g, 2) == 0)
		return;
	op->clamp_low = (uint8_t) graph_below(g, 100);
	op->clamp_high = (uint8_t) (op->clamp_low + graph_below(g, 256 - op->clamp_low));
}

static void draw_tables(struct graph *g, struct op *op, uint32_t n, uint32_t values)
{
	op->table = take(g, n * sizeof op->table[0]);
	op->n_tables = n;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t q = 0; q < 256; q++)
			op->table[i][q] = (uint8_t) (values == 0 ? q : graph_below(g, values));
}

static void draw_plane(struct graph *g, uint64_t *plane, const struct matrix *m)
{
	uint64_t words = bits_plane_words(m->rows, m->row_bits);

	if (m->columns % 64 == 0) {
		for (uint64_t i = 0; i < words; i++)
			plane[i] = graph_random(g);
		return;
	}
	for (uint32_t r = 0; r < m->rows; r++)
		for (uint32_t t = 0; t < m->columns; t++)
			if (graph_random(g) >> 63)
				bits_set(plane, (uint64_t) r * m->row_bits + t);
}

static void draw_sum(struct graph *g, const struct matrix *m, struct layer *l)
{
	size_t n = (size_t) m->rows * m->groups;
	int16_t *step = take(g, n * l->planes * sizeof *step);
	int8_t *base = take(g, n);

	for (size_t i = 0; i < n; i++) {
		int32_t left = 254;

		for (uint32_t p = 0; p < l->planes; p++) {
			step[i * l->planes + p] = (int16_t) graph_below(g, (uint32_t) left / 2 + 1);
			left -= step[i * l->planes + p];
		}
		/* From -127 to where all steps end at 127; plain: about zero. */
		base[i] = (int8_t) ((g->plain ? left / 2 : (int32_t) graph_below(g, (uint32_t) left + 1)) - 127);
	}
	l->step = step;
	l->base = base;
}

static void draw_levels(struct graph *g, const struct matrix *m, struct layer *l)
{
	size_t n = (size_t) (m->shared_levels ? 1 : m->rows) << l->planes;
	int8_t *level = take(g, n);

	for (size_t i = 0; i < n; i++)
		level[i] = (int8_t) ((int32_t) graph_below(g, 255) - 127);
	l->level = level;
}

/* Gains that spread the sums of random weights over the u8 range, or a bit beyond. */
static void draw_gains(struct graph *g, const struct matrix *m, struct layer *l)
{
	float *gain = take(g, m->rows * sizeof *gain), *bias = take(g, m->rows * sizeof *bias);
	float spread = 1.0f / (60.0f * sqrtf((float) m->columns));

	for (uint32_t r = 0; r < m->rows; r++) {
		gain[r] = between(g, 0.2f, 2.0f) * spread;
		bias[r] = between(g, -40.0f, 40.0f);
	}
	l->gain = gain;
	l->bias = bias;
}

static uint32_t add_matrix(struct graph *g, uint32_t rows, uint32_t columns, bool depthwise)
{
	uint32_t index = g->network.n_matrices++;
	struct matrix *m = &g->matrices[index];
	struct layer *l = &g->layers[index];
	bool level = !g->plain && graph_below(g, 4) == 0;

	*m = (struct matrix){.rows = rows, .columns = columns, .depthwise = depthwise, .groups = 1};
	m->row_bits = bits_row_bits(columns, depthwise);
	m->group_columns = columns;
	m->coding = level ? CODING_LEVEL : CODING_SUM;
	m->shared_levels = level && graph_below(g, 2);
	if (!g->plain && !level && !depthwise && columns > 64) {
		m->group_columns = 64 * (1 + graph_below(g, 3));
		m->groups = (columns - 1) / m->group_columns + 1;
	}
	l->planes = m->planes = g->planes > 0 ? g->planes : 1 + graph_below(g, 8);
	for (uint32_t i = 0; i < l->planes; i++) {
		uint64_t *plane = take(g, bits_plane_words(rows, m->row_bits) * sizeof *plane);

		draw_plane(g, plane, m);
		l->plane[i] = plane;
	}
	if (level)
		draw_levels(g, m, l);
	else
		draw_sum(g, m, l);
	draw_gains(g, m, l);
	return index;
}

static void fill_window(struct graph_window *w)
{
	uint32_t *ones[] = {&w->height, &w->width, &w->stride_h, &w->stride_w, &w->dilation_h,
		&w->dilation_w, &w->groups};

	for (uint32_t i = 0; i < ARRAY_SIZE(ones); i++)
		*ones[i] = MAX_OF(*ones[i], 1);
	if (w->activation_bits == 0)
		w->activation_bits = 8;
}

static void set_window(struct op *op, const struct graph_window *w)
{
	op->kernel_h = w->height;
	op->kernel_w = w->width;
	op->stride_h = w->stride_h;
	op->stride_w = w->stride_w;
	op->dilation_h = w->dilation_h;
	op->dilation_w = w->dilation_w;
	op->pad_top = w->top;
	op->pad_left = w->left;
	op->pad_bottom = w->bottom;
	op->pad_right = w->right;
	op->count_padding = w->count_padding;
}

static struct shape window_shape(struct shape in, const struct graph_window *w, uint32_t channels)
{
	return (struct shape){
		(in.height + w->top + w->bottom - w->dilation_h * (w->height - 1) - 1) /
				w->stride_h +
			1,
		(in.width + w->left + w->right - w->dilation_w * (w->width - 1) - 1) / w->stride_w +
			1,
		channels,
	};
}

bool graph_fits(const struct graph *g, uint32_t in, const struct graph_window *w)
{
	struct graph_window f = *w;
	const struct shape *s = &g->values[in].shape;

	fill_window(&f);
	return s->height + f.top + f.bottom > f.dilation_h * (f.height - 1) &&
	       s->width + f.left + f.right > f.dilation_w * (f.width - 1);
}

uint32_t graph_input(struct graph *g, uint32_t height, uint32_t width, uint32_t channels)
{
	uint32_t out = add_value(g, ELEMENT_U8, (struct shape){height, width, channels});
	struct op *op = add_op(g, OP_INPUT, 0, NULL, out);

	draw_tables(g, op, channels, 256);
	g->network.input = out;
	g->network.input_bgr = channels == 3 && graph_below(g, 2);
	return out;
}

uint32_t graph_convolution(struct graph *g, uint32_t in, uint32_t channels, struct graph_window w)
{
	struct shape s = g->values[in].shape;
	uint32_t out;
	struct op *op;

	fill_window(&w);
	if (w.depthwise)
		channels = s.channels;
	out = add_value(g, w.f32 ? ELEMENT_F32 : ELEMENT_U8, window_shape(s, &w, channels));
	op = add_op(g, w.depthwise ? OP_DEPTHWISE : OP_CONVOLUTION, 1, &in, out);
	set_window(op, &w);
	op->groups = w.groups;
	op->activation_bits = w.activation_bits;
	op->matrix = add_matrix(g, channels,
		w.height * w.width * (w.depthwise ? 1 : s.channels / w.groups), w.depthwise);
	if (!w.f32)
		draw_clamp(g, op);
	return out;
}

uint32_t graph_pool(struct graph *g, uint32_t in, struct graph_window w)
{
	struct shape s = g->values[in].shape;
	uint32_t out;
	struct op *op;

	fill_window(&w);
	s = window_shape(s, &w, s.channels);
	out = w.average ? add_value(g, w.f32 ? ELEMENT_F32 : ELEMENT_U8, s)
			: add_value_like(g, in, s);
	op = add_op(g, w.average ? OP_AVERAGE_POOL : OP_MAX_POOL, 1, &in, out);
	set_window(op, &w);
	if (w.average)
		op->gain[0] = between(g, 0.3f, 1.5f);
	draw_clamp(g, op);
	return out;
}

uint32_t graph_add(struct graph *g, uint32_t a, uint32_t b)
{
	uint32_t inputs[] = {a, b}, out = add_value(g, ELEMENT_U8, g->values[a].shape);
	struct op *op = add_op(g, OP_ADD, 2, inputs, out);

	op->gain[0] = between(g, 0.2f, 2.0f);
	op->gain[1] = between(g, 0.2f, 2.0f);
	draw_clamp(g, op);
	return out;
}

uint32_t graph_concat(struct graph *g, const uint32_t *in, uint32_t n)
{
	struct shape s = g->values[in[0]].shape;
	struct op *op;

	for (uint32_t i = 1; i < n; i++)
		s.channels += g->values[in[i]].shape.channels;
	op = add_op(g, OP_CONCAT, n, in, add_value(g, ELEMENT_U8, s));
	draw_tables(g, op, n, graph_below(g, 2) ? 256 : 0);
	return op->output;
}

uint32_t graph_pad(struct graph *g, uint32_t in)
{
	uint32_t p[6];
	struct shape s = g->values[in].shape;
	struct op *op;

	for (uint32_t i = 0; i < 6; i++)
		p[i] = graph_below(g, 3);
	s = (struct shape){s.height + p[0] + p[1], s.width + p[2] + p[3], s.channels + p[4] + p[5]};
	op = add_op(g, OP_PAD, 1, &in, add_value_like(g, in, s));
	op->pad_top = p[0];
	op->pad_bottom = p[1];
	op->pad_left = p[2];
	op->pad_right = p[3];
	op->pad_channels_before = p[4];
	op->pad_channels_after = p[5];
	return op->output;
}

uint32_t graph_slice(struct graph *g, uint32_t in)
{
	struct shape s = g->values[in].shape;
	uint32_t *size[3] = {&s.height, &s.width, &s.channels}, begin[3], step[3];
	struct op *op;

	for (uint32_t i = 0; i < 3; i++) {
		begin[i] = graph_below(g, MIN_OF(*size[i], 3));
		step[i] = 1 + graph_below(g, 3) / 2;
		*size[i] = 1 + graph_below(g, (*size[i] - begin[i] - 1) / step[i] + 1);
	}
	op = add_op(g, OP_SLICE, 1, &in, add_value_like(g, in, s));
	memcpy(op->begin, begin, sizeof begin);
	memcpy(op->step, step, sizeof step);
	return op->output;
}

uint32_t graph_reshape(struct graph *g, uint32_t in, struct shape shape)
{
	return add_op(g, OP_RESHAPE, 1, &in, add_value_like(g, in, shape))->output;
}

uint32_t graph_table(struct graph *g, uint32_t in, uint32_t bits)
{
	uint32_t out = add_value(g, ELEMENT_U8, g->values[in].shape);
	struct op *op = add_op(g, OP_TABLE, 1, &in, out);

	draw_tables(g, op, 1, UINT32_C(1) << bits);
	g->values[out].zero_point &= (uint8_t) ((1 << bits) - 1);
	return out;
}

uint32_t graph_to_float(struct graph *g, uint32_t in)
{
	return add_op(g, OP_TO_FLOAT, 1, &in, add_value(g, ELEMENT_F32, g->values[in].shape))
		->output;
}

uint32_t graph_softmax(struct graph *g, uint32_t in)
{
	return add_op(g, OP_SOFTMAX, 1, &in, add_value(g, ELEMENT_F32, g->values[in].shape))
		->output;
}

static const struct graph_window pad3 = {
	.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1};

static uint32_t residual(struct graph *g, uint32_t in, uint32_t channels, uint32_t stride)
{
	struct graph_window first = pad3, skip = {.stride_h = stride, .stride_w = stride};
	uint32_t a, b = in;

	first.stride_h = first.stride_w = stride;
	a = graph_convolution(g, in, channels, first);
	a = graph_convolution(g, a, channels, pad3);
	if (stride > 1 || g->values[in].shape.channels != channels)
		b = graph_convolution(g, in, channels, skip);
	return graph_add(g, a, b);
}

static void classify(struct graph *g, uint32_t in, uint32_t classes)
{
	struct shape s = g->values[in].shape;

	in = graph_pool(g, in,
		(struct graph_window){.height = s.height, .width = s.width, .average = true});
	(void) graph_convolution(g, in, classes, (struct graph_window){.f32 = true});
}

void graph_resnet18(struct graph *g, uint32_t planes)
{
	struct graph_window stem = {.height = 7,
		.width = 7,
		.stride_h = 2,
		.stride_w = 2,
		.top = 3,
		.left = 3,
		.bottom = 3,
		.right = 3};
	struct graph_window pool = pad3;
	uint32_t x;

	graph_init(g, 18);
	g->planes = planes;
	g->plain = true;
	pool.stride_h = pool.stride_w = 2;
	x = graph_convolution(g, graph_input(g, 224, 224, 3), 64, stem);
	x = graph_pool(g, x, pool);
	for (uint32_t i = 0; i < 8; i++)
		x = residual(g, x, UINT32_C(64) << i / 2, i % 2 == 0 && i > 0 ? 2 : 1);
	classify(g, x, 1000);
}

void graph_resnet20(struct graph *g, uint32_t planes)
{
	uint32_t x;

	graph_init(g, 20);
	g->planes = planes;
	g->plain = true;
	x = graph_convolution(g, graph_input(g, 32, 32, 3), 16, pad3);
	for (uint32_t i = 0; i < 9; i++)
		x = residual(g, x, UINT32_C(16) << i / 3, i % 3 == 0 && i > 0 ? 2 : 1);
	classify(g, x, 10);
}
