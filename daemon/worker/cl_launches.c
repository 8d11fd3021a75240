/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/cl_launches.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "worker/cl_times.h"

#define LOCAL_LEAST 16

struct maker {
	struct cl_launches *to;
	const struct cl *cl;
	const struct plan *plan;
	const struct network *network;
	size_t scratch_at;
};

static uint32_t divide_up(uint64_t a, uint32_t b)
{
	return (uint32_t) ((a + b - 1) / b);
}

/* Inside of what the device and each dimension have room for. */
static void fit_local(const struct cl *cl, const uint32_t *like, size_t *local)
{
	for (int i = 0; i < 3; i++) {
		local[i] = like[i];
		while (local[i] > 1 && cl->items_max[i] > 0 && local[i] > cl->items_max[i])
			local[i] /= 2;
	}
	while (cl->group_max > 0 && local[0] * local[1] * local[2] > cl->group_max) {
		int largest = local[0] >= local[1] ? 0 : 1;

		if (local[largest] == 1)
			break;
		local[largest] /= 2;
	}
}

static void set_sizes(
	const struct maker *m, struct cl_launch *l, uint64_t x, uint64_t y, uint64_t z)
{
	const uint64_t want[3] = {x, y, z};

	fit_local(m->cl, m->cl->kernel_tuning[l->kernel].local, l->local);
	/* No larger than the work along its side, but for the sake of vectors. */
	while (l->local[0] > LOCAL_LEAST && l->local[0] / 2 >= x)
		l->local[0] /= 2;
	while (l->local[1] > 1 && l->local[1] / 2 >= y)
		l->local[1] /= 2;
	for (int i = 0; i < 3; i++)
		l->global[i] = (size_t) ((want[i] + l->local[i] - 1) / l->local[i] * l->local[i]);
}

static int pick(const struct maker *m, enum kernel_cl_op op, uint64_t pixels, struct cl_launch *ret,
	struct error *reterr)
{
	ret->kernel = kernel_cl_pick(m->cl, op, pixels);
	if (ret->kernel != KERNEL_CL_ANY)
		return 0;
	return error_set(reterr, -ENOTSUP, "no kernel of the device can be used");
}

static uint32_t pick_measured(const struct cl *cl, const struct cl_shape *shape, uint32_t otherwise)
{
	uint32_t best = cl_times_pick(cl, shape);

	return best == KERNEL_CL_ANY ? otherwise : best;
}

static int pick_product(const struct maker *m, enum kernel_cl_op op, uint64_t pixels,
	struct cl_launch *ret, struct error *reterr)
{
	const struct kernel_cl_product p = {
		.pixels = pixels, .planes = ret->numbers.planes, .level = ret->numbers.coded_level};
	struct cl_shape shape;

	ret->kernel = kernel_cl_pick_product(m->cl, op, &p);
	if (ret->kernel != KERNEL_CL_ANY && cl_shape_of(ret, &shape))
		ret->kernel = pick_measured(m->cl, &shape, ret->kernel);
	if (ret->kernel != KERNEL_CL_ANY)
		return 0;
	return error_set(reterr, -ENOTSUP, "no kernel of the device can be used");
}

static int append(struct maker *m, const struct cl_launch *l)
{
	struct cl_launches *to = m->to;

	if (to->n == to->room) {
		uint32_t room = to->room * 2 + 16;
		struct cl_launch *more = reallocarray(to->launches, room, sizeof *more);

		if (!more)
			return -ENOMEM;
		to->launches = more;
		to->room = room;
	}
	to->launches[to->n++] = *l;
	return 0;
}

static uint32_t at_of(const struct maker *m, uint32_t value)
{
	return (uint32_t) m->plan->value_offset[value];
}

