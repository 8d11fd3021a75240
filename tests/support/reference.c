/* SPDX-License-Identifier: Apache-2.0 */
#include "support/reference.h"

#include <math.h>
#include <string.h>

#include "engine/kernels/kernel.h"

/* An element of a value: [y][x][c] */
static size_t at(struct shape s, uint32_t y, uint32_t x, uint32_t c)
{
	return ((size_t) y * s.width + x) * s.channels + c;
}

/* What each op needs of its surroundings. */
struct scene {
	const struct reference *r;
	const struct network *n;
	const struct op *op;
	const struct value *in, *out;
	const uint8_t *q; /* of the first input */
	const float *x;	  /* likewise, when it is f32 */
	uint8_t *q_out;
	float *x_out;
};

static uint8_t clamp(double rounded, const struct scene *s)
{
	double v = rounded + s->out->zero_point;

	return (uint8_t) (v < s->op->clamp_low	  ? s->op->clamp_low
			  : v > s->op->clamp_high ? s->op->clamp_high
						  : v);
}

static void store(const struct scene *s, size_t i, float t)
{
	if (s->out->element == ELEMENT_F32)
		s->x_out[i] = t;
	else
		s->q_out[i] = clamp(rint(t), s);
}

/* The input at a place that may be outside: then the zero point. */
static int32_t look(const struct scene *s, int64_t y, int64_t x, uint32_t c)
{
	if (y < 0 || x < 0 || y >= s->in->shape.height || x >= s->in->shape.width)
		return s->in->zero_point;
	return s->q[at(s->in->shape, (uint32_t) y, (uint32_t) x, c)];
}

static void run_input(const struct scene *s, enum input_type type, const void *input)
{
	const struct shape shape = s->out->shape;
	const uint8_t *p = input;
	const float *x = input;

	for (size_t i = 0; i < shape_elements(shape); i++) {
		size_t c = i % shape.channels;

		if (type == INPUT_PIXELS) {
			size_t from = s->n->input_bgr ? i - c + 2 - c : i;

			s->q_out[i] = s->op->table[c][p[from]];
		} else if (x[i] != x[i]) {
			s->q_out[i] = s->out->zero_point;
		} else {
			double v =
				rint((double) (x[i] * (1.0f / s->out->scale))) + s->out->zero_point;

			s->q_out[i] = (uint8_t) (v < 0 ? 0 : v > 255 ? 255 : v);
		}
	}
}

/* All weights of a matrix as the integers that kernel_weight() says they are. */
static int32_t *decode(const struct scene *s)
{
	const struct matrix *m = &s->n->matrices[s->op->matrix];
	const struct layer *l = &s->r->model->layers[s->op->matrix];
	struct kernel_matrix k = {.rows = m->rows,
		.words = m->row_bits / 64,
		.groups = m->groups,
		.group_words = m->groups > 1 ? m->group_columns / 64 : m->row_bits / 64 + 1,
		.planes = l->planes,
		.step = l->step,
		.base = l->base,
		.level = l->level,
		.level_stride = m->shared_levels ? 0 : UINT32_C(1) << l->planes};
	int32_t *w = malloc(sizeof *w * m->rows * m->columns);
	int8_t *taps = malloc((size_t) m->rows * m->columns);

	memcpy(k.plane, l->plane, sizeof k.plane);
	if (m->depthwise)
		depthwise_decode(&k, m->row_bits, m->columns, taps);
	for (uint32_t r = 0; r < m->rows; r++)
		for (uint32_t t = 0; t < m->columns; t++)
			w[(size_t) r * m->columns + t] = m->depthwise
								 ? taps[(size_t) t * m->rows + r]
								 : kernel_weight(&k, r, t);
	free(taps);
	return w;
}

