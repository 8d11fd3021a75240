/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "engine/tune.h"

/*
 * Shape of a matrix product. The decoded weights of a block of rows serve all columns of a tile, so
 * tiles are as wide as gathered columns and sums find room in the second cache beside each other.
 */
#define NEAR_BYTES (512 * 1024) /* where the system does not say how large that cache is */
#define NEAR_BYTES_MAX (1024 * 1024)
#define TILE_SHARE(near) ((near) / 4)
#define ACC_SHARE(near) ((near) / 16 * 3)
#define TILE_COLUMNS_MAX 1024
#define COLUMNS_UNIT 8
#define BLOCK_ROWS_MIN 16
#define TILE_COLUMNS_MIN 96 /* fewer would decode too often for the sake of whole rows */
#define IMAGE_WIDTH_MIN 7
#define REPEAT_VALUES 256 /* requantize about so many values per call */

#define WORK_MIN 5000

#define LINES_BYTES (128 * 1024)
#define LINES_BYTES_NEAR (64 * 1024) /* of kernels that keep no sums */
#define DEPTHWISE_CHANNELS 192

static uint64_t near_bytes(void)
{
#ifdef _SC_LEVEL2_CACHE_SIZE
	long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);

	if (bytes > 0)
		return MIN_OF(MAX_OF(bytes, NEAR_BYTES / 4), NEAR_BYTES_MAX);
#endif
	return NEAR_BYTES;
}

static size_t scratch_take(size_t *at, size_t bytes)
{
	size_t begin = *at;

	*at += bytes_align(bytes, 64);
	return begin;
}

void plan_matrix_rows(const struct kernel_matrix *all, uint32_t row_bits, uint32_t first,
	uint32_t count, struct kernel_matrix *ret)
{
	size_t words = (size_t) first * row_bits / BITS_PER_WORD;

	*ret = *all;
	ret->rows = count;
	for (uint32_t i = 0; i < all->planes; i++)
		ret->plane[i] += words;
	if (all->level) {
		ret->level += (size_t) first * all->level_stride;
		return;
	}
	ret->step += (size_t) first * all->groups * all->planes;
	ret->base += (size_t) first * all->groups;
}

static void matrix_init(struct kernel_matrix *ret, const struct matrix *m, const struct layer *l)
{
	bool sum = m->coding == CODING_SUM;

	*ret = (struct kernel_matrix){
		.rows = m->rows,
		.words = bits_words(m->row_bits),
		.groups = m->groups,
		.planes = l->planes,
		.step = sum ? l->step : NULL,
		.base = sum ? l->base : NULL,
		.level = sum ? NULL : l->level,
		.level_stride = m->shared_levels ? 0 : UINT32_C(1) << l->planes,
	};
	ret->group_words = m->groups > 1 ? m->group_columns / BITS_PER_WORD : ret->words;
	for (uint32_t i = 0; i < l->planes; i++)
		ret->plane[i] = l->plane[i];
}

/* struct choice - what kernels are chosen by: flags of the processor, and times, if there are any */
struct choice {
	uint32_t cpu;
	const struct tune *tune;
};

/* Of narrow activations network_open() has proved that they are. */
static int pick_matmul(
	struct step *s, const struct choice *c, uint32_t columns, struct error *reterr)
{
	s->kernel = tune_pick(
		c->tune, c->cpu, &s->matrix, columns, s->op->activation_bits, s->op->groups);
	if (!s->kernel)
		return error_set(reterr, -ENOTSUP, "no kernel multiplies this matrix");
	s->pack = NULL;
	if (s->kernel->op == KERNEL_MATMUL_BITS)
		s->pack = kernel_pick(KERNEL_PACK, c->cpu, NULL, 0);
	return 0;
}

static bool has_padding(const struct op *op)
{
	return op->pad_top != 0 || op->pad_left != 0 || op->pad_bottom != 0 || op->pad_right != 0;
}

/* Output pixels whose columns lie next to each other, whatever line they are of. */
static bool is_pointwise(const struct op *op)
{
	return op->kernel_h == 1 && op->kernel_w == 1 && op->stride_h == 1 && op->stride_w == 1 &&
	       !has_padding(op);
}

static bool is_direct(const struct step *s, const struct value *in)
{
	const struct op *op = s->op;

	return !s->pack && op->groups == 1 && is_pointwise(op) && in->shape.channels % 64 == 0;
}

