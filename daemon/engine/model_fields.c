/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/model_fields.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

static const char *const element_names[] = {[ELEMENT_U8] = "u8", [ELEMENT_F32] = "f32"};
static const char *const coding_names[] = {[CODING_SUM] = "sum", [CODING_LEVEL] = "level"};

#define U32_MAX 4294967295.0
#define SIZE_LIMIT 65535.0
#define INDEX_LIMIT 1048575.0
/* Quotients of scales: |q| * gain * 2 stays inside of int32. */
#define GAIN_LIMIT 1048576.0

#define KIND(k) (UINT32_C(1) << (k))
#define FILTERS (KIND(OP_CONVOLUTION) | KIND(OP_DEPTHWISE))
#define POOLS (KIND(OP_MAX_POOL) | KIND(OP_AVERAGE_POOL))
#define WINDOWS (FILTERS | POOLS)
#define CLAMPS (WINDOWS | KIND(OP_ADD))
#define PADS (WINDOWS | KIND(OP_PAD))

/* clang-format off */
#define ONE(s, k, t, kinds, m, low, high, absent) \
	{k, t, kinds, offsetof(struct s, m), 1, FIELD_NOT_COUNTED, low, high, absent, NULL}
#define MANY(s, k, t, kinds, m, n, low, high, absent) \
	{k, t, kinds, offsetof(struct s, m), n, FIELD_NOT_COUNTED, low, high, absent, NULL}
#define NAMED(s, k, m, list) \
	{k, FIELD_ENUM, FIELD_ALL, offsetof(struct s, m), 1, FIELD_NOT_COUNTED, 0, ARRAY_SIZE(list) - 1, 0, list}
#define TEXT(s, k, m) \
	{k, FIELD_TEXT, FIELD_ALL, offsetof(struct s, m), sizeof(((struct s *) 0)->m), FIELD_NOT_COUNTED, 0, 0, 0, NULL}

static const struct field network_fields[] = {
	TEXT(network, "general.name", name),
	TEXT(network, "bitshed.method", method),
	TEXT(network, "bitshed.source_hash", source_hash),
	TEXT(network, "bitshed.data", data),
	ONE(network,  "bitshed.input", FIELD_U32, FIELD_ALL, input, 0, INDEX_LIMIT, 0),
	ONE(network,  "bitshed.output", FIELD_U32, FIELD_ALL, output, 0, INDEX_LIMIT, 0),
	ONE(network,  "bitshed.input_pixels", FIELD_BOOL, FIELD_ALL, input_pixels, 0, 1, 0),
	ONE(network,  "bitshed.input_bgr", FIELD_BOOL, FIELD_ALL, input_bgr, 0, 1, 0),
	ONE(network,  "bitshed.pixel_scale", FIELD_F32, FIELD_ALL, pixel_scale, -1e6, 1e6, 0),
	MANY(network, "bitshed.pixel_mean", FIELD_F32, FIELD_ALL, pixel_mean, 4, -1e6, 1e6, 0),
	MANY(network, "bitshed.pixel_std", FIELD_F32, FIELD_ALL, pixel_std, 4, -1e6, 1e6, 0),
	ONE(network,  "bitshed.planes", FIELD_U32, FIELD_ALL, planes_max, 1, BITS_PLANES_MAX, 0),
	ONE(network,  "bitshed.fixed_crc", FIELD_U32, FIELD_ALL, fixed_crc, 0, U32_MAX, 0),
	MANY(network, "bitshed.plane_crc", FIELD_U32, FIELD_ALL, plane_crc, BITS_PLANES_MAX, 0, U32_MAX, 0),
};

static const struct field value_fields[] = {
	NAMED(value, "element", element, element_names),
	ONE(value, "height", FIELD_U32, FIELD_ALL, shape.height, 1, U32_MAX, 0),
	ONE(value, "width", FIELD_U32, FIELD_ALL, shape.width, 1, U32_MAX, 0),
	ONE(value, "channels", FIELD_U32, FIELD_ALL, shape.channels, 1, U32_MAX, 0),
	ONE(value, "scale", FIELD_F32, KIND(ELEMENT_U8), scale, 1e-20, 1e20, 1),
	ONE(value, "zero_point", FIELD_U8, KIND(ELEMENT_U8), zero_point, 0, 255, 0),
};

