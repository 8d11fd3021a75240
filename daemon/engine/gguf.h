/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container of model files: GGUF version 3, little-endian. This file knows keys, types and sizes,
 * not what they mean; model_format.md says which part of GGUF is accepted.
 *
 * The file may be hostile and may change while it is read, so its header is copied once (never mapped)
 * and every length is checked against the copy before it is used.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define GGUF_MAGIC UINT32_C(0x46554747) /* "GGUF" */
#define GGUF_VERSION 3
#define GGUF_ALIGNMENT 4096
#define GGUF_HEADER_MAX (UINT64_C(16) << 20)
#define GGUF_ENTRIES_MAX (1 << 18)
#define GGUF_TENSORS_MAX 1024
#define GGUF_KEY_MAX 128
#define GGUF_TEXT_MAX 65535

/* As numbered in files. */
enum gguf_type {
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64,
	_GGUF_TYPE_MAX,
};

/* Of tensors: ggml's numbers of the two types that model files use. */
#define GGUF_TENSOR_F32 0
#define GGUF_TENSOR_I8 24

/**
 * struct gguf_entry - one key with its value
 * @element: of GGUF_ARRAY, else the type itself
 * @count: elements of GGUF_ARRAY, else 1
 * @data: into the header; strings begin with their 64-bit length
 * @used: somebody has read it
 */
struct gguf_entry {
	char key[GGUF_KEY_MAX + 1];
	enum gguf_type type, element;
	uint64_t count;
	const uint8_t *data;
	bool used;
};

/** struct gguf_tensor - @offset: in the file; offset + bytes lies inside of it */
struct gguf_tensor {
	char name[GGUF_KEY_MAX + 1];
	uint32_t type;
	uint64_t bytes, offset;
};

/** struct gguf - @entries are sorted by key, @tensors by offset; neither has duplicates or overlaps */
struct gguf {
	uint8_t *header;
	struct gguf_entry *entries;
	uint32_t n_entries;
	struct gguf_tensor *tensors;
	uint32_t n_tensors;
	uint64_t file_bytes;
};

/**
 * gguf_read() - read and check the header of @fd
 *
 * Return: 0; -EBADMSG for a broken file, -ENOTSUP for another version or type, both with the key or
 * tensor and the cause; -ENOMEM; an errno of reading. @ret is zeroed on failure.
 */
int gguf_read(struct gguf *ret, int fd, struct error *reterr);
void gguf_done(struct gguf *g);

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/** gguf_has() - is there such a key? */
bool gguf_has(const struct gguf *g, const char *key);

/**
 * gguf_scalar() - the bytes of a value of exactly @type, not GGUF_STRING or GGUF_ARRAY
 *
 * Return: 0 or -EBADMSG, as the other getters. All mark the key as used.
 */
int gguf_scalar(struct gguf *g, const char *key, enum gguf_type type, const uint8_t **ret,
	struct error *reterr);

/** gguf_array() - the bytes of an array of at most @max elements of exactly @element */
int gguf_array(struct gguf *g, const char *key, enum gguf_type element, uint64_t max,
	const uint8_t **ret, uint64_t *ret_count, struct error *reterr);

/** gguf_text() - a string, copied; it must fit with its NUL and be UTF-8 without control characters */
int gguf_text(struct gguf *g, const char *key, char *text, size_t size, struct error *reterr);

/**
 * gguf_texts() - an array of at most @max strings, each of at most 1023 bytes, checked as gguf_text()
 * @ret: one allocation that holds pointers and texts, NULL when there are none; owned by the caller
 */
int gguf_texts(struct gguf *g, const char *key, uint32_t max, char ***ret, uint32_t *ret_count,
	struct error *reterr);

/** gguf_check_used() - -ENOTSUP with its name when a key that begins with @prefix was not read */
int gguf_check_used(const struct gguf *g, const char *prefix, struct error *reterr);
