/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/pack/coder.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"

#define ZSTD_LEVEL 19
#define TABLES_BYTES 4096 /* what the two others say before their codes */

static const char *const names[_CODER_MAX] = {"zstd", "huffman", "arithmetic"};

const char *coder_name(enum coder c)
{
	return names[c];
}

int coder_find(const char *name)
{
	for (int i = 0; i < _CODER_MAX; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

size_t coder_bound(size_t n)
{
	return MAX_OF(ZSTD_compressBound(n), 2 * n + TABLES_BYTES);
}

static int zstd_pack(const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size)
{
	size_t size = ZSTD_compress(out, ZSTD_compressBound(n), in, n, ZSTD_LEVEL);

	if (ZSTD_isError(size))
		return -ENOMEM; /* there is room, and any bytes can be packed */
	*ret_size = size;
	return 0;
}

static int zstd_unpack(const uint8_t *in, size_t size, uint8_t *out, size_t n)
{
	size_t have = ZSTD_decompress(out, n, in, size);

	return ZSTD_isError(have) || have != n ? -EBADMSG : 0;
}

int coder_pack(enum coder c, const uint8_t *in, size_t n, uint8_t *out, size_t *ret_size)
{
	switch (c) {
	case CODER_ZSTD:
		return zstd_pack(in, n, out, ret_size);
	case CODER_HUFFMAN:
		return huffman_pack(in, n, out, ret_size);
	case CODER_ARITHMETIC:
		return arithmetic_pack(in, n, out, ret_size);
	case _CODER_MAX:
		break;
	}
	return -EINVAL;
}

int coder_unpack(enum coder c, const uint8_t *in, size_t size, uint8_t *out, size_t n)
{
	switch (c) {
	case CODER_ZSTD:
		return zstd_unpack(in, size, out, n);
	case CODER_HUFFMAN:
		return huffman_unpack(in, size, out, n);
	case CODER_ARITHMETIC:
		return arithmetic_unpack(in, size, out, n);
	case _CODER_MAX:
		break;
	}
	return -EINVAL;
}