static int32_t dot(const struct scene *s, const int32_t *w, uint32_t oy, uint32_t ox, uint32_t row)
{
	const struct op *op = s->op;
	bool depthwise = op->kind == OP_DEPTHWISE;
	uint32_t groups = depthwise ? s->in->shape.channels : op->groups;
	uint32_t each = s->in->shape.channels / groups;
	uint32_t group = row / (s->out->shape.channels / groups);
	int32_t sum = 0;

	for (uint32_t ky = 0; ky < op->kernel_h; ky++)
		for (uint32_t kx = 0; kx < op->kernel_w; kx++)
			for (uint32_t c = 0; c < each; c++)
				sum += *w++ *
				       look(s,
					       (int64_t) oy * op->stride_h +
						       (int64_t) ky * op->dilation_h - op->pad_top,
					       (int64_t) ox * op->stride_w +
						       (int64_t) kx * op->dilation_w - op->pad_left,
					       group * each + c);
	return sum;
}

static void run_convolution(const struct scene *s)
{
	const struct layer *l = &s->r->model->layers[s->op->matrix];
	uint32_t columns = s->n->matrices[s->op->matrix].columns;
	const struct shape out = s->out->shape;
	int32_t *w = decode(s);

	for (uint32_t y = 0; y < out.height; y++)
		for (uint32_t x = 0; x < out.width; x++)
			for (uint32_t c = 0; c < out.channels; c++) {
				float t = (float) dot(s, w + (size_t) c * columns, y, x, c) *
					  l->gain[c];

				store(s, at(out, y, x, c), t + l->bias[c]);
			}
	free(w);
}

static void run_add(const struct scene *s)
{
	const struct value *b = &s->n->values[s->op->inputs[1]];
	const uint8_t *qb = s->r->data[s->op->inputs[1]];

	for (size_t i = 0; i < shape_elements(s->out->shape); i++) {
		float ta = (float) (s->q[i] - s->in->zero_point) * s->op->gain[0];
		float tb = (float) (qb[i] - b->zero_point) * s->op->gain[1];

		store(s, i, ta + tb);
	}
}

static void pool_place(const struct scene *s, uint32_t oy, uint32_t ox, uint32_t c)
{
	const struct op *op = s->op;
	int32_t sum = 0, n = 0, most = 0;

	for (uint32_t ky = 0; ky < op->kernel_h; ky++)
		for (uint32_t kx = 0; kx < op->kernel_w; kx++) {
			int64_t y = (int64_t) oy * op->stride_h + ky - op->pad_top;
			int64_t x = (int64_t) ox * op->stride_w + kx - op->pad_left;

			if (y < 0 || x < 0 || y >= s->in->shape.height || x >= s->in->shape.width)
				continue;
			n++;
			sum += look(s, y, x, c) - s->in->zero_point;
			most = MAX_OF(most, look(s, y, x, c));
		}
	if (op->kind == OP_MAX_POOL) {
		s->q_out[at(s->out->shape, oy, ox, c)] =
			(uint8_t) MIN_OF(MAX_OF(most, op->clamp_low), op->clamp_high);
		return;
	}
	if (op->count_padding)
		n = (int32_t) (op->kernel_h * op->kernel_w);
	store(s, at(s->out->shape, oy, ox, c), (float) sum * (op->gain[0] / (float) n));
}

static void run_pool(const struct scene *s)
{
	for (uint32_t y = 0; y < s->out->shape.height; y++)
		for (uint32_t x = 0; x < s->out->shape.width; x++)
			for (uint32_t c = 0; c < s->out->shape.channels; c++)
				pool_place(s, y, x, c);
}

static void run_concat(const struct scene *s)
{
	uint32_t begin = 0;

	for (uint32_t i = 0; i < s->op->n_inputs; i++) {
		const struct shape in = s->n->values[s->op->inputs[i]].shape;
		const uint8_t *q = s->r->data[s->op->inputs[i]];

		for (uint32_t y = 0; y < in.height; y++)
			for (uint32_t x = 0; x < in.width; x++)
				for (uint32_t c = 0; c < in.channels; c++)
					s->q_out[at(s->out->shape, y, x, begin + c)] =
						s->op->table[i][q[at(in, y, x, c)]];
		begin += in.channels;
	}
}

