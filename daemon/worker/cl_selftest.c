/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sample is a network of two operations or three: input, the one to look at, and what it needs to be
 * judged. Numbers are drawn so that every branch of a kernel is taken: sizes that no work-group divides,
 * rows that end inside of a word, groups of scales, both codings, padding, clamps.
 */
#include "worker/cl_selftest.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "worker/cl_plan.h"

#define VALUES_MAX 4
#define SEED UINT64_C(0x9e3779b97f4a7c15)

/** struct window - what is looked at; zeros as for 1x1, stride 1, dilation 1, one group, 8 bits */
struct window {
	struct shape in;
	uint32_t channels, kernel, stride, dilation, pad, groups, planes, activation_bits,
		scale_groups;
	bool level, shared, f32, count_padding;
};

/** struct sample - @memory: all that was drawn */
struct sample {
	struct network network;
	struct model model;
	struct value values[VALUES_MAX];
	struct op ops[VALUES_MAX];
	struct matrix matrix;
	struct layer layer;
	void *memory[32];
	uint32_t n_memory;
	bool short_of_memory;
	uint64_t state;
};

static uint32_t draw(struct sample *s, uint32_t n)
{
	s->state ^= s->state >> 12;
	s->state ^= s->state << 25;
	s->state ^= s->state >> 27;
	return (uint32_t) ((s->state * UINT64_C(2685821657736338717)) >> 33) % n;
}

static float draw_float(struct sample *s, float low, float high)
{
	return low + (high - low) * (float) draw(s, 1 << 20) / (float) (1 << 20);
}

/* Never NULL for those who fill it; the sample then says that it is of no use. */
static void *take(struct sample *s, size_t bytes)
{
	void *p = calloc(1, bytes + 64);

	if (!p || s->n_memory == ARRAY_SIZE(s->memory)) {
		free(p);
		s->short_of_memory = true;
		return NULL;
	}
	s->memory[s->n_memory++] = p;
	return p;
}

static void sample_done(struct sample *s)
{
	for (uint32_t i = 0; i < s->n_memory; i++)
		free(s->memory[i]);
}

static uint32_t add_value(struct sample *s, enum element element, struct shape shape)
{
	uint32_t i = s->network.n_values++;

	s->values[i] =
		(struct value){element, shape, draw_float(s, 0.01f, 0.1f), (uint8_t) draw(s, 200)};
	s->network.output = i;
	return i;
}

static uint32_t add_value_like(struct sample *s, uint32_t in, struct shape shape)
{
	uint32_t i = add_value(s, s->values[in].element, shape);

	s->values[i].scale = s->values[in].scale;
	s->values[i].zero_point = s->values[in].zero_point;
	return i;
}

static struct op *add_op(struct sample *s, enum op_kind kind, uint32_t in, uint32_t out)
{
	struct op *op = &s->ops[s->network.n_ops++];

	*op = (struct op){.kind = kind,
		.inputs = {in},
		.n_inputs = kind == OP_INPUT ? 0 : 1,
		.output = out,
		.clamp_low = (uint8_t) draw(s, 20),
		.clamp_high = (uint8_t) (200 + draw(s, 56)),
		.gain = {draw_float(s, 0.2f, 2.0f), draw_float(s, 0.2f, 2.0f)}};
	return op;
}

static void draw_tables(struct sample *s, struct op *op, uint32_t n, uint32_t below)
{
	op->table = take(s, (size_t) n * 256);
	op->n_tables = n;
	for (uint32_t i = 0; op->table && i < n * 256; i++)
		op->table[i / 256][i % 256] = (uint8_t) draw(s, below);
}

static uint32_t add_input(struct sample *s, struct shape shape, uint32_t below)
{
	uint32_t out = add_value(s, ELEMENT_U8, shape);

	draw_tables(s, add_op(s, OP_INPUT, 0, out), shape.channels, below);
	s->network.input = out;
	return out;
}

