/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic code of fixed shares: the highest symbol, the shares of all up to it, 16 bits each, which sum to TOTAL,
 * then the bytes. The coder keeps an
 * interval [low, low + range) of 32 bits and gives out a byte when its first is settled; when the interval
 * straddles a border for too long it is cut there, so that no carry is ever left to do.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "convert/pack/coder.h"

#define SYMBOLS 256
#define SHARE_BITS 15
#define TOTAL (1u << SHARE_BITS)
#define TOP (1u << 24)
#define BOTTOM (1u << 16)

/* What occurs has a share of one at least; the largest share takes up the rounding. */
static void make_shares(uint16_t *share, const uint8_t *in, size_t n)
{
	uint64_t count[SYMBOLS] = {0};
	uint32_t left = TOTAL, largest = 0;

	for (size_t i = 0; i < n; i++)
		count[in[i]]++;
	for (uint32_t i = 0; i < SYMBOLS; i++) {
		share[i] = (uint16_t) (count[i] ? MAX_OF(count[i] * (TOTAL - SYMBOLS) / n, 1u) : 0);
		left -= share[i];
		if (share[i] > share[largest])
			largest = i;
	}
	share[largest] = (uint16_t) (share[largest] + left);
}

static void make_starts(uint32_t *start, const uint16_t *share)
{
	start[0] = 0;
	for (uint32_t i = 0; i < SYMBOLS; i++)
		start[i + 1] = start[i] + share[i];
}

/* Is the first byte settled, or the interval to be cut? */
static bool is_settled(uint32_t low, uint32_t *range)
{
	if ((low ^ (low + *range)) < TOP)
		return true;
	if (*range >= BOTTOM)
		return false;
	*range = -low & (BOTTOM - 1);
	return true;
}

int arithmetic_pack(const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size)
{
	uint32_t start[SYMBOLS + 1], low = 0, range = UINT32_MAX;
	uint16_t share[SYMBOLS];
	size_t at;

	make_shares(share, in, n);
	make_starts(start, share);
	out[0] = 0;
	for (size_t i = 0; i < n; i++)
		out[0] = MAX_OF(out[0], in[i]);
	at = 1 + 2 * (out[0] + 1u);
	memcpy(out + 1, share, at - 1);
	for (size_t i = 0; i < n; i++) {
		range >>= SHARE_BITS;
		low += start[in[i]] * range;
		range *= share[in[i]];
		for (; is_settled(low, &range); low <<= 8, range <<= 8)
			out[at++] = (uint8_t) (low >> 24);
	}
	for (int i = 0; i < 4; i++, low <<= 8)
		out[at++] = (uint8_t) (low >> 24);
	*ret_size = at;
	return 0;
}

int arithmetic_unpack(const uint8_t *in, size_t size, uint8_t *out, size_t n)
{
	_cleanup_free_ uint8_t *symbol = malloc(TOTAL);
	uint32_t start[SYMBOLS + 1], low = 0, range = UINT32_MAX, code = 0;
	uint16_t share[SYMBOLS] = {0};
	size_t at;

	if (!symbol)
		return -ENOMEM;
	if (size < 1 || size < 1 + 2 * (in[0] + 1u) + 4)
		return -EBADMSG;
	at = 1 + 2 * (in[0] + 1u);
	for (uint32_t i = 0; i <= in[0]; i++)
		share[i] = bytes_u16(in + 1 + 2 * i);
	make_starts(start, share);
	if (start[SYMBOLS] != TOTAL)
		return -EBADMSG;
	for (uint32_t i = 0; i < SYMBOLS; i++)
		memset(symbol + start[i], (int) i, share[i]);
	for (int i = 0; i < 4; i++)
		code = code << 8 | in[at++];
	for (size_t i = 0; i < n; i++) {
		uint32_t place;

		range >>= SHARE_BITS;
		place = (code - low) / range;
		if (place >= TOTAL)
			return -EBADMSG;
		out[i] = symbol[place];
		low += start[out[i]] * range;
		range *= share[out[i]];
		for (; is_settled(low, &range); low <<= 8, range <<= 8) {
			if (at > size + 4)
				return -EBADMSG;
			code = code << 8 | (at < size ? in[at] : 0);
			at++;
		}
	}
	return 0;
}