static void describe_output(const struct maker *m, const struct op *op, struct launch *n)
{
	const struct value *out = &m->network->values[op->output];

	n->out_at = at_of(m, op->output);
	n->out_height = out->shape.height;
	n->out_width = out->shape.width;
	n->out_channels = out->shape.channels;
	n->out_zero = out->zero_point;
	n->out_f32 = out->element == ELEMENT_F32;
	n->low = op->clamp_low;
	n->high = op->clamp_high;
	n->count = (uint32_t) shape_elements(out->shape);
}

static void describe_input(const struct maker *m, const struct op *op, uint32_t i, struct launch *n)
{
	const struct value *in = &m->network->values[op->inputs[i]];

	n->in_at = at_of(m, op->inputs[i]);
	n->in_height = in->shape.height;
	n->in_width = in->shape.width;
	n->in_channels = in->shape.channels;
	n->in_zero = in->zero_point;
}

static void describe_window(const struct op *op, struct launch *n)
{
	n->kernel_h = op->kernel_h;
	n->kernel_w = op->kernel_w;
	n->stride_h = op->stride_h;
	n->stride_w = op->stride_w;
	n->dilation_h = op->dilation_h;
	n->dilation_w = op->dilation_w;
	n->pad_top = (int32_t) op->pad_top;
	n->pad_left = (int32_t) op->pad_left;
	n->count_padding = op->count_padding;
	n->groups = MAX_OF(op->groups, 1);
	n->activation_planes = op->activation_bits;
}

/* Where plane @i of a matrix lies: in a memfd of the model, or in memory of its own. */
static struct cl_memory memory_of(const struct maker *m, uint32_t matrix, uint32_t i)
{
	const struct model *model = m->plan->model;
	const struct matrix *x = &m->network->matrices[matrix];
	const struct plane *p = x->fixed ? model->fixed : model->planes[i];

	if (p)
		return (struct cl_memory){p->words, p->bytes};
	return (struct cl_memory){model->layers[matrix].plane[i],
		bits_plane_words(x->rows, x->row_bits) * sizeof(uint64_t)};
}

/* Return: where the copy begins in the numbers */
static int put(struct maker *m, const void *data, size_t bytes, launch_u32 *ret_at)
{
	struct cl_launches *to = m->to;
	size_t at = bytes_align(to->numbers_bytes, 64), end = at + bytes;

	*ret_at = 0;
	if (!data || bytes == 0)
		return 0;
	if (end > INT32_MAX)
		return -ENOTSUP;
	if (end > to->numbers_room) {
		size_t room = end * 2;
		uint8_t *more = realloc(to->numbers, room);

		if (!more)
			return -ENOMEM;
		memset(more + to->numbers_room, 0, room - to->numbers_room);
		to->numbers = more;
		to->numbers_room = room;
	}
	memcpy(to->numbers + at, data, bytes);
	to->numbers_bytes = end;
	*ret_at = (launch_u32) at;
	return 0;
}

static int put_scales(
	struct maker *m, const struct matrix *matrix, const struct layer *layer, struct launch *n)
{
	size_t scales = (size_t) matrix->rows * matrix->groups;
	size_t levels = (size_t) (matrix->shared_levels ? 1 : matrix->rows) << layer->planes;
	int r = 0;

	if (n->coded_level) {
		r = put(m, layer->level, levels, &n->level_at);
	} else {
		r = put(m, layer->step, scales * layer->planes * sizeof(int16_t), &n->step_at);
		if (r >= 0)
			r = put(m, layer->base, scales, &n->base_at);
	}
	if (r >= 0)
		r = put(m, layer->gain, matrix->rows * sizeof(float), &n->gain_at);
	return r >= 0 ? put(m, layer->bias, matrix->rows * sizeof(float), &n->bias_at) : r;
}