static void sample_init(struct sample *s, uint64_t seed)
{
	memset(s, 0, sizeof *s);
	s->state = seed * SEED | 1;
	s->network = (struct network){.refs = 1,
		.fd = -1,
		.values = s->values,
		.ops = s->ops,
		.matrices = &s->matrix,
		.input_pixels = true};
	s->model = (struct model){.refs = 1, .network = &s->network, .layers = &s->layer};
}

static void draw_planes(struct sample *s)
{
	const struct matrix *m = &s->matrix;

	for (uint32_t i = 0; i < m->planes; i++) {
		uint64_t *plane = take(s, bits_plane_words(m->rows, m->row_bits) * sizeof *plane);

		for (uint64_t t = 0; plane && t < (uint64_t) m->rows * m->columns; t++)
			if (draw(s, 2))
				bits_set(plane, t / m->columns * m->row_bits + t % m->columns);
		s->layer.plane[i] = plane;
	}
}

static void draw_sum(struct sample *s)
{
	size_t n = (size_t) s->matrix.rows * s->matrix.groups;
	uint32_t planes = s->matrix.planes;
	int16_t *step = take(s, n * planes * sizeof *step);
	int8_t *base = take(s, n);

	for (size_t i = 0; step && base && i < n; i++) {
		uint32_t left = 254;

		for (uint32_t p = 0; p < planes; p++) {
			step[i * planes + p] = (int16_t) draw(s, left + 1);
			left -= (uint32_t) step[i * planes + p];
		}
		base[i] = (int8_t) ((int32_t) draw(s, left + 1) - 127);
	}
	s->layer.step = step;
	s->layer.base = base;
}

static void draw_level(struct sample *s)
{
	size_t n = (size_t) (s->matrix.shared_levels ? 1 : s->matrix.rows) << s->matrix.planes;
	int8_t *level = take(s, n);

	for (size_t i = 0; level && i < n; i++)
		level[i] = (int8_t) ((int32_t) draw(s, 255) - 127);
	s->layer.level = level;
}

static void draw_matrix(
	struct sample *s, uint32_t rows, uint32_t columns, const struct window *w, bool depthwise)
{
	struct matrix *m = &s->matrix;
	float *gain = take(s, rows * sizeof *gain), *bias = take(s, rows * sizeof *bias);

	s->network.n_matrices = 1;
	*m = (struct matrix){.rows = rows,
		.columns = columns,
		.row_bits = bits_row_bits(columns, depthwise),
		.group_columns = w->scale_groups > 1 ? 64 : columns,
		.groups = w->scale_groups > 1 ? (columns + 63) / 64 : 1,
		.planes = w->planes,
		.depthwise = depthwise,
		.coding = w->level ? CODING_LEVEL : CODING_SUM,
		.shared_levels = w->shared};
	s->layer.planes = w->planes;
	draw_planes(s);
	if (w->level)
		draw_level(s);
	else
		draw_sum(s);
	for (uint32_t r = 0; gain && bias && r < rows; r++) {
		gain[r] = draw_float(s, 0.001f, 0.02f);
		bias[r] = draw_float(s, -60.0f, 60.0f);
	}
	s->layer.gain = gain;
	s->layer.bias = bias;
}

static uint32_t places(uint32_t in, const struct window *w)
{
	return (in + 2 * w->pad - w->dilation * (w->kernel - 1) - 1) / w->stride + 1;
}

static struct op *add_window(
	struct sample *s, enum op_kind kind, const struct window *w, uint32_t channels)
{
	uint32_t in = add_input(s, w->in, w->activation_bits < 8 ? 1u << w->activation_bits : 256);
	struct shape shape = {places(w->in.height, w), places(w->in.width, w), channels};
	uint32_t out = kind == OP_MAX_POOL ? add_value_like(s, in, shape)
					   : add_value(s, w->f32 ? ELEMENT_F32 : ELEMENT_U8, shape);
	struct op *op = add_op(s, kind, in, out);

