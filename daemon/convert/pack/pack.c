/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/pack/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/memfd.h"
#include "convert/file.h"

#define HEAD_BYTES 24

static const char magic[8] = "BSHPACK1";

bool pack_is_packed(const uint8_t *data, size_t size)
{
	return size >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
}

/* Where plane @p of matrix @i begins in the file. */
static uint64_t plane_at(const struct network *n, const struct matrix *m, uint32_t p)
{
	if (m->fixed)
		return n->fixed_offset + (m->plane_word + p * bits_plane_words(m->rows, m->row_bits)) * 8;
	return n->plane_offset[p] + m->plane_word * 8;
}

static void read_codes(uint8_t *codes, const uint8_t *file, const struct network *n, const struct matrix *m)
{
	memset(codes, 0, (size_t) m->rows * m->columns);
	for (uint32_t p = 0; p < m->planes; p++) {
		const uint64_t *plane = (const uint64_t *) (const void *) (file + plane_at(n, m, p));
		uint8_t *to = codes;

		for (uint32_t r = 0; r < m->rows; r++)
			for (uint32_t c = 0; c < m->columns; c++, to++)
				*to = (uint8_t) (*to << 1 | bits_get(plane, (uint64_t) r * m->row_bits + c));
	}
}

/* Return: -EBADMSG for codes beyond the planes */
static int write_codes(uint8_t *file, const uint8_t *codes, const struct network *n, const struct matrix *m)
{
	for (size_t i = 0; i < (size_t) m->rows * m->columns; i++)
		if (codes[i] >> m->planes)
			return -EBADMSG;
	for (uint32_t p = 0; p < m->planes; p++) {
		uint64_t *plane = (uint64_t *) (void *) (file + plane_at(n, m, p));
		const uint8_t *from = codes;

		for (uint32_t r = 0; r < m->rows; r++)
			for (uint32_t c = 0; c < m->columns; c++, from++)
				if (*from >> (m->planes - 1 - p) & 1)
					bits_set(plane, (uint64_t) r * m->row_bits + c);
	}
	return 0;
}

/**
 * struct packer - @out grows; @codes, @packed: room for the largest matrix or the rest
 */
struct packer {
	uint8_t *out, *packed, *codes;
	size_t size;
};

static void packer_done(struct packer *p)
{
	free(p->out);
	free(p->packed);
	free(p->codes);
}

static void put_number(struct packer *p, uint64_t v, size_t bytes)
{
	memcpy(p->out + p->size, &v, bytes);
	p->size += bytes;
}

static int put(struct packer *p, enum coder coder, const uint8_t *in, size_t n)
{
	size_t packed = 0;
	uint8_t *out;
	int r = coder_pack(coder, in, n, p->packed, &packed);

	if (r < 0)
		return r;
	out = realloc(p->out, p->size + packed + 8);
	if (!out)
		return -ENOMEM;
	p->out = out;
	put_number(p, packed, 8);
	memcpy(p->out + p->size, p->packed, packed);
	p->size += packed;
	return 0;
}

/* The file without its planes; it is what the codes leave. */
static void clear_planes(uint8_t *file, const struct network *n)
{
	memset(file + n->fixed_offset, 0, n->fixed_bytes);
	for (uint32_t p = 0; p < n->planes_max; p++)
		memset(file + n->plane_offset[p], 0, n->plane_bytes[p]);
}

static size_t largest_matrix(const struct network *n)
{
	size_t most = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		most = MAX_OF(most, (size_t) n->matrices[i].rows * n->matrices[i].columns);
	return most;
}

static int pack_parts(struct packer *p, const struct file_map *map, const struct network *n, enum coder coder,
	struct error *reterr)
{
	size_t most = MAX_OF(largest_matrix(n), map->size);
	_cleanup_free_ uint8_t *rest = malloc(map->size);
	int r;

	p->out = malloc(HEAD_BYTES);
	p->packed = malloc(coder_bound(most));
	p->codes = malloc(most);
	if (!rest || !p->out || !p->packed || !p->codes)
		return -ENOMEM;
	memcpy(p->out, magic, sizeof magic);
	p->size = sizeof magic;
	put_number(p, coder, 4);
	put_number(p, crc32(crc32(0, NULL, 0), map->data, (uInt) map->size), 4);
	put_number(p, map->size, 8);
	memcpy(rest, map->data, map->size);
	clear_planes(rest, n);
	r = put(p, CODER_ZSTD, rest, map->size);
	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];

		read_codes(p->codes, map->data, n, m);
		r = put(p, coder, p->codes, (size_t) m->rows * m->columns);
	}
	return r;
}