static int describe_matrix(struct maker *m, const struct step *s, struct cl_launch *l)
{
	const struct matrix *matrix = &m->network->matrices[s->op->matrix];
	const struct layer *layer = &m->plan->model->layers[s->op->matrix];
	struct launch *n = &l->numbers;

	n->rows = matrix->rows / n->groups;
	n->words = s->matrix.words;
	n->scale_groups = s->matrix.groups;
	n->group_words = s->matrix.group_words;
	n->planes = layer->planes;
	n->columns = matrix->columns;
	n->row_bits = matrix->row_bits;
	n->coded_level = s->matrix.level != NULL;
	n->level_stride = s->matrix.level_stride;
	for (uint32_t i = 0; i < layer->planes; i++) {
		l->planes[i] = memory_of(m, s->op->matrix, i);
		n->plane_at[i] =
			(uint32_t) (layer->plane[i] - (const uint64_t *) l->planes[i].data);
	}
	return put_scales(m, matrix, layer, n);
}

/* Room that a launch leaves for the next one. */
static int take_scratch(struct maker *m, uint64_t bytes, struct launch *n, struct error *reterr)
{
	n->scratch_at = (uint32_t) m->scratch_at;
	m->to->arena_bytes = MAX_OF(m->to->arena_bytes, m->scratch_at + bytes);
	if (m->to->arena_bytes > UINT32_MAX)
		return error_set(reterr, -ENOTSUP, "the network is too large for 32-bit offsets");
	return 0;
}

/* What a word of one column takes in local memory. */
static uint32_t word_bytes(const struct cl_launch *l)
{
	switch (kernel_cl_table[l->kernel].args) {
	case KERNEL_CL_NONE:
	case KERNEL_CL_PLANES:
		return 0;
	case KERNEL_CL_VALUES:
		return BITS_PER_WORD;
	case KERNEL_CL_TABLES: /* 16 sums for each four values, and the sum of all */
		return BITS_PER_WORD + (BITS_PER_WORD / 4 * 16 + 1) * sizeof(uint16_t);
	case KERNEL_CL_BITS:
		return l->numbers.activation_planes * sizeof(uint64_t);
	}
	return 0;
}

/* As many words of each column of the tile as local memory has room for. */
static void cut_block(const struct maker *m, struct cl_launch *l)
{
	uint32_t bytes = m->cl->kernel_tuning[l->kernel].columns * word_bytes(l);

	if (bytes == 0)
		return;
	l->numbers.block_words =
		(uint32_t) MIN_OF(MAX_OF(m->cl->tuning.tile_bytes / bytes, 1), l->numbers.words);
	l->local_bytes = (size_t) l->numbers.block_words * bytes;
}

static int append_product(struct maker *m, struct cl_launch *l, uint64_t pixels)
{
	const struct kernel_cl_tuning *t = &m->cl->kernel_tuning[l->kernel];
	uint32_t y = divide_up(pixels, t->columns);

	cut_block(m, l);
	set_sizes(m, l, l->numbers.rows, y, l->numbers.groups);
	if (t->group_rows > 0) {
		/* a sum for each item and each row */
		l->local_bytes += (l->local[0] + t->group_rows) * sizeof(int32_t);
		l->global[0] = divide_up(l->numbers.rows, t->group_rows) * l->local[0];
	}
	return append(m, l);
}

static int make_product(struct maker *m, struct cl_launch *l, uint64_t pixels, struct error *reterr)
{
	int r = pick_product(m, KERNEL_CL_MATMUL, pixels, l, reterr);

	return r < 0 ? r : append_product(m, l, pixels);
}

static int make_bit_product(
	struct maker *m, struct cl_launch *l, uint64_t pixels, struct error *reterr)
{
	struct launch *n = &l->numbers;
	int r = take_scratch(m,
		pixels * n->groups * n->activation_planes * n->words * sizeof(uint64_t), n, reterr);

	if (r >= 0)
		r = pick(m, KERNEL_CL_PACK, pixels, l, reterr);
	if (r < 0)
		return r;
	set_sizes(m, l, n->words, pixels, n->groups);
	r = append(m, l);
	if (r >= 0)
		r = pick_product(m, KERNEL_CL_MATMUL_BITS, pixels, l, reterr);
	return r < 0 ? r : append_product(m, l, pixels);
}