	if (w->activation_bits < 8)
		s->values[in].zero_point %= 1u << w->activation_bits;
	op->kernel_h = op->kernel_w = w->kernel;
	op->stride_h = op->stride_w = w->stride;
	op->dilation_h = op->dilation_w = w->dilation;
	op->pad_top = op->pad_left = op->pad_bottom = op->pad_right = w->pad;
	op->groups = w->groups;
	op->activation_bits = w->activation_bits;
	op->count_padding = w->count_padding;
	return op;
}

static void make_convolution(struct sample *s, const struct window *w)
{
	(void) add_window(s, OP_CONVOLUTION, w, w->channels);
	draw_matrix(s, w->channels, w->kernel * w->kernel * w->in.channels / w->groups, w, false);
}

static void make_depthwise(struct sample *s, const struct window *w)
{
	(void) add_window(s, OP_DEPTHWISE, w, w->in.channels);
	draw_matrix(s, w->in.channels, w->kernel * w->kernel, w, true);
}

static void make_two(struct sample *s, enum op_kind kind, struct shape shape)
{
	uint32_t in = add_input(s, shape, 256), second = add_value(s, ELEMENT_U8, shape);
	struct op *op = add_op(s, OP_TABLE, in, second);

	draw_tables(s, op, 1, 256);
	if (kind == OP_CONCAT)
		shape.channels *= 2;
	op = add_op(s, kind, in, add_value(s, ELEMENT_U8, shape));
	op->inputs[op->n_inputs++] = second;
	if (kind == OP_CONCAT)
		draw_tables(s, op, 2, 256);
}

static void make_one(struct sample *s, enum op_kind kind, struct shape shape)
{
	uint32_t in = add_input(s, shape, 256), out;
	struct op *op;

	if (kind == OP_PAD)
		shape = (struct shape){shape.height + 3, shape.width + 2, shape.channels + 3};
	if (kind == OP_SLICE)
		shape = (struct shape){
			(shape.height + 1) / 2, shape.width - 1, (shape.channels + 1) / 2};
	if (kind == OP_TO_FLOAT || kind == OP_SOFTMAX)
		out = add_value(s, ELEMENT_F32, shape);
	else
		out = add_value_like(s, in, shape);
	op = add_op(s, kind == OP_SOFTMAX ? OP_TO_FLOAT : kind, in, out);
	op->pad_top = op->pad_left = op->pad_channels_before = 1;
	op->pad_bottom = op->pad_channels_after = 2;
	op->pad_right = 1;
	op->begin[1] = 1;
	op->step[0] = op->step[2] = 2;
	op->step[1] = 1;
	if (kind == OP_TABLE)
		draw_tables(s, op, 1, 256);
	if (kind == OP_SOFTMAX)
		(void) add_op(s, OP_SOFTMAX, out, add_value(s, ELEMENT_F32, shape));
}

