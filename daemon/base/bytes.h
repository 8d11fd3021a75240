/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes that cannot wrap, and little-endian loads from bytes that nobody has checked yet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** bytes_mul() - *ret = a * b. Return: false, *ret untouched, when it does not fit. */
static inline bool bytes_mul(size_t *ret, size_t a, size_t b)
{
	size_t v;

	if (__builtin_mul_overflow(a, b, &v))
		return false;
	*ret = v;
	return true;
}

static inline bool bytes_add(size_t *ret, size_t a, size_t b)
{
	size_t v;

	if (__builtin_add_overflow(a, b, &v))
		return false;
	*ret = v;
	return true;
}

/** bytes_align() - round up to a multiple of @align, a power of two; the caller bounds @a. */
static inline size_t bytes_align(size_t a, size_t align)
{
	return (a + align - 1) & ~(align - 1);
}

static inline uint16_t bytes_u16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t bytes_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t bytes_u64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline float bytes_f32(const void *p)
{
	float v;

	memcpy(&v, p, sizeof v);
	return v;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the model file and the loads here are little-endian"
#endif