static int make_convolution(
	struct maker *m, const struct step *s, struct cl_launch *l, struct error *reterr)
{
	uint64_t pixels = (uint64_t) l->numbers.out_height * l->numbers.out_width;

	int r = describe_matrix(m, s, l);

	if (r < 0)
		return r;
	return s->pack ? make_bit_product(m, l, pixels, reterr)
		       : make_product(m, l, pixels, reterr);
}

static int make_depthwise(
	struct maker *m, const struct step *s, struct cl_launch *l, struct error *reterr)
{
	struct launch *n = &l->numbers;
	uint64_t taps = (uint64_t) n->kernel_h * n->kernel_w;
	int r;

	n->groups = 1;
	r = describe_matrix(m, s, l);
	if (r >= 0)
		r = take_scratch(m, taps * n->rows, n, reterr);
	if (r >= 0)
		r = pick(m, KERNEL_CL_DEPTHWISE_WEIGHTS, 1, l, reterr);
	if (r < 0)
		return r;
	set_sizes(m, l, n->rows, taps, 1);
	r = append(m, l);
	if (r >= 0)
		r = pick(m, KERNEL_CL_DEPTHWISE, 1, l, reterr);
	if (r < 0)
		return r;
	set_sizes(m, l, n->out_channels, n->out_width, n->out_height);
	return append(m, l);
}

static int make_concat(
	struct maker *m, const struct op *op, struct cl_launch *l, struct error *reterr)
{
	struct launch *n = &l->numbers;
	int r = pick(m, KERNEL_CL_CONCAT, 1, l, reterr);

	n->count = n->out_height * n->out_width;
	for (uint32_t i = 0; r >= 0 && i < op->n_inputs; i++) {
		describe_input(m, op, i, n);
		set_sizes(m, l, n->in_channels, n->count, 1);
		r = append(m, l);
		n->first_channel += n->in_channels;
		n->table_at += 256;
	}
	return r;
}

/* One launch, an item for each value of the output, as a line or as an image. */
static int make_one(struct maker *m, enum kernel_cl_op op, bool image, struct cl_launch *l,
	struct error *reterr)
{
	const struct launch *n = &l->numbers;
	int r = pick(m, op, 1, l, reterr);

	if (r < 0)
		return r;
	if (image)
		set_sizes(m, l, n->out_channels, n->out_width, n->out_height);
	else
		set_sizes(m, l, n->count, 1, 1);
	return append(m, l);
}

static int make_add(struct maker *m, const struct op *op, struct cl_launch *l, struct error *reterr)
{
	l->numbers.second_at = at_of(m, op->inputs[1]);
	l->numbers.second_zero = m->network->values[op->inputs[1]].zero_point;
	memcpy(l->numbers.gain, op->gain, sizeof l->numbers.gain);
	return make_one(m, KERNEL_CL_ADD, false, l, reterr);
}

static int make_slice(
	struct maker *m, const struct op *op, struct cl_launch *l, struct error *reterr)
{
	memcpy(l->numbers.begin, op->begin, sizeof l->numbers.begin);
	memcpy(l->numbers.step, op->step, sizeof l->numbers.step);
	l->numbers.element_bytes = l->numbers.out_f32 ? sizeof(float) : 1;
	return make_one(m, KERNEL_CL_SLICE, true, l, reterr);
}

static int make_softmax(struct maker *m, struct cl_launch *l, struct error *reterr)
{
	l->numbers.count = l->numbers.out_height * l->numbers.out_width;
	return make_one(m, KERNEL_CL_SOFTMAX, false, l, reterr);
}