static const struct field op_fields[] = {
	NAMED(op, "kind", kind, op_kind_names),
	{"inputs", FIELD_U32, FIELD_ALL, offsetof(struct op, inputs), OP_INPUTS_MAX, offsetof(struct op, n_inputs), 0, INDEX_LIMIT, 0, NULL},
	ONE(op,  "output", FIELD_U32, FIELD_ALL, output, 0, INDEX_LIMIT, 0),
	ONE(op,  "kernel_h", FIELD_U32, WINDOWS, kernel_h, 1, SIZE_LIMIT, 1),
	ONE(op,  "kernel_w", FIELD_U32, WINDOWS, kernel_w, 1, SIZE_LIMIT, 1),
	ONE(op,  "stride_h", FIELD_U32, WINDOWS, stride_h, 1, SIZE_LIMIT, 1),
	ONE(op,  "stride_w", FIELD_U32, WINDOWS, stride_w, 1, SIZE_LIMIT, 1),
	ONE(op,  "dilation_h", FIELD_U32, FILTERS, dilation_h, 1, SIZE_LIMIT, 1),
	ONE(op,  "dilation_w", FIELD_U32, FILTERS, dilation_w, 1, SIZE_LIMIT, 1),
	ONE(op,  "pad_top", FIELD_U32, PADS, pad_top, 0, SIZE_LIMIT, 0),
	ONE(op,  "pad_left", FIELD_U32, PADS, pad_left, 0, SIZE_LIMIT, 0),
	ONE(op,  "pad_bottom", FIELD_U32, PADS, pad_bottom, 0, SIZE_LIMIT, 0),
	ONE(op,  "pad_right", FIELD_U32, PADS, pad_right, 0, SIZE_LIMIT, 0),
	ONE(op,  "pad_channels_before", FIELD_U32, KIND(OP_PAD), pad_channels_before, 0, SIZE_LIMIT, 0),
	ONE(op,  "pad_channels_after", FIELD_U32, KIND(OP_PAD), pad_channels_after, 0, SIZE_LIMIT, 0),
	ONE(op,  "groups", FIELD_U32, KIND(OP_CONVOLUTION), groups, 1, SIZE_LIMIT, 1),
	MANY(op, "begin", FIELD_U32, KIND(OP_SLICE), begin, 3, 0, U32_MAX, 0),
	MANY(op, "step", FIELD_U32, KIND(OP_SLICE), step, 3, 1, U32_MAX, 1),
	ONE(op,  "activation_bits", FIELD_U32, KIND(OP_CONVOLUTION), activation_bits, 1, 8, 8),
	ONE(op,  "matrix", FIELD_U32, FILTERS, matrix, 0, INDEX_LIMIT, 0),
	ONE(op,  "clamp_low", FIELD_U8, CLAMPS, clamp_low, 0, 255, 0),
	ONE(op,  "clamp_high", FIELD_U8, CLAMPS, clamp_high, 0, 255, 255),
	ONE(op,  "count_padding", FIELD_BOOL, KIND(OP_AVERAGE_POOL), count_padding, 0, 1, 0),
	MANY(op, "gain", FIELD_F32, KIND(OP_ADD) | KIND(OP_AVERAGE_POOL), gain, 2, -GAIN_LIMIT, GAIN_LIMIT, 0),
};

static const struct field matrix_fields[] = {
	NAMED(matrix, "coding", coding, coding_names),
	ONE(matrix, "rows", FIELD_U32, FIELD_ALL, rows, 1, INDEX_LIMIT, 0),
	ONE(matrix, "columns", FIELD_U32, FIELD_ALL, columns, 1, SIZE_LIMIT, 0),
	ONE(matrix, "group_columns", FIELD_U32, FIELD_ALL, group_columns, 1, INDEX_LIMIT, 0),
	ONE(matrix, "planes", FIELD_U32, FIELD_ALL, planes, 1, BITS_PLANES_MAX, 0),
	ONE(matrix, "fixed", FIELD_BOOL, FIELD_ALL, fixed, 0, 1, 0),
	ONE(matrix, "depthwise", FIELD_BOOL, FIELD_ALL, depthwise, 0, 1, 0),
	ONE(matrix, "alpha_widths", FIELD_U32, KIND(CODING_SUM), alpha_widths, 0, BITS_PLANES_MAX - 1, 0),
	ONE(matrix, "shared_levels", FIELD_BOOL, KIND(CODING_LEVEL), shared_levels, 0, 1, 0),
	ONE(matrix, "plane_word", FIELD_U64, FIELD_ALL, plane_word, 0, 1e12, 0),
};
/* clang-format on */

