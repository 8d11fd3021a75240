/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 as FIPS 180-4 writes it. Its constants are the first 32 bits of the fractions of roots of the
 * first primes (cube roots for the rounds, square roots for the start): computed here, not listed.
 */
#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

struct constants {
	uint32_t round[64], start[8];
};

/* Largest x with x^power <= prime * 2^(32*power), whose low 32 bits are the fraction of the root. */
static uint32_t root_fraction(unsigned prime, unsigned power)
{
	uint64_t x = 0;

	for (int bit = 36; bit >= 0; bit--) {
		uint64_t y = x | UINT64_C(1) << bit;
		/* Compares y^power with prime << 32*power without more than 128 bits. */
		unsigned __int128 square = (unsigned __int128) y * y;
		unsigned __int128 limit = (unsigned __int128) prime << 64;

		if (power == 2 ? square <= limit : square <= (limit << 32) / y)
			x = y;
	}
	return (uint32_t) x;
}

static struct constants make_constants(void)
{
	struct constants c;
	unsigned n = 0;

	for (unsigned prime = 2; n < 64; prime++) {
		unsigned divisor = 2;

		while (divisor * divisor <= prime && prime % divisor)
			divisor++;
		if (divisor * divisor <= prime)
			continue;
		c.round[n] = root_fraction(prime, 3);
		if (n < 8)
			c.start[n] = root_fraction(prime, 2);
		n++;
	}
	return c;
}

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void schedule(const uint8_t block[64], uint32_t w[64])
{
	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16 |
			(uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
			(rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
}

static void compress(const struct constants *c, uint32_t state[8], const uint8_t block[64])
{
	uint32_t w[64], s[8];

	schedule(block, w);
	memcpy(s, state, sizeof s);
	for (unsigned i = 0; i < 64; i++) {
		uint32_t e = s[4], a = s[0];
		uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			((e & s[5]) ^ (~e & s[6])) + c->round[i] + w[i];
		uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		state[i] += s[i];
}

void sha256_hex(const uint8_t *data, size_t size, char ret[65])
{
	const struct constants c = make_constants();
	uint8_t tail[128] = {0};
	size_t whole = size / 64 * 64, rest = size - whole, tail_size = rest < 56 ? 64 : 128;
	uint32_t state[8];

	memcpy(state, c.start, sizeof state);
	for (size_t i = 0; i < whole; i += 64)
		compress(&c, state, data + i);
	if (rest)
		memcpy(tail, data + whole, rest);
	tail[rest] = 0x80;
	for (unsigned i = 0; i < 8; i++)
		tail[tail_size - 1 - i] = (uint8_t) ((uint64_t) size * 8 >> 8 * i);
	for (size_t i = 0; i < tail_size; i += 64)
		compress(&c, state, tail + i);
	for (unsigned i = 0; i < 8; i++)
		(void) snprintf(ret + 8 * i, 9, "%08x", state[i]);
}