/* The input is there twice: a request says which. */
static int make_input(
	struct maker *m, const struct op *op, struct cl_launch *l, struct error *reterr)
{
	struct launch *n = &l->numbers;
	struct cl_launch floats = *l;
	int r;

	n->in_at = floats.numbers.in_at = (uint32_t) m->to->input_at;
	n->count = n->out_height * n->out_width;
	n->swap = m->network->input_bgr && n->out_channels == 3;
	r = pick(m, KERNEL_CL_INPUT_PIXELS, 1, l, reterr);
	if (r < 0)
		return r;
	set_sizes(m, l, n->out_channels, n->count, 1);
	r = append(m, l);
	if (r < 0)
		return r;
	floats.numbers.gain[0] = 1.0f / m->network->values[op->output].scale;
	return make_one(m, KERNEL_CL_INPUT_FLOATS, false, &floats, reterr);
}

static int make_step(struct maker *m, const struct step *s, struct error *reterr)
{
	const struct op *op = s->op;
	struct cl_launch l = {};
	struct launch *n = &l.numbers;
	int r;

	describe_output(m, op, n);
	if (op->n_inputs > 0)
		describe_input(m, op, 0, n);
	describe_window(op, n);
	n->gain[0] = op->gain[0];
	r = put(m, op->table, (size_t) op->n_tables * 256, &n->table_at);
	if (r < 0)
		return r;
	switch (op->kind) {
	case OP_INPUT:
		return make_input(m, op, &l, reterr);
	case OP_CONVOLUTION:
		return make_convolution(m, s, &l, reterr);
	case OP_DEPTHWISE:
		return make_depthwise(m, s, &l, reterr);
	case OP_ADD:
		return make_add(m, op, &l, reterr);
	case OP_MAX_POOL:
		return make_one(m, KERNEL_CL_MAX_POOL, true, &l, reterr);
	case OP_AVERAGE_POOL:
		return make_one(m, KERNEL_CL_AVERAGE_POOL, true, &l, reterr);
	case OP_CONCAT:
		return make_concat(m, op, &l, reterr);
	case OP_PAD:
		n->pad_channels = (int32_t) op->pad_channels_before;
		return make_one(m, KERNEL_CL_PAD, true, &l, reterr);
	case OP_SLICE:
		return make_slice(m, op, &l, reterr);
	case OP_RESHAPE:
		return 0; /* plan_layout() gave both values the same bytes */
	case OP_TABLE:
		return make_one(m, KERNEL_CL_TABLE, false, &l, reterr);
	case OP_TO_FLOAT:
		n->gain[0] = m->network->values[op->inputs[0]].scale;
		return make_one(m, KERNEL_CL_TO_FLOAT, false, &l, reterr);
	case OP_SOFTMAX:
		return make_softmax(m, &l, reterr);
	case _OP_KIND_MAX:
		break;
	}
	return -EINVAL;
}

int cl_launches_make(
	struct cl_launches *ret, const struct cl *cl, const struct plan *plan, struct error *reterr)
{
	struct maker m = {.to = ret, .cl = cl, .plan = plan, .network = plan->model->network};
	int r;

	*ret = (struct cl_launches){};
	ret->input_at = bytes_align(plan->arena_bytes, 64);
	m.scratch_at = bytes_align(ret->input_at + plan->input_floats_bytes, 64);
	ret->arena_bytes = m.scratch_at + 64;
	if (ret->arena_bytes > UINT32_MAX)
		return error_set(reterr, -ENOTSUP, "the network is too large for 32-bit offsets");
	for (uint32_t i = 0; i < plan->n_steps; i++) {
		r = make_step(&m, &plan->steps[i], reterr);
		if (r < 0)
			return error_prefix(
				reterr, r, "op %u, %s", i, op_kind_name(plan->steps[i].op->kind));
	}
	return 0;
}

void cl_launches_done(struct cl_launches *l)
{
	free(l->launches);
	free(l->numbers);
	*l = (struct cl_launches){};
}
