/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/model_check.h"

#include <errno.h>
#include <string.h>

#define VALUES_BYTES_MAX (UINT64_C(1) << 31)
#define UNUSED UINT32_MAX

int matrix_check(struct matrix *m, struct error *reterr)
{
	if (m->group_columns < m->columns && m->group_columns % BITS_PER_WORD != 0)
		return error_set(reterr, -EBADMSG, "groups of %u columns, not a multiple of %u",
			m->group_columns, BITS_PER_WORD);
	if ((uint64_t) m->columns * 127 * 255 >= UINT64_C(1) << 31)
		return error_set(reterr, -EBADMSG, "%u columns do not fit into 32-bit sums", m->columns);
	if (m->alpha_widths >= m->planes)
		return error_set(reterr, -EBADMSG, "scales of %u widths below %u planes",
			m->alpha_widths, m->planes);
	m->row_bits = bits_row_bits(m->columns, m->depthwise);
	m->groups = (m->columns - 1) / m->group_columns + 1;
	return 0;
}

static int check_values(const struct network *n, struct error *reterr)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < n->n_values; i++) {
		if (shape_elements(n->values[i].shape) == 0)
			return error_set(reterr, -EBADMSG, "value %u: %ux%ux%u is too large", i,
				n->values[i].shape.height, n->values[i].shape.width,
				n->values[i].shape.channels);
		total += value_bytes(&n->values[i]);
	}
	if (total > VALUES_BYTES_MAX)
		return error_set(reterr, -EBADMSG, "the values take %lu bytes, at most %lu are allowed",
			total, VALUES_BYTES_MAX);
	return 0;
}

/* Each value is written once, and before it is used. @highest: 256 where nobody has written yet. */
static int check_order(const struct network *n, const struct op *op, const uint16_t *highest,
	struct error *reterr)
{
	for (uint32_t i = 0; i < op->n_inputs; i++) {
		if (op->inputs[i] >= n->n_values)
			return error_set(reterr, -EBADMSG, "input %u: value %u does not exist", i,
				op->inputs[i]);
		if (highest[op->inputs[i]] > 255)
			return error_set(reterr, -EBADMSG, "value %u is used before it is written",
				op->inputs[i]);
	}
	if (op->output >= n->n_values)
		return error_set(reterr, -EBADMSG, "value %u does not exist", op->output);
	if (highest[op->output] <= 255)
		return error_set(reterr, -EBADMSG, "value %u is written twice", op->output);
	return 0;
}

static int check_matrix_of_op(const struct network *n, uint32_t index, uint32_t *user,
	struct error *reterr)
{
	const struct op *op = &n->ops[index];
	const struct matrix *m;
	uint32_t in = n->values[op->inputs[0]].shape.channels;
	uint32_t out = n->values[op->output].shape.channels;
	uint64_t columns = (uint64_t) op->kernel_h * op->kernel_w;

	if (op->matrix >= n->n_matrices)
		return error_set(reterr, -EBADMSG, "matrix %u does not exist", op->matrix);
	m = &n->matrices[op->matrix];
	if (user[op->matrix] != UNUSED)
		return error_set(reterr, -EBADMSG, "matrix %u belongs to op %u already", op->matrix,
			user[op->matrix]);
	user[op->matrix] = index;
	if (m->depthwise != (op->kind == OP_DEPTHWISE))
		return error_set(reterr, -EBADMSG, "matrix %u is %s", op->matrix,
			m->depthwise ? "depthwise" : "not depthwise");
	if (op->kind == OP_CONVOLUTION)
		columns *= in / op->groups;
	if (m->columns != columns || m->rows != out)
		return error_set(reterr, -EBADMSG, "matrix %u is %ux%u, not %ux%lu", op->matrix, m->rows,
			m->columns, out, columns);
	return 0;
}

static uint16_t highest_in_tables(const struct op *op)
{
	uint16_t highest = 0;

	for (uint32_t i = 0; i < op->n_tables; i++)
		for (uint32_t q = 0; q < 256; q++)
			highest = MAX_OF(highest, op->table[i][q]);
	return highest;
}