const struct field_table network_table = {network_fields, ARRAY_SIZE(network_fields), false};
const struct field_table value_table = {value_fields, ARRAY_SIZE(value_fields), true};
const struct field_table op_table = {op_fields, ARRAY_SIZE(op_fields), true};
const struct field_table matrix_table = {matrix_fields, ARRAY_SIZE(matrix_fields), true};

static uint64_t count_alpha(const struct matrix *m)
{
	return (uint64_t) m->rows * m->groups * m->planes;
}

static uint64_t count_offset(const struct matrix *m)
{
	return (uint64_t) m->rows * m->groups;
}

/* Nothing without widths: the part is there for every sum coding, and then empty. */
static uint64_t count_alpha_at(const struct matrix *m)
{
	return matrix_alpha_at(m, m->alpha_widths + 1);
}

static uint64_t count_level(const struct matrix *m)
{
	return (uint64_t) (m->shared_levels ? 1 : m->rows) << m->planes;
}

static uint64_t count_rows(const struct matrix *m)
{
	return m->rows;
}

static uint64_t count_widths(const struct matrix *m)
{
	return (uint64_t) m->planes * m->rows;
}

static uint64_t count_planes(const struct matrix *m)
{
	return m->planes;
}

const struct matrix_part matrix_parts[MATRIX_PARTS] = {
	{NULL, KIND(CODING_SUM), offsetof(struct matrix, alpha), count_alpha},
	{"has_offset", KIND(CODING_SUM), offsetof(struct matrix, offset), count_offset},
	{NULL, KIND(CODING_SUM), offsetof(struct matrix, alpha_at), count_alpha_at},
	{NULL, KIND(CODING_LEVEL), offsetof(struct matrix, level), count_level},
	{NULL, FIELD_ALL, offsetof(struct matrix, bias), count_rows},
	{"has_gain_at", FIELD_ALL, offsetof(struct matrix, gain_at), count_widths},
	{"has_bias_at", FIELD_ALL, offsetof(struct matrix, bias_at), count_widths},
	{"has_sensitivity", FIELD_ALL, offsetof(struct matrix, sensitivity), count_planes},
};

const float *matrix_part_get(const struct matrix *m, const struct matrix_part *part)
{
	const float *numbers = NULL;

	if (part->codings & KIND(m->coding))
		memcpy(&numbers, (const char *) m + part->offset, sizeof numbers);
	return numbers;
}

void matrix_part_set(struct matrix *m, const struct matrix_part *part, const float *numbers)
{
	memcpy((char *) m + part->offset, &numbers, sizeof numbers);
}

uint32_t fields_kinds(const struct field_table *t, const void *base)
{
	uint32_t kind;

	if (!t->has_kind)
		return FIELD_ALL;
	kind = bytes_u32((const char *) base + t->fields[0].offset);
	return KIND(kind);
}

enum gguf_type field_gguf_type(const struct field *f)
{
	switch (f->type) {
	case FIELD_U8:
		return GGUF_U8;
	case FIELD_U32:
		return GGUF_U32;
	case FIELD_U64:
		return GGUF_U64;
	case FIELD_BOOL:
		return GGUF_BOOL;
	case FIELD_F32:
		return GGUF_F32;
	case FIELD_ENUM:
	case FIELD_TEXT:
		return GGUF_STRING;
	}
	return _GGUF_TYPE_MAX;
}