static bool reaches_outside(const struct op *op, const struct shape *in, const struct shape *out)
{
	return has_padding(op) || plan_padded_width(op, out) > in->width ||
	       plan_reached_lines(op, out->height) > in->height;
}

/*
 * Lines of fewer pixels do not fill the kernels, of more they do not fit scratch. And padded
 * lines take no more of it than gathered columns would, however far a file likes a kernel to reach.
 */
static bool is_image(const struct step *s, const struct value *in, const struct value *out)
{
	const struct op *op = s->op;
	const uint32_t width = out->shape.width;

	if (!s->kernel->image || s->direct || op->groups > 1 || op->dilation_w > 1 || op->dilation_h > 1 ||
		op->kernel_w * in->shape.channels % 4 != 0)
		return false;
	if (is_pointwise(op))
		return true;
	if (width < IMAGE_WIDTH_MIN || width > TILE_COLUMNS_MAX)
		return false;
	return !reaches_outside(op, &in->shape, &out->shape) ||
	       (op->stride_h <= op->kernel_h && op->stride_w <= op->kernel_w);
}

/*
 * Pixels that are whole words are packed once, not once for each tap that reads them. Of one tap there is nothing to
 * save, and where it strides most pixels are never read. Where padding makes more of
 * their planes than twice their own bytes it would be memory for nothing, as much as a file likes to ask for.
 */
static size_t packed_bytes(const struct step *s, const struct shape *in)
{
	const struct op *op = s->op;
	struct packed p = plan_packed(op, in);
	uint64_t pixels = (uint64_t) in->height * in->width, padded = (uint64_t) p.lines * p.width;

	if (!s->pack || op->groups > 1 || op->dilation_w > 1 || in->channels % BITS_PER_WORD != 0)
		return 0;
	if (op->kernel_h == 1 && op->kernel_w == 1)
		return 0;
	if (padded * p.planes > 2 * pixels * 8)
		return 0;
	return padded * p.planes * p.words * sizeof(uint64_t);
}

static size_t column_bytes(const struct step *s, const struct value *in)
{
	if (s->image)
		return (size_t) in->shape.channels * s->op->stride_h * s->op->stride_w;
	return (size_t) s->matrix.words *
	       (s->packed_bytes ? s->op->activation_bits * sizeof(uint64_t) : BITS_PER_WORD);
}

/*
 * What fits near the processor, in tiles of one size, so that the last one is not a crumb. Sums of all
 * rows together leave in long runs, if that does not take much of the tile.
 */
static uint32_t tile_columns(
	const struct step *s, const struct value *in, const struct value *out, uint32_t rows)
{
	uint64_t all = (uint64_t) out->shape.height * out->shape.width;
	uint64_t like = s->kernel->columns_per_tile;
	uint64_t unit = s->tile_unit;
	uint64_t n = TILE_SHARE(near_bytes()) / column_bytes(s, in), tiles;
	uint64_t whole = ACC_SHARE(near_bytes()) / sizeof(int32_t) / rows / like * like;

	if (whole >= TILE_COLUMNS_MIN)
		n = MIN_OF(n, whole);
	n = MAX_OF(MIN_OF(n, TILE_COLUMNS_MAX), like);
	if (all <= like + like / 2)
		return (uint32_t) all;
	tiles = (all + n - 1) / n;
	n = ((all + tiles - 1) / tiles + unit - 1) / unit * unit;
	return (uint32_t) MIN_OF(n, all);
}

static uint32_t block_rows(const struct step *s, uint32_t rows)
{
	uint32_t n = (uint32_t) (ACC_SHARE(near_bytes()) / sizeof(int32_t)) / s->columns_per_tile;

	n = MAX_OF(n / BLOCK_ROWS_MIN * BLOCK_ROWS_MIN, BLOCK_ROWS_MIN);
	return MIN_OF(n, rows);
}

/* What a tile's columns, or the lines that they are taken from, need of scratch. */
static size_t columns_bytes(const struct step *s, const struct value *in, const struct value *out)
{
	if (s->padded)
		return plan_reached_lines(s->op, s->columns_per_tile / out->shape.width) *
		       plan_padded_width(s->op, &out->shape) * in->shape.channels;
	if (s->direct || s->image || s->packed_bytes)
		return 0;
	return (size_t) s->columns_per_tile * s->matrix.words * BITS_PER_WORD;
}

