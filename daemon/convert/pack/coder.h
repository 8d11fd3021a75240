/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lossless coders of weight codes: bytes below 2^planes, most of them alike. zstd is for use; Huffman's and the
 * arithmetic code are what papers on compressed networks report (methods B9 to B11), to compare with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum coder {
	CODER_ZSTD,
	CODER_HUFFMAN,
	CODER_ARITHMETIC,
	_CODER_MAX,
};

/** coder_name(), coder_find() - Return: -1 when there is no such coder */
const char *coder_name(enum coder c);
int coder_find(const char *name);

/** coder_bound() - room that coder_pack() may need for @n bytes */
size_t coder_bound(size_t n);

/**
 * coder_pack() - @n bytes of @in into @out, which has coder_bound(@n)
 *
 * Return: 0 or -ENOMEM.
 */
int coder_pack(enum coder c, const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size);

/**
 * coder_unpack() - exactly @n bytes from @size of @in, which may be hostile
 *
 * Return: 0; -EBADMSG when @in is not what coder_pack() writes for so many; -ENOMEM.
 */
int coder_unpack(enum coder c, const uint8_t *in, size_t size, uint8_t *out, size_t n);

/* One file each. */
int huffman_pack(const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size);
int huffman_unpack(const uint8_t *in, size_t size, uint8_t *out, size_t n);
int arithmetic_pack(const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size);
int arithmetic_unpack(const uint8_t *in, size_t size, uint8_t *out, size_t n);