/* clang-format off */
static const struct shape shapes[] = {{1, 1, 1}, {3, 5, 7}, {4, 4, 16}, {2, 3, 67}, {1, 1, 301}};
static const struct window products[] = {
	/* in, rows, kernel, stride, dilation, pad, groups, planes, activation bits, groups of scales */
	{{5, 7, 3},    5,   3, 1, 1, 1, 1, 1, 8, 1},
	{{5, 7, 3},    5,   3, 1, 1, 1, 1, 8, 8, 1, .level = true},
	{{6, 5, 16},   17,  3, 2, 1, 1, 1, 4, 8, 1, .f32 = true},
	{{4, 4, 16},   16,  3, 1, 1, 1, 1, 3, 8, 3},
	{{7, 7, 6},    9,   3, 1, 2, 2, 3, 5, 8, 1},
	{{3, 3, 48},   12,  1, 1, 1, 0, 3, 2, 8, 1, .level = true, .shared = true},
	{{3, 3, 64},   33,  1, 1, 1, 0, 1, 8, 8, 1},
	{{1, 1, 130},  19,  1, 1, 1, 0, 1, 2, 8, 3, .f32 = true},
	{{1, 1, 1024}, 3,   1, 1, 1, 0, 1, 6, 8, 2},
	{{9, 2, 130},  4,   2, 1, 1, 1, 1, 1, 8, 2},
	{{2, 2, 1},    1,   1, 1, 1, 0, 1, 1, 8, 1},
};
static const struct window bit_products[] = {
	{{5, 7, 3},    5,   3, 1, 1, 1, 1, 1, 1, 1},
	{{6, 5, 16},   17,  3, 2, 1, 1, 1, 4, 2, 3, .f32 = true},
	{{7, 7, 6},    9,   3, 1, 2, 2, 3, 8, 3, 1},
	{{1, 1, 300},  21,  1, 1, 1, 0, 1, 3, 4, 3},
	{{4, 4, 64},   16,  1, 1, 1, 0, 1, 2, 4, 1},
};
static const struct window filters[] = {
	{{5, 7, 3},    3,   3, 1, 1, 1, 1, 1, 8, 1},
	{{6, 5, 17},   17,  3, 2, 1, 1, 1, 4, 8, 1, .f32 = true},
	{{9, 9, 20},   20,  5, 1, 1, 2, 1, 3, 8, 1, .level = true},
	{{8, 8, 5},    5,   3, 1, 2, 2, 1, 8, 8, 1},
	{{12, 12, 2},  2,   9, 1, 1, 4, 1, 2, 8, 2},
	{{3, 3, 2},    2,   1, 1, 1, 0, 1, 1, 8, 1, .level = true, .shared = true},
};
static const struct window pools[] = {
	{{5, 7, 3},    3,   2, 2, 1, 0, 1, 1, 8, 1},
	{{6, 5, 17},   17,  3, 2, 1, 1, 1, 1, 8, 1},
	{{6, 5, 17},   17,  3, 1, 1, 1, 1, 1, 8, 1, .count_padding = true},
	{{7, 7, 40},   40,  7, 1, 1, 0, 1, 1, 8, 1},
};
/* clang-format on */

/* Sample @i of an operation. Return: false when there is none */
static bool make_sample(struct sample *s, enum kernel_cl_op op, uint32_t i)
{
	struct window w;

	sample_init(s, 1 + (uint64_t) op * 64 + i);
	switch (op) {
	case KERNEL_CL_MATMUL:
		if (i < ARRAY_SIZE(products))
			make_convolution(s, &products[i]);
		return i < ARRAY_SIZE(products);
	case KERNEL_CL_PACK:
	case KERNEL_CL_MATMUL_BITS:
		if (i < ARRAY_SIZE(bit_products))
			make_convolution(s, &bit_products[i]);
		return i < ARRAY_SIZE(bit_products);
	case KERNEL_CL_DEPTHWISE_WEIGHTS:
	case KERNEL_CL_DEPTHWISE:
		if (i < ARRAY_SIZE(filters))
			make_depthwise(s, &filters[i]);
		return i < ARRAY_SIZE(filters);
	case KERNEL_CL_MAX_POOL:
		if (i < ARRAY_SIZE(pools))
			(void) add_window(s, OP_MAX_POOL, &pools[i], pools[i].in.channels);
		return i < ARRAY_SIZE(pools);
	case KERNEL_CL_AVERAGE_POOL:
		if (i >= 2 * ARRAY_SIZE(pools))
			return false;
		w = pools[i / 2];
		w.f32 = i % 2;
		(void) add_window(s, OP_AVERAGE_POOL, &w, w.in.channels);
		return true;
	case KERNEL_CL_INPUT_PIXELS:
	case KERNEL_CL_INPUT_FLOATS:
	case KERNEL_CL_ADD:
	case KERNEL_CL_CONCAT:
	case KERNEL_CL_PAD:
	case KERNEL_CL_SLICE:
	case KERNEL_CL_TABLE:
	case KERNEL_CL_TO_FLOAT:
	case KERNEL_CL_SOFTMAX:
	case _KERNEL_CL_OP_MAX:
		break;
	}
	if (i >= ARRAY_SIZE(shapes))
		return false;
	if (op == KERNEL_CL_ADD || op == KERNEL_CL_CONCAT)
		make_two(s, op == KERNEL_CL_ADD ? OP_ADD : OP_CONCAT, shapes[i]);
	else if (op == KERNEL_CL_PAD)
		make_one(s, OP_PAD, shapes[i]);
	else if (op == KERNEL_CL_SLICE)
		make_one(s, OP_SLICE, shapes[i].width > 1 ? shapes[i] : (struct shape){2, 2, 5});
	else if (op == KERNEL_CL_TABLE)
		make_one(s, OP_TABLE, shapes[i]);
	else
		make_one(s, op == KERNEL_CL_SOFTMAX ? OP_SOFTMAX : OP_TO_FLOAT, shapes[i]);
	return true;
}