static int convolution_init(
	struct step *s, const struct network *n, const struct choice *c, struct error *reterr)
{
	const struct op *op = s->op;
	const struct value *in = &n->values[op->inputs[0]], *out = &n->values[op->output];
	size_t columns, at = 0, words;
	uint32_t rows = s->matrix.rows / op->groups;
	struct kernel_matrix block;
	int r;

	r = pick_matmul(s, c, out->shape.height * out->shape.width, reterr);
	if (r < 0)
		return r;
	s->direct = is_direct(s, in);
	s->to_output = s->kernel->matmul_u8 && out->element == ELEMENT_U8;
	s->packed_bytes = packed_bytes(s, &in->shape);
	s->image = is_image(s, in, out);
	s->padded = s->image && reaches_outside(op, &in->shape, &out->shape);
	s->tile_unit = s->image && !is_pointwise(op) ? out->shape.width :
						       MIN_OF(s->kernel->columns_per_tile, COLUMNS_UNIT);
	s->columns_per_tile = tile_columns(s, in, out, rows);
	s->rows_per_block = block_rows(s, rows);
	if (s->rows_per_block == rows && op->groups == 1 && out->element == ELEMENT_U8 && !s->to_output)
		s->repeat = MIN_OF(MAX_OF(REPEAT_VALUES / rows, 1), s->columns_per_tile);
	else
		s->repeat = 1;
	columns = s->columns_per_tile;
	words = s->matrix.words;
	(void) scratch_take(&at, columns_bytes(s, in, out));
	s->bits_at = scratch_take(
		&at, s->pack ? columns * words * op->activation_bits * sizeof(uint64_t) : 0);
	s->acc_at = scratch_take(&at, columns * s->rows_per_block * sizeof(int32_t));
	s->gain_at = scratch_take(&at, s->repeat > 1 ? 2 * sizeof(float) * rows * s->repeat : 0);
	plan_matrix_rows(
		&s->matrix, n->matrices[op->matrix].row_bits, 0, s->rows_per_block, &block);
	s->kernel_at = scratch_take(
		&at, s->kernel->scratch ? s->kernel->scratch(&block, s->columns_per_tile) : 0);
	/* where a line of the planes is made */
	s->scratch_bytes = MAX_OF(at, s->packed_bytes / plan_packed(op, &in->shape).lines);
	return 0;
}

/* Channels in blocks that decode to a small tile of weights, lines in bands that stay in the cache.
 */
static int depthwise_init(
	struct step *s, const struct network *n, const struct choice *c, struct error *reterr)
{
	const struct op *op = s->op;
	const struct shape *out = &n->values[op->output].shape;
	size_t taps = (size_t) op->kernel_h * op->kernel_w, channels;
	size_t line, lines, reach = plan_reached_lines(op, 1), at = 0;

	s->kernel = kernel_pick(KERNEL_DEPTHWISE, c->cpu, NULL, 0);
	if (!s->kernel)
		return error_set(reterr, -ENOTSUP, "no kernel for depthwise convolutions");
	s->to_output = s->kernel->depthwise_u8 && taps <= DEPTHWISE_TAPS_MAX &&
		       n->values[op->output].element == ELEMENT_U8;
	channels = MIN_OF(s->matrix.rows, s->to_output ? DEPTHWISE_CHANNELS_MAX : DEPTHWISE_CHANNELS);
	line = plan_padded_width(op, out) * channels;
	lines = MAX_OF((s->to_output ? LINES_BYTES_NEAR : LINES_BYTES) / line, reach);
	lines = (lines - reach) / op->stride_h + 1;
	s->columns_per_tile = (uint32_t) MIN_OF(lines, out->height);
	s->rows_per_block = (uint32_t) channels;
	s->repeat = (uint32_t) MIN_OF(MAX_OF(REPEAT_VALUES / channels, 1), out->width);
	lines = plan_reached_lines(op, s->columns_per_tile);
	(void) scratch_take(&at, lines * line);
	s->line_at = scratch_take(&at, taps * sizeof(uint8_t *));
	s->acc_at = scratch_take(&at, out->width * channels * sizeof(int32_t));
	s->gain_at = scratch_take(&at, 2 * sizeof(float) * channels * s->repeat);
	s->kernel_at = scratch_take(&at, taps * channels);
	s->scratch_bytes = at;
	return 0;
}

static int step_init(
	struct step *s, const struct plan *p, const struct choice *c, struct error *reterr)
{
	const struct network *n = p->model->network;
	const struct op *op = s->op;
	const struct shape *in = &n->values[op->inputs[0]].shape;

