/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for buffers that must not be read or written beyond their ends: an arena lies between two
 * pages without any access, and a buffer lies either at its very begin or at its very end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena {
	uint8_t *begin;
	size_t bytes;
};

/** arena_init() - @bytes: rounded up to pages. The process exits when there is no memory. */
void arena_init(struct arena *a, size_t bytes);
void arena_done(struct arena *a);

/**
 * arena_buffer() - @bytes at the end of @a, or at its begin
 * @align: power of two; when @bytes is no multiple of it, the slack behind the buffer (or before its
 *	begin page) is filled with ARENA_CANARY
 */
void *arena_buffer(struct arena *a, size_t bytes, size_t align, bool at_end);

#define ARENA_CANARY 0xa5

/** arena_intact() - Return: whether the canaries behind the buffer at @p are as they were */
bool arena_intact(const struct arena *a, const void *p, size_t bytes);

enum fill {
	FILL_ZEROS,
	FILL_ONES, /* accumulators at their limit */
	FILL_LAST, /* only the last: the tail is read */
	FILL_RANDOM,
	_FILL_MAX,
};

/** random_u32() - xorshift with a fixed seed: the same cases in every run */
uint32_t random_u32(void);
uint64_t random_u64(void);

/** random_below() - Return: 0..limit-1 */
uint32_t random_below(uint32_t limit);

/** fill_bytes() - @max: the largest value, which FILL_ONES and FILL_LAST use */
void fill_bytes(uint8_t *p, size_t n, enum fill fill, uint8_t max);
