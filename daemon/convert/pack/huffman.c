/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical Huffman code: the highest symbol, the lengths of all up to it (0: does not occur), a byte each, then the
 * bits, most significant first.
 * Codes are at most LENGTH_MAX bits long: counts are halved until they are, which costs nothing that shows.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/pack/coder.h"

#define SYMBOLS 256
#define LENGTH_MAX 15
#define NODES (2 * SYMBOLS)

/* The two lightest nodes become one, again and again. Return: the longest code */
static uint32_t make_lengths(uint8_t *length, const uint64_t *count)
{
	uint64_t weight[NODES] = {0};
	uint16_t parent[NODES] = {0};
	uint32_t nodes = SYMBOLS, open = 0, longest = 0;
	bool done[NODES] = {false};

	for (uint32_t i = 0; i < SYMBOLS; i++) {
		weight[i] = count[i];
		open += count[i] > 0;
	}
	for (; open > 1; open--, nodes++) {
		uint32_t least[2] = {NODES, NODES};

		for (int k = 0; k < 2; k++) {
			for (uint32_t i = 0; i < nodes; i++)
				if (weight[i] > 0 && !done[i] &&
					(least[k] == NODES || weight[i] < weight[least[k]]))
					least[k] = i;
			done[least[k]] = true;
			parent[least[k]] = (uint16_t) nodes;
			weight[nodes] += weight[least[k]];
		}
	}
	for (uint32_t i = 0; i < SYMBOLS; i++) {
		length[i] = 0;
		for (uint32_t at = i; count[i] > 0 && parent[at]; at = parent[at])
			length[i]++;
		if (count[i] > 0 && length[i] == 0)
			length[i] = 1; /* the only symbol */
		longest = MAX_OF(longest, length[i]);
	}
	return longest;
}

/* Return: false when no code has such lengths */
static bool make_codes(uint16_t *code, const uint8_t *length)
{
	uint32_t next = 0;

	for (uint32_t bits = 1; bits <= LENGTH_MAX; bits++) {
		for (uint32_t i = 0; i < SYMBOLS; i++)
			if (length[i] == bits)
				code[i] = (uint16_t) next++;
		if (next > 1u << bits)
			return false;
		next *= 2;
	}
	return true;
}

int huffman_pack(const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size)
{
	uint64_t count[SYMBOLS] = {0}, bits = 0;
	uint8_t length[SYMBOLS];
	uint16_t code[SYMBOLS] = {0};
	uint32_t have = 0;
	size_t at;

	out[0] = 0;
	for (size_t i = 0; i < n; i++) {
		count[in[i]]++;
		out[0] = MAX_OF(out[0], in[i]);
	}
	while (make_lengths(length, count) > LENGTH_MAX)
		for (uint32_t i = 0; i < SYMBOLS; i++)
			count[i] = (count[i] + 1) / 2;
	(void) make_codes(code, length);
	memcpy(out + 1, length, out[0] + 1u);
	at = out[0] + 2u;
	for (size_t i = 0; i < n; i++) {
		bits = bits << length[in[i]] | code[in[i]];
		for (have += length[in[i]]; have >= 8; have -= 8)
			out[at++] = (uint8_t) (bits >> (have - 8));
	}
	if (have > 0)
		out[at++] = (uint8_t) (bits << (8 - have));
	*ret_size = at;
	return 0;
}

/* What each LENGTH_MAX bits begin with: symbol and length; length 0: no code. */
struct entry {
	uint8_t symbol, length;
};

static int make_table(struct entry *table, const uint8_t *length)
{
	uint16_t code[SYMBOLS] = {0};

	for (uint32_t i = 0; i < SYMBOLS; i++)
		if (length[i] > LENGTH_MAX)
			return -EBADMSG;
	if (!make_codes(code, length))
		return -EBADMSG;
	for (uint32_t i = 0; i < SYMBOLS; i++) {
		uint32_t first = (uint32_t) code[i] << (LENGTH_MAX - length[i]);

		for (uint32_t k = 0; length[i] > 0 && k < 1u << (LENGTH_MAX - length[i]); k++)
			table[first + k] = (struct entry){(uint8_t) i, length[i]};
	}
	return 0;
}

int huffman_unpack(const uint8_t *in, size_t size, uint8_t *out, size_t n)
{
	_cleanup_free_ struct entry *table = calloc(1u << LENGTH_MAX, sizeof *table);
	uint8_t length[SYMBOLS] = {0};
	uint64_t bits = 0;
	uint32_t have = 0;
	size_t at;
	int r;

	if (!table)
		return -ENOMEM;
	if (size < 1 || size < in[0] + 2u)
		return -EBADMSG;
	at = in[0] + 2u;
	memcpy(length, in + 1, at - 1);
	r = make_table(table, length);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct entry e;

		for (; have < LENGTH_MAX; have += 8, at++) /* zeros behind the end */
			bits = bits << 8 | (at < size ? in[at] : 0);
		e = table[bits >> (have - LENGTH_MAX) & ((1u << LENGTH_MAX) - 1)];
		if (e.length == 0 || at > size + LENGTH_MAX)
			return -EBADMSG;
		out[i] = e.symbol;
		have -= e.length;
	}
	return r;
}