/* A network ends in floats; a sample may end in bytes, which then are what is compared. */
static int compare(const struct plan *plan, struct workspace *w, struct cl_plan *device,
	enum input_type type, const void *input, struct error *reterr)
{
	_cleanup_free_ uint8_t *expected = malloc(plan->output_bytes + 1),
			       *found = malloc(plan->output_bytes + 1);
	int r;

	if (!expected || !found)
		return -ENOMEM;
	r = exec_run(plan, w, NULL, type, input, (float *) (void *) expected);
	if (r >= 0)
		r = cl_plan_run(device, type, input, (float *) (void *) found, reterr);
	if (r < 0)
		return r;
	for (size_t i = 0; i < plan->output_bytes; i++)
		if (expected[i] != found[i])
			return error_set(reterr, -EILSEQ, "byte %zu of %zu is %u, not %u", i,
				plan->output_bytes, found[i], expected[i]);
	return 0;
}

static int run_types(struct sample *s, const struct plan *plan, struct workspace *w,
	struct cl_plan *device, struct error *reterr)
{
	static const float strange[] = {NAN, INFINITY, -INFINITY, 3e38f};
	size_t n = plan->input_pixels_bytes;
	_cleanup_free_ uint8_t *pixels = malloc(n);
	_cleanup_free_ float *floats = malloc(n * sizeof *floats);
	int r;

	if (!pixels || !floats)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		pixels[i] = (uint8_t) draw(s, 256);
		floats[i] = draw(s, 50) > 0 ? draw_float(s, -9.0f, 9.0f)
					    : strange[draw(s, ARRAY_SIZE(strange))];
	}
	r = compare(plan, w, device, INPUT_PIXELS, pixels, reterr);
	/* Narrow activations are promised by the tables; floats would break the promise. */
	if (r < 0 || (s->network.n_matrices > 0 && s->ops[1].activation_bits < 8))
		return r;
	return compare(plan, w, device, INPUT_FLOATS, floats, reterr);
}

static int run_sample(struct sample *s, struct cl *cl, struct error *reterr)
{
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_(cl_plan_freep) struct cl_plan *device = NULL;
	int r;

	if (s->short_of_memory)
		return -ENOMEM;
	r = plan_new(&plan, &s->model, 0, reterr);
	if (r >= 0)
		r = workspace_reserve(&w, plan, 1);
	if (r >= 0)
		r = cl_plan_new(&device, cl, plan, reterr);
	return r < 0 ? r : run_types(s, plan, &w, device, reterr);
}

/* A row that cannot do the sample would have another row tested in its place. */
static bool is_for(const struct sample *s, uint32_t kernel)
{
	const struct kernel_cl_product p = {.level = s->layer.level != NULL};

	return s->network.n_matrices == 0 || kernel_cl_takes(&kernel_cl_table[kernel], &p);
}

int cl_selftest(struct cl *cl, uint32_t kernel, struct error *reterr)
{
	int r = 0;

	cl->only = kernel;
	for (uint32_t i = 0; r >= 0; i++) {
		struct sample s;
		bool more = make_sample(&s, kernel_cl_table[kernel].op, i);

		if (more && is_for(&s, kernel))
			r = run_sample(&s, cl, reterr);
		if (r < 0)
			r = error_prefix(reterr, r, "sample %u", i);
		sample_done(&s);
		if (!more)
			break;
	}
	cl->only = KERNEL_CL_ANY;
	return r;
}
