/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE definition of packed bits: word, order, padding, sign. Nothing else in the tree may assume one.
 *
 * A plane is one bit of every weight of a matrix [rows][columns]. Rows lie one after the other, each
 * padded to row_bits:
 *
 *	columns <= 32 and a depthwise filter	the next power of two >= columns, at least 8
 *	everything else				the next multiple of 64
 *
 * so that a row of a matrix product starts on a word, and many small filters share one. Bit t of row r
 * is bit (r * row_bits + t) % 64 of 64-bit word (r * row_bits + t) / 64; words are little-endian in
 * files and in memory. A set bit means +1, a clear bit -1. Pad bits are clear and carry no weight:
 * whatever multiplies them must be zero.
 *
 * Rows are not interleaved. A product with few columns reads each row once, from end to end: one
 * stream per plane, which is what memory likes best. One with many columns decodes or turns around a
 * tile of rows anyway and uses it many times. And a prefix of planes stays contiguous.
 *
 * Planes are nested: plane 0 is the most significant one, planes 0..p-1 are themselves the model of
 * p bits. Of an index (level coding), plane 0 is the most significant bit.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BITS_PER_WORD 64
#define BITS_PLANES_MAX 8

/** bits_words() - 64-bit words that hold @columns bits */
static inline uint32_t bits_words(uint32_t columns)
{
	return columns / BITS_PER_WORD + (columns % BITS_PER_WORD != 0);
}

/** bits_row_bits() - distance between two rows, see above; @columns at most 2^31 */
static inline uint32_t bits_row_bits(uint32_t columns, bool depthwise)
{
	if (depthwise && columns <= 32)
		return columns <= 8 ? 8 : columns <= 16 ? 16 : 32;
	return bits_words(columns) * BITS_PER_WORD;
}

/** bits_plane_words() - words of one plane of a whole matrix */
static inline uint64_t bits_plane_words(uint32_t rows, uint32_t row_bits)
{
	return ((uint64_t) rows * row_bits + BITS_PER_WORD - 1) / BITS_PER_WORD;
}

static inline bool bits_get(const uint64_t *plane, uint64_t bit)
{
	return plane[bit / BITS_PER_WORD] >> (bit % BITS_PER_WORD) & 1;
}

static inline void bits_set(uint64_t *plane, uint64_t bit)
{
	plane[bit / BITS_PER_WORD] |= UINT64_C(1) << (bit % BITS_PER_WORD);
}

/**
 * bits_word() - up to 64 bits of one row, starting at column @column, a multiple of 64
 *
 * Bits beyond row_bits come back clear, so short depthwise rows and long rows read the same way.
 */
static inline uint64_t bits_word(const uint64_t *plane, uint32_t row, uint32_t row_bits,
	uint32_t column)
{
	uint64_t bit = (uint64_t) row * row_bits + column;
	uint64_t word = plane[bit / BITS_PER_WORD] >> (bit % BITS_PER_WORD);

	return row_bits < BITS_PER_WORD ? word & ((UINT64_C(1) << row_bits) - 1) : word;
}