int pack_model(uint8_t **ret, size_t *ret_size, const char *path, enum coder coder, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(file_unmap) struct file_map map = {};
	_cleanup_(packer_done) struct packer p = {};
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : network_open(&n, fd, reterr);

	if (r >= 0)
		r = file_map(&map, path, reterr);
	if (r >= 0 && map.size > PACK_BYTES_MAX)
		r = error_set(reterr, -EFBIG, "larger than 2 GiB");
	if (r >= 0)
		r = pack_parts(&p, &map, n, coder, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	*ret = take_ptr(p.out);
	*ret_size = p.size;
	return 0;
}

/**
 * struct reader - what is left of the packed file
 */
struct reader {
	const uint8_t *data;
	size_t size;
};

/* Return: the next part, or NULL when there is none */
static const uint8_t *next_part(struct reader *r, size_t *ret_size)
{
	const uint8_t *part;
	uint64_t size;

	if (r->size < 8)
		return NULL;
	size = bytes_u64(r->data);
	if (size > r->size - 8)
		return NULL;
	part = r->data + 8;
	r->data += 8 + size;
	r->size -= 8 + size;
	*ret_size = size;
	return part;
}

static int unpack_matrices(struct reader *in, uint8_t *file, const struct network *n, enum coder coder,
	struct error *reterr)
{
	size_t most = largest_matrix(n);
	_cleanup_free_ uint8_t *codes = most <= PACK_BYTES_MAX ? malloc(most + 1) : NULL;
	int r = codes ? 0 : -ENOMEM;

	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];
		size_t size = 0;
		const uint8_t *part = next_part(in, &size);

		r = part ? coder_unpack(coder, part, size, codes, (size_t) m->rows * m->columns) : -EBADMSG;
		if (r >= 0)
			r = write_codes(file, codes, n, m);
		if (r == -EBADMSG)
			return error_set(reterr, r, "the codes of matrix %u are broken", i);
	}
	return r;
}

static int unpack_into(int fd, uint8_t *file, size_t file_size, const uint8_t *data, size_t size,
	struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct reader in = {data + HEAD_BYTES, size - HEAD_BYTES};
	size_t part_size = 0;
	const uint8_t *part = next_part(&in, &part_size);
	int r = part ? coder_unpack(CODER_ZSTD, part, part_size, file, file_size) : -EBADMSG;

	if (r < 0)
		return error_set(reterr, r, "the head is broken");
	r = network_open(&n, fd, reterr);
	if (r >= 0)
		r = unpack_matrices(&in, file, n, bytes_u32(data + 8), reterr);
	if (r < 0)
		return r;
	if (in.size > 0 || crc32(crc32(0, NULL, 0), file, (uInt) file_size) != bytes_u32(data + 12))
		return error_set(reterr, -EBADMSG, "what comes out has another checksum");
	return 0;
}

int pack_unpack(int *ret_fd, const uint8_t *data, size_t size, struct error *reterr)
{
	_cleanup_close_ int fd = -1;
	uint64_t file_size;
	uint8_t *file;
	int r;

	if (size < HEAD_BYTES || !pack_is_packed(data, size))
		return error_set(reterr, -EBADMSG, "no packed model file");
	file_size = bytes_u64(data + 16);
	if (bytes_u32(data + 8) >= _CODER_MAX)
		return error_set(reterr, -ENOTSUP, "coder %u is not known", bytes_u32(data + 8));
	if (file_size == 0 || file_size > PACK_BYTES_MAX)
		return error_set(reterr, -EFBIG, "a model file of %lu bytes", file_size);
	r = memfd_new_sparse(&fd, "model", file_size);
	if (r < 0)
		return r;
	file = mmap(NULL, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return -errno;
	r = unpack_into(fd, file, file_size, data, size, reterr);
	(void) munmap(file, file_size);
	if (r < 0)
		return r;
	*ret_fd = take_fd(&fd);
	return 0;
}
