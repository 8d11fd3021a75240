/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/op.h"

#include <errno.h>
#include <string.h>

#include "engine/tensor.h"

/* A sum of u8 over a window of a pool stays inside of int32. */
#define POOL_WINDOW_MAX (UINT64_C(1) << 23)

const char *const op_kind_names[_OP_KIND_MAX] = {
	[OP_INPUT] = "input",
	[OP_CONVOLUTION] = "convolution",
	[OP_DEPTHWISE] = "depthwise",
	[OP_ADD] = "add",
	[OP_MAX_POOL] = "max_pool",
	[OP_AVERAGE_POOL] = "average_pool",
	[OP_CONCAT] = "concat",
	[OP_PAD] = "pad",
	[OP_SLICE] = "slice",
	[OP_RESHAPE] = "reshape",
	[OP_TABLE] = "table",
	[OP_TO_FLOAT] = "to_float",
	[OP_SOFTMAX] = "softmax",
};

const char *op_kind_name(enum op_kind kind)
{
	return (unsigned int) kind < _OP_KIND_MAX ? op_kind_names[kind] : "unknown";
}

int op_kind_parse(const char *name)
{
	for (int i = 0; i < _OP_KIND_MAX; i++)
		if (strcmp(op_kind_names[i], name) == 0)
			return i;
	return -EINVAL;
}

/* What each kind takes and gives; shapes are checked below. */
struct signature {
	uint32_t inputs_min, inputs_max;
	bool f32_in, f32_out, either_out; /* u8 unless said */
	bool same_scale;		  /* input and output mean the same by a q */
};

static const struct signature signatures[_OP_KIND_MAX] = {
	[OP_INPUT] = {0, 0},
	[OP_CONVOLUTION] = {1, 1, .either_out = true},
	[OP_DEPTHWISE] = {1, 1, .either_out = true},
	[OP_ADD] = {2, 2},
	[OP_MAX_POOL] = {1, 1, .same_scale = true},
	[OP_AVERAGE_POOL] = {1, 1, .either_out = true},
	[OP_CONCAT] = {1, OP_INPUTS_MAX},
	[OP_PAD] = {1, 1, .same_scale = true},
	[OP_SLICE] = {1, 1, .same_scale = true},
	[OP_RESHAPE] = {1, 1, .same_scale = true},
	[OP_TABLE] = {1, 1},
	[OP_TO_FLOAT] = {1, 1, .f32_out = true},
	[OP_SOFTMAX] = {1, 1, .f32_in = true, .f32_out = true},
};

static int check_elements(const struct op *op, const struct value *values, struct error *reterr)
{
	const struct signature *s = &signatures[op->kind];
	const struct value *out = &values[op->output];
	/* The bytes of a vector of floats may be given another shape as well. */
	bool any = op->kind == OP_RESHAPE;

	for (uint32_t i = 0; i < op->n_inputs; i++) {
		const struct value *in = &values[op->inputs[i]];

		if (!any && (in->element == ELEMENT_F32) != s->f32_in)
			return error_set(reterr, -EBADMSG, "input %u is %s", i,
				s->f32_in ? "u8, not f32" : "f32, not u8");
		if (any && in->element != out->element)
			return error_set(reterr, -EBADMSG, "input and output are of different types");
		if (s->same_scale && (in->scale != out->scale || in->zero_point != out->zero_point))
			return error_set(reterr, -EBADMSG, "input and output have different scales");
	}
	if (!any && !s->either_out && (out->element == ELEMENT_F32) != s->f32_out)
		return error_set(reterr, -EBADMSG, "the output is %s", s->f32_out ? "u8, not f32" : "f32, not u8");
	return 0;
}

static int expect_shape(struct shape expected, struct shape found, struct error *reterr)
{
	if (expected.height == found.height && expected.width == found.width &&
		expected.channels == found.channels)
		return 0;
	return error_set(reterr, -EBADMSG, "the output is %ux%ux%u, computed is %ux%ux%u", found.height,
		found.width, found.channels, expected.height, expected.width, expected.channels);
}

/* Number of places of a window along one side, 0 when it does not fit. */
static uint32_t window_places(uint32_t in, uint32_t before, uint32_t after, uint32_t kernel,
	uint32_t dilation, uint32_t stride)
{
	uint64_t padded = (uint64_t) in + before + after;
	uint64_t reach = (uint64_t) dilation * (kernel - 1) + 1;
	uint64_t places;

	if (padded < reach)
		return 0;
	places = (padded - reach) / stride + 1;
	return places > UINT32_MAX ? 0 : (uint32_t) places;
}

static int check_window(const struct op *op, struct shape in, struct shape out, uint32_t channels,
	struct error *reterr)
{
	struct shape expected = {
		window_places(in.height, op->pad_top, op->pad_bottom, op->kernel_h, op->dilation_h,
			op->stride_h),
		window_places(in.width, op->pad_left, op->pad_right, op->kernel_w, op->dilation_w,
			op->stride_w),
		channels,
	};

	if (expected.height == 0 || expected.width == 0)
		return error_set(reterr, -EBADMSG, "the kernel is larger than the padded input");
	return expect_shape(expected, out, reterr);
}