static void run_pad(const struct scene *s)
{
	const struct op *op = s->op;
	const struct shape in = s->in->shape;

	memset(s->q_out, s->in->zero_point, shape_elements(s->out->shape));
	for (uint32_t y = 0; y < in.height; y++)
		for (uint32_t x = 0; x < in.width; x++)
			for (uint32_t c = 0; c < in.channels; c++)
				s->q_out[at(s->out->shape, y + op->pad_top, x + op->pad_left,
					c + op->pad_channels_before)] = s->q[at(in, y, x, c)];
}

static void run_slice(const struct scene *s)
{
	const struct op *op = s->op;
	const struct shape out = s->out->shape;

	for (uint32_t y = 0; y < out.height; y++)
		for (uint32_t x = 0; x < out.width; x++)
			for (uint32_t c = 0; c < out.channels; c++) {
				size_t from = at(s->in->shape, op->begin[0] + y * op->step[0],
					op->begin[1] + x * op->step[1],
					op->begin[2] + c * op->step[2]);

				if (s->out->element == ELEMENT_F32)
					s->x_out[at(out, y, x, c)] = s->x[from];
				else
					s->q_out[at(out, y, x, c)] = s->q[from];
			}
}

static void run_softmax(const struct scene *s)
{
	const uint32_t channels = s->out->shape.channels;

	for (size_t first = 0; first < shape_elements(s->out->shape); first += channels) {
		float most = s->x[first], sum = 0;

		for (uint32_t c = 1; c < channels; c++)
			most = MAX_OF(most, s->x[first + c]);
		for (uint32_t c = 0; c < channels; c++) {
			s->x_out[first + c] = kernel_exp(s->x[first + c] - most);
			sum += s->x_out[first + c];
		}
		for (uint32_t c = 0; c < channels; c++)
			s->x_out[first + c] /= sum;
	}
}

static void run_op(const struct scene *s, enum input_type type, const void *input)
{
	switch (s->op->kind) {
	case OP_INPUT:
		run_input(s, type, input);
		break;
	case OP_CONVOLUTION:
	case OP_DEPTHWISE:
		run_convolution(s);
		break;
	case OP_ADD:
		run_add(s);
		break;
	case OP_MAX_POOL:
	case OP_AVERAGE_POOL:
		run_pool(s);
		break;
	case OP_CONCAT:
		run_concat(s);
		break;
	case OP_PAD:
		run_pad(s);
		break;
	case OP_SLICE:
		run_slice(s);
		break;
	case OP_RESHAPE:
		memcpy(s->q_out, s->q, value_bytes(s->out));
		break;
	case OP_TABLE:
		for (size_t i = 0; i < shape_elements(s->out->shape); i++)
			s->q_out[i] = s->op->table[0][s->q[i]];
		break;
	case OP_TO_FLOAT:
		for (size_t i = 0; i < shape_elements(s->out->shape); i++)
			s->x_out[i] = (float) (s->q[i] - s->in->zero_point) * s->in->scale;
		break;
	case OP_SOFTMAX:
		run_softmax(s);
		break;
	case _OP_KIND_MAX:
		break;
	}
}

void reference_run(
	struct reference *ret, const struct model *model, enum input_type type, const void *input)
{
	const struct network *n = model->network;

	*ret = (struct reference){.model = model, .data = calloc(n->n_values, sizeof(void *))};
	for (uint32_t i = 0; i < n->n_values; i++)
		ret->data[i] = calloc(1, value_bytes(&n->values[i]));
	for (uint32_t i = 0; i < n->n_ops; i++) {
		const struct op *op = &n->ops[i];
		struct scene s = {
			.r = ret,
			.n = n,
			.op = op,
			.out = &n->values[op->output],
			.q_out = ret->data[op->output],
			.x_out = ret->data[op->output],
		};

		if (op->n_inputs > 0) {
			s.in = &n->values[op->inputs[0]];
			s.q = ret->data[op->inputs[0]];
			s.x = ret->data[op->inputs[0]];
		}
		run_op(&s, type, input);
	}
}

void reference_done(struct reference *r)
{
	for (uint32_t i = 0; i < r->model->network->n_values; i++)
		free(r->data[i]);
	free(r->data);
}