	switch (op->kind) {
	case OP_CONVOLUTION:
		matrix_init(&s->matrix, &n->matrices[op->matrix], &p->model->layers[op->matrix]);
		return convolution_init(s, n, c, reterr);
	case OP_DEPTHWISE:
		matrix_init(&s->matrix, &n->matrices[op->matrix], &p->model->layers[op->matrix]);
		return depthwise_init(s, n, c, reterr);
	case OP_MAX_POOL:
		s->scratch_bytes = bytes_align((size_t) in->width * in->channels, 64);
		return 0;
	case OP_AVERAGE_POOL:
		s->scratch_bytes = bytes_align(in->channels * sizeof(int32_t), 64);
		return 0;
	case OP_INPUT:
	case OP_ADD:
	case OP_CONCAT:
	case OP_PAD:
	case OP_SLICE:
	case OP_RESHAPE:
	case OP_TABLE:
	case OP_TO_FLOAT:
	case OP_SOFTMAX:
	case _OP_KIND_MAX:
		return 0;
	}
	return -EINVAL;
}

static int steps_init(struct plan *p, const struct choice *c, struct error *reterr)
{
	const struct network *n = p->model->network;

	p->steps = calloc(n->n_ops + 1, sizeof *p->steps);
	if (!p->steps)
		return -ENOMEM;
	for (uint32_t i = 0; i < n->n_ops; i++) {
		struct step *s = &p->steps[i];
		int r;

		s->op = &n->ops[i];
		r = step_init(s, p, c, reterr);
		if (r < 0)
			return error_prefix(reterr, r, "op %u", i);
		p->scratch_bytes = MAX_OF(p->scratch_bytes, s->scratch_bytes);
	}
	p->n_steps = n->n_ops;
	return 0;
}

static void reserve_packed(struct plan *p)
{
	size_t most = 0;

	for (uint32_t i = 0; i < p->n_steps; i++)
		most = MAX_OF(most, p->steps[i].packed_bytes);
	p->packed_at = bytes_align(p->arena_bytes, 64);
	if (most > 0)
		p->arena_bytes = p->packed_at + most;
}

static int pick_kernels(struct plan *p, uint32_t cpu, struct error *reterr)
{
	static const enum kernel_op needed[] = {KERNEL_REQUANTIZE, KERNEL_ADD, KERNEL_TABLE,
		KERNEL_MAX, KERNEL_SUM, KERNEL_SOFTMAX, KERNEL_QUANTIZE, KERNEL_GATHER};

	for (uint32_t i = 0; i < ARRAY_SIZE(needed); i++) {
		p->kernels[needed[i]] = kernel_pick(needed[i], cpu, NULL, 0);
		if (!p->kernels[needed[i]])
			return error_set(reterr, -ENOTSUP, "a kernel is missing from the list");
	}
	return 0;
}

static void set_sizes(struct plan *p)
{
	const struct network *n = p->model->network;
	size_t elements = (size_t) shape_elements(n->values[n->input].shape);

	p->input_pixels_bytes = n->input_pixels ? elements : 0;
	p->input_floats_bytes = elements * sizeof(float);
	p->output_bytes = value_bytes(&n->values[n->output]);
}

int plan_new(struct plan **ret, struct model *model, uint32_t cpu, struct error *reterr)
{
	return plan_new_tuned(ret, model, cpu, tune_used(), reterr);
}

int plan_new_tuned(struct plan **ret, struct model *model, uint32_t cpu, const struct tune *tune,
	struct error *reterr)
{
	struct choice choice = {cpu, tune};
	_cleanup_(plan_unrefp) struct plan *p = calloc(1, sizeof *p);
	int r;

	if (!p)
		return -ENOMEM;
	atomic_init(&p->refs, 1);
	p->model = model_ref(model);
	p->work_min = WORK_MIN;
	r = pick_kernels(p, cpu, reterr);
	if (r < 0)
		return r;
	r = steps_init(p, &choice, reterr);
	if (r < 0)
		return r;
	r = plan_layout(p);
	if (r < 0)
		return r;
	reserve_packed(p);
	set_sizes(p);
	*ret = take_ptr(p);
	return 0;
}

struct plan *plan_ref(struct plan *p)
{
	if (p)
		atomic_fetch_add(&p->refs, 1);
	return p;
}

struct plan *plan_unref(struct plan *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) > 1)
		return NULL;
	free(p->steps);
	free(p->value_offset);
	(void) model_unref(p->model);
	free(p);
	return NULL;
}