static int check_pool(const struct op *op, struct shape in, struct shape out, struct error *reterr)
{
	/* Less padding than kernel: every window holds a pixel, so no maximum of nothing, no 0 / 0. */
	if (op->pad_top >= op->kernel_h || op->pad_bottom >= op->kernel_h ||
		op->pad_left >= op->kernel_w || op->pad_right >= op->kernel_w)
		return error_set(reterr, -EBADMSG, "the padding is not smaller than the kernel");
	if ((uint64_t) op->kernel_h * op->kernel_w > POOL_WINDOW_MAX)
		return error_set(reterr, -EBADMSG, "the window is too large");
	return check_window(op, in, out, in.channels, reterr);
}

static int check_convolution(const struct op *op, struct shape in, struct shape out,
	struct error *reterr)
{
	if (op->groups == 0 || in.channels % op->groups != 0 || out.channels % op->groups != 0)
		return error_set(reterr, -EBADMSG, "%u groups do not divide %u and %u channels", op->groups,
			in.channels, out.channels);
	if (op->activation_bits > 4 && op->activation_bits != 8)
		return error_set(reterr, -EBADMSG, "%u activation bits, not 1 to 4 or 8",
			op->activation_bits);
	return check_window(op, in, out, out.channels, reterr);
}

static int check_concat(const struct op *op, const struct value *values, struct error *reterr)
{
	const struct shape *out = &values[op->output].shape;
	uint64_t channels = 0;

	for (uint32_t i = 0; i < op->n_inputs; i++) {
		const struct shape *in = &values[op->inputs[i]].shape;

		if (in->height != out->height || in->width != out->width)
			return error_set(reterr, -EBADMSG, "input %u is not as high and wide as the output", i);
		channels += in->channels;
	}
	if (channels != out->channels)
		return error_set(reterr, -EBADMSG, "the inputs have %lu channels, the output %u", channels,
			out->channels);
	return 0;
}

static int check_pad(const struct op *op, struct shape in, struct shape out, struct error *reterr)
{
	/* In 64 bits, so that nothing wraps into the right size. */
	if ((uint64_t) in.height + op->pad_top + op->pad_bottom != out.height ||
		(uint64_t) in.width + op->pad_left + op->pad_right != out.width ||
		(uint64_t) in.channels + op->pad_channels_before + op->pad_channels_after != out.channels)
		return error_set(reterr, -EBADMSG, "input and padding do not make the output's shape");
	return 0;
}

static int check_slice(const struct op *op, struct shape in, struct shape out, struct error *reterr)
{
	const uint32_t from[3] = {in.height, in.width, in.channels};
	const uint32_t to[3] = {out.height, out.width, out.channels};

	for (int i = 0; i < 3; i++)
		if (op->begin[i] + (uint64_t) (to[i] - 1) * op->step[i] >= from[i])
			return error_set(reterr, -EBADMSG, "the slice reaches out of its input");
	return 0;
}

static int check_tables(const struct op *op, const struct value *values, struct error *reterr)
{
	uint32_t channels = values[op->output].shape.channels;
	bool right;

	if (op->kind == OP_CONCAT)
		right = op->n_tables == op->n_inputs;
	else if (op->kind == OP_TABLE)
		right = op->n_tables == 1;
	else if (op->kind == OP_INPUT)
		right = op->n_tables == 0 || op->n_tables == channels;
	else
		right = op->n_tables == 0;
	return right ? 0 : error_set(reterr, -EBADMSG, "%u tables do not fit", op->n_tables);
}

static int check_shape(const struct op *op, const struct value *values, struct error *reterr)
{
	struct shape in = op->n_inputs > 0 ? values[op->inputs[0]].shape : (struct shape) {0};
	struct shape out = values[op->output].shape;

	switch (op->kind) {
	case OP_INPUT:
		return 0;
	case OP_CONVOLUTION:
		return check_convolution(op, in, out, reterr);
	case OP_DEPTHWISE:
		return check_window(op, in, out, in.channels, reterr);
	case OP_MAX_POOL:
	case OP_AVERAGE_POOL:
		return check_pool(op, in, out, reterr);
	case OP_ADD:
		if (expect_shape(in, values[op->inputs[1]].shape, reterr) < 0)
			return error_set(reterr, -EBADMSG, "the inputs have different shapes");
		return expect_shape(in, out, reterr);
	case OP_CONCAT:
		return check_concat(op, values, reterr);
	case OP_PAD:
		return check_pad(op, in, out, reterr);
	case OP_SLICE:
		return check_slice(op, in, out, reterr);
	case OP_RESHAPE:
		if (shape_elements(in) != shape_elements(out))
			return error_set(reterr, -EBADMSG, "input and output have different sizes");
		return 0;
	case OP_TABLE:
	case OP_TO_FLOAT:
	case OP_SOFTMAX:
		return expect_shape(in, out, reterr);
	case _OP_KIND_MAX:
		break;
	}
	return error_set(reterr, -EBADMSG, "the kind is not known");
}

int op_check(const struct op *op, const struct value *values, struct error *reterr)
{
	const struct signature *s = &signatures[op->kind];
	int r;

	if (op->n_inputs < s->inputs_min || op->n_inputs > s->inputs_max)
		return error_set(reterr, -EBADMSG, "%u inputs", op->n_inputs);
	if (op->clamp_low > op->clamp_high)
		return error_set(reterr, -EBADMSG, "clamp %u to %u is empty", op->clamp_low, op->clamp_high);
	r = check_elements(op, values, reterr);
	if (r < 0)
		return r;
	r = check_tables(op, values, reterr);
	if (r < 0)
		return r;
	return check_shape(op, values, reterr);
}