/* One element from the file's bytes; a bool in a file is a byte that must be 0 or 1. */
static double load_number(enum field_type type, const uint8_t *data)
{
	switch (type) {
	case FIELD_U8:
	case FIELD_BOOL:
		return *data;
	case FIELD_U32:
		return bytes_u32(data);
	case FIELD_U64:
		return (double) bytes_u64(data);
	case FIELD_F32:
		return (double) bytes_f32(data);
	case FIELD_ENUM:
	case FIELD_TEXT:
		break;
	}
	return NAN;
}

/* Bounds have been checked: the conversions are exact. */
static void store_number(enum field_type type, void *to, double v)
{
	switch (type) {
	case FIELD_U8:
		*(uint8_t *) to = (uint8_t) v;
		break;
	case FIELD_BOOL:
		*(bool *) to = v != 0;
		break;
	case FIELD_U32:
	case FIELD_ENUM:
		*(uint32_t *) to = (uint32_t) v;
		break;
	case FIELD_U64:
		*(uint64_t *) to = (uint64_t) v;
		break;
	case FIELD_F32:
		*(float *) to = (float) v;
		break;
	case FIELD_TEXT:
		break;
	}
}

static size_t member_bytes(enum field_type type)
{
	return type == FIELD_U8 || type == FIELD_BOOL ? 1 : type == FIELD_U64 ? 8 : 4;
}

static int read_enum(const struct field *f, struct gguf *g, const char *key, void *member,
	struct error *reterr)
{
	char name[32];
	int r;

	r = gguf_text(g, key, name, sizeof name, reterr);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i <= (uint32_t) f->high; i++)
		if (strcmp(f->names[i], name) == 0) {
			store_number(f->type, member, i);
			return 0;
		}
	return error_set(reterr, -ENOTSUP, "key '%s': '%s' is not known", key, name);
}

static int read_numbers(const struct field *f, struct gguf *g, const char *key, void *base,
	struct error *reterr)
{
	bool counted = f->n_offset != FIELD_NOT_COUNTED;
	char *member = (char *) base + f->offset;
	const uint8_t *data = NULL;
	uint64_t n = 1;
	int r;

	if (f->count == 1)
		r = gguf_scalar(g, key, field_gguf_type(f), &data, reterr);
	else
		r = gguf_array(g, key, field_gguf_type(f), f->count, &data, &n, reterr);
	if (r < 0)
		return r;
	if (!counted && n != f->count)
		return error_set(reterr, -EBADMSG, "key '%s': %lu elements, not %u", key, n, f->count);
	for (uint64_t i = 0; i < n; i++) {
		double v = load_number(f->type, data + i * member_bytes(f->type));

		if (!(v >= f->low && v <= f->high))
			return error_set(reterr, -EBADMSG, "key '%s': %g is not between %g and %g", key, v,
				f->low, f->high);
		store_number(f->type, member + i * member_bytes(f->type), v);
	}
	if (counted)
		store_number(FIELD_U32, (char *) base + f->n_offset, (double) n);
	return 0;
}

static int read_field(const struct field *f, struct gguf *g, const char *prefix, void *base,
	struct error *reterr)
{
	char key[GGUF_KEY_MAX + 1];

	(void) snprintf(key, sizeof key, "%s%s", prefix, f->key);
	if (f->type == FIELD_TEXT)
		return gguf_text(g, key, (char *) base + f->offset, f->count, reterr);
	if (f->type == FIELD_ENUM)
		return read_enum(f, g, key, (char *) base + f->offset, reterr);
	return read_numbers(f, g, key, base, reterr);
}

static void set_absent(const struct field *f, void *base)
{
	for (uint32_t i = 0; i < f->count; i++)
		store_number(f->type, (char *) base + f->offset + i * member_bytes(f->type), f->absent);
}

int fields_read(const struct field_table *t, struct gguf *g, const char *prefix, void *base,
	struct error *reterr)
{
	uint32_t kinds = FIELD_ALL;
	int r;

	for (size_t i = 0; i < t->n_fields; i++) {
		const struct field *f = &t->fields[i];

		if (!(f->kinds & kinds)) {
			set_absent(f, base);
			continue;
		}
		r = read_field(f, g, prefix, base, reterr);
		if (r < 0)
			return r;
		if (i == 0)
			kinds = fields_kinds(t, base);
	}
	return 0;
}