/* The largest q that the op can write: what packing into few planes relies on. */
static uint16_t highest_output(const struct network *n, const struct op *op, const uint16_t *highest)
{
	uint16_t in = op->n_inputs > 0 ? highest[op->inputs[0]] : 255;

	switch (op->kind) {
	case OP_CONVOLUTION:
	case OP_DEPTHWISE:
	case OP_ADD:
	case OP_AVERAGE_POOL:
	case OP_MAX_POOL:
		return op->clamp_high;
	case OP_CONCAT:
	case OP_TABLE:
		return highest_in_tables(op);
	case OP_PAD:
		return MAX_OF(in, n->values[op->output].zero_point);
	case OP_SLICE:
	case OP_RESHAPE:
		return in;
	case OP_INPUT: /* floats may become any q */
	case OP_TO_FLOAT:
	case OP_SOFTMAX:
	case _OP_KIND_MAX:
		break;
	}
	return 255;
}

static int check_activation_bits(const struct network *n, const struct op *op,
	const uint16_t *highest, struct error *reterr)
{
	const struct value *in = &n->values[op->inputs[0]];

	if (MAX_OF(highest[op->inputs[0]], in->zero_point) >> op->activation_bits != 0)
		return error_set(reterr, -EBADMSG, "the input can exceed %u bits", op->activation_bits);
	return 0;
}

static int check_input(const struct network *n, const struct op *op, bool *seen,
	struct error *reterr)
{
	uint32_t channels = n->values[op->output].shape.channels;

	if (*seen || op->output != n->input)
		return error_set(reterr, -EBADMSG, "there is one input, and it writes value %u", n->input);
	if (n->input_pixels != (op->n_tables > 0))
		return error_set(reterr, -EBADMSG, "tables and 'bitshed.input_pixels' do not agree");
	if (n->input_pixels && channels > 4)
		return error_set(reterr, -EBADMSG, "pixels of %u channels", channels);
	if (n->input_bgr && channels != 3)
		return error_set(reterr, -EBADMSG, "%u channels cannot be B, G, R", channels);
	*seen = true;
	return 0;
}

static int check_op(const struct network *n, uint32_t index, uint32_t *user, uint16_t *highest,
	bool *input_seen, struct error *reterr)
{
	const struct op *op = &n->ops[index];
	int r;

	r = check_order(n, op, highest, reterr);
	if (r < 0)
		return r;
	r = op_check(op, n->values, reterr);
	if (r < 0)
		return r;
	if (op->kind == OP_INPUT)
		r = check_input(n, op, input_seen, reterr);
	if (op->kind == OP_CONVOLUTION || op->kind == OP_DEPTHWISE)
		r = check_matrix_of_op(n, index, user, reterr);
	if (r >= 0 && op->kind == OP_CONVOLUTION)
		r = check_activation_bits(n, op, highest, reterr);
	if (r < 0)
		return r;
	highest[op->output] = highest_output(n, op, highest);
	return 0;
}

static int check_complete(const struct network *n, const uint32_t *user, const uint16_t *highest,
	bool input_seen, struct error *reterr)
{
	for (uint32_t i = 0; i < n->n_values; i++)
		if (highest[i] > 255)
			return error_set(reterr, -EBADMSG, "value %u is never written", i);
	for (uint32_t i = 0; i < n->n_matrices; i++)
		if (user[i] == UNUSED)
			return error_set(reterr, -EBADMSG, "matrix %u belongs to no op", i);
	if (!input_seen)
		return error_set(reterr, -EBADMSG, "there is no input");
	if (n->output >= n->n_values)
		return error_set(reterr, -EBADMSG, "key 'bitshed.output': value %u does not exist",
			n->output);
	if (n->values[n->output].element != ELEMENT_F32)
		return error_set(reterr, -EBADMSG, "key 'bitshed.output': value %u is not f32", n->output);
	return 0;
}

static int check_graph(const struct network *n, struct error *reterr)
{
	_cleanup_free_ uint16_t *highest = NULL;
	_cleanup_free_ uint32_t *user = NULL;
	bool input_seen = false;
	int r;

	highest = malloc(n->n_values * sizeof *highest + 1);
	user = malloc(n->n_matrices * sizeof *user + 1);
	if (!highest || !user)
		return -ENOMEM;
	for (uint32_t i = 0; i < n->n_values; i++)
		highest[i] = 256;
	for (uint32_t i = 0; i < n->n_matrices; i++)
		user[i] = UNUSED;
	for (uint32_t i = 0; i < n->n_ops; i++) {
		r = check_op(n, i, user, highest, &input_seen, reterr);
		if (r < 0)
			return error_prefix(reterr, r, "op %u (%s)", i, op_kind_name(n->ops[i].kind));
	}
	return check_complete(n, user, highest, input_seen, reterr);
}

