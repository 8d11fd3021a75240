/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which key of a model file is which member of which struct: the one table behind the reader
 * (model_file.c), the writer (convert/model_write.c) and whoever prints. Meanings: model_format.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/gguf.h"
#include "engine/model.h"

enum field_type {
	FIELD_U8,
	FIELD_U32,
	FIELD_U64,
	FIELD_BOOL,
	FIELD_F32,
	FIELD_ENUM, /* an enum, in files the name */
	FIELD_TEXT, /* char[count] */
};

#define FIELD_ALL UINT32_MAX
#define FIELD_NOT_COUNTED SIZE_MAX

/**
 * struct field - one key
 * @kinds: bit k set: present when the struct's kind is k; absent fields get @absent
 * @offset: of the member
 * @count: 1: a scalar; more: an array of exactly that many
 * @n_offset: unless FIELD_NOT_COUNTED: the array has any length up to @count, kept in the uint32_t there
 * @low, @high: bounds of every element, inclusive
 * @names: FIELD_ENUM: [high + 1]
 */
struct field {
	const char *key;
	enum field_type type;
	uint32_t kinds;
	size_t offset;
	uint32_t count;
	size_t n_offset;
	double low, high, absent;
	const char *const *names;
};

/** struct field_table - the first field of a struct with kinds is its kind */
struct field_table {
	const struct field *fields;
	size_t n_fields;
	bool has_kind;
};

extern const struct field_table network_table, value_table, op_table, matrix_table;

/** fields_kinds() - the bit of the kind of @base, which must be valid; FIELD_ALL without kinds */
uint32_t fields_kinds(const struct field_table *t, const void *base);

/** field_gguf_type() - how a scalar or an element is stored */
enum gguf_type field_gguf_type(const struct field *f);

/**
 * fields_read() - fill @base from the keys @prefix + field; checks types, lengths and bounds
 *
 * Return: 0; -EBADMSG or -ENOTSUP with words.
 */
int fields_read(const struct field_table *t, struct gguf *g, const char *prefix, void *base,
	struct error *reterr);

/**
 * struct matrix_part - one run of floats of a matrix in the tensor "scales", in this order
 * @key: of the bool that says whether it is there, NULL: always, when the coding has it
 * @offset: of the pointer in struct matrix
 */
struct matrix_part {
	const char *key;
	uint32_t codings;
	size_t offset;
	uint64_t (*count)(const struct matrix *m);
};

#define MATRIX_PARTS 8
extern const struct matrix_part matrix_parts[MATRIX_PARTS];

/** matrix_part_get() - the floats of a part, NULL when the matrix does without */
const float *matrix_part_get(const struct matrix *m, const struct matrix_part *part);
void matrix_part_set(struct matrix *m, const struct matrix_part *part, const float *numbers);