/* The words of a matrix in its blob. */
struct range {
	uint64_t begin, end;
	uint32_t matrix;
};

static int compare_ranges(const void *a, const void *b)
{
	uint64_t x = ((const struct range *) a)->begin, y = ((const struct range *) b)->begin;

	return (x > y) - (x < y);
}

static struct range matrix_range(const struct network *n, uint32_t i)
{
	const struct matrix *m = &n->matrices[i];
	/* The bounds of rows, columns and plane_word keep this far below 2^64. */
	uint64_t words = bits_plane_words(m->rows, m->row_bits) * (m->fixed ? m->planes : 1);

	return (struct range) {m->plane_word, m->plane_word + words, i};
}

static int check_inside(const struct network *n, const struct range *range, struct error *reterr)
{
	const struct matrix *m = &n->matrices[range->matrix];

	if (m->fixed && range->end > n->fixed_bytes / sizeof(uint64_t))
		return error_set(reterr, -EBADMSG, "matrix %u reaches out of tensor 'planes.fixed'",
			range->matrix);
	for (uint32_t p = 0; !m->fixed && p < m->planes; p++)
		if (p >= n->planes_max || range->end > n->plane_bytes[p] / sizeof(uint64_t))
			return error_set(reterr, -EBADMSG, "matrix %u reaches out of tensor 'planes.%u'",
				range->matrix, p + 1);
	return 0;
}

/* Matrices that are fixed, or all others, lie inside of their blobs and do not overlap. */
static int check_blob(const struct network *n, bool fixed, struct error *reterr)
{
	_cleanup_free_ struct range *ranges = NULL;
	size_t count = 0;
	int r;

	ranges = malloc(n->n_matrices * sizeof *ranges + 1);
	if (!ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < n->n_matrices; i++)
		if (n->matrices[i].fixed == fixed)
			ranges[count++] = matrix_range(n, i);
	if (count > 0)
		qsort(ranges, count, sizeof *ranges, compare_ranges);
	for (size_t i = 0; i < count; i++) {
		r = check_inside(n, &ranges[i], reterr);
		if (r < 0)
			return r;
		if (i > 0 && ranges[i].begin < ranges[i - 1].end)
			return error_set(reterr, -EBADMSG, "matrices %u and %u overlap",
				ranges[i - 1].matrix, ranges[i].matrix);
	}
	return 0;
}

static int check_planes(const struct network *n, struct error *reterr)
{
	uint32_t most = 1;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		if (!n->matrices[i].fixed)
			most = MAX_OF(most, n->matrices[i].planes);
	if (most != n->planes_max)
		return error_set(reterr, -EBADMSG, "key 'bitshed.planes': %u, the matrices have %u",
			n->planes_max, most);
	return 0;
}

static int check_levels(const struct network *n, struct error *reterr)
{
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		uint32_t levels = UINT32_C(1) << m->planes;
		uint32_t tables = m->shared_levels ? 1 : m->rows;

		for (uint64_t j = 1; m->coding == CODING_LEVEL && j < (uint64_t) tables * levels; j++)
			if (j % levels != 0 && m->level[j] < m->level[j - 1])
				return error_set(reterr, -EBADMSG, "matrix %u: levels do not ascend", i);
		for (uint32_t p = 0; m->sensitivity && p < m->planes; p++)
			if (m->sensitivity[p] < 0)
				return error_set(reterr, -EBADMSG, "matrix %u: a sensitivity is negative", i);
	}
	return 0;
}

int network_check(const struct network *n, struct error *reterr)
{
	int r;

	r = check_values(n, reterr);
	if (r >= 0)
		r = check_graph(n, reterr);
	if (r >= 0)
		r = check_planes(n, reterr);
	if (r >= 0)
		r = check_blob(n, true, reterr);
	if (r >= 0)
		r = check_blob(n, false, reterr);
	if (r >= 0)
		r = check_levels(n, reterr);
	return r;
}
