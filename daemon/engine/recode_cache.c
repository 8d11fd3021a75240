/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A re-encoding as a file: head, scales, planes; a checksum over all behind the head. Only the
 * daemon writes there, but disks err and versions change: what does not fit is computed again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "base/sha256.h"
#include "engine/recode_parts.h"

/* Also part of the key: another version asks for another file. */
#define MAGIC "bitshed recoding 1"
#define CHUNK ((size_t) 1 << 20)

struct head {
	char magic[24], key[72];
	uint32_t planes, n_matrices;
	uint64_t n_numbers, plane_bytes;
	uint32_t crc, reserved;
};

static void put_hash(FILE *f, const void *data, size_t size)
{
	char hex[65];

	if (data)
		sha256_hex(data, size, hex);
	fprintf(f, " %s", data ? hex : "-");
}

static void put_matrix(FILE *f, const struct matrix *m)
{
	size_t groups = (size_t) m->rows * m->groups;

	fprintf(f, "%u %u %u %u %u %u %d %d %d %d %" PRIu64, m->rows, m->columns, m->row_bits, m->group_columns,
		m->planes, m->alpha_widths, m->fixed, m->depthwise, m->shared_levels, m->coding, m->plane_word);
	put_hash(f, m->alpha, groups * m->planes * sizeof(float));
	put_hash(f, m->offset, groups * sizeof(float));
	put_hash(f, m->alpha_at, groups * (m->alpha_widths * (m->alpha_widths + 1) / 2) * sizeof(float));
	put_hash(f, m->level, ((size_t) (m->shared_levels ? 1 : m->rows) << m->planes) * sizeof(float));
	fputc('\n', f);
}

int recode_key(char ret[RECODE_KEY_SIZE], const struct network *network, uint32_t planes, uint32_t owner)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	fprintf(f, MAGIC " %u %u\n", owner, planes);
	for (uint32_t p = 0; p < network->planes_max; p++)
		fprintf(f, "%" PRIu64 " %08x\n", network->plane_bytes[p], network->plane_crc[p]);
	for (uint32_t i = 0; i < network->n_matrices; i++)
		put_matrix(f, &network->matrices[i]);
	if (fclose(f) != 0)
		return -ENOMEM;
	sha256_hex((const uint8_t *) text, size, ret);
	return 0;
}

/* One part of the file: in memory, to be written or filled. */
struct part {
	void *data;
	size_t size;
};

#define PARTS_MAX (1 + BITS_PLANES_MAX)

static uint32_t parts_of(const struct recode *r, struct part parts[PARTS_MAX])
{
	uint32_t n = 0;

	parts[n++] = (struct part){r->numbers, r->n_numbers * sizeof *r->numbers};
	for (uint32_t p = 0; p < r->planes; p++)
		parts[n++] = (struct part){r->out[p], r->network->plane_bytes[p]};
	return n;
}

static void fill_head(struct head *h, const struct recode *r, const char *key)
{
	struct part parts[PARTS_MAX];
	uint32_t n = parts_of(r, parts);
	uLong crc = crc32(0, NULL, 0);

	*h = (struct head){
		.magic = MAGIC,
		.planes = r->planes,
		.n_matrices = r->network->n_matrices,
		.n_numbers = r->n_numbers,
	};
	(void) snprintf(h->key, sizeof h->key, "%s", key);
	for (uint32_t p = 0; p < r->planes; p++)
		h->plane_bytes += r->network->plane_bytes[p];
	for (uint32_t i = 0; i < n; i++)
		for (size_t at = 0; at < parts[i].size; at += CHUNK)
			crc = crc32(crc, (const Bytef *) parts[i].data + at,
				(uInt) MIN_OF(CHUNK, parts[i].size - at));
	h->crc = (uint32_t) crc;
}

static int write_all(int fd, const struct recode *r, const char *key)
{
	struct part parts[PARTS_MAX];
	uint32_t n = parts_of(r, parts);
	struct head h;
	int k;

	fill_head(&h, r, key);
	k = fd_write_all(fd, &h, sizeof h);
	for (uint32_t i = 0; k >= 0 && i < n; i++)
		k = fd_write_all(fd, parts[i].data, parts[i].size);
	return k;
}

int recode_save(const struct recode *r, int folder_fd, const char *key)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int k = replacement_begin(&file, folder_fd, key, 0600);

	if (k >= 0)
		k = write_all(file.fd, r, key);
	return k < 0 ? k : replacement_finish(&file);
}

static int read_all(int fd, struct recode *r, const char *key)
{
	struct part parts[PARTS_MAX];
	uint32_t n = parts_of(r, parts);
	uint64_t at = sizeof(struct head);
	struct head is, should;
	int k;

	k = fd_read_at(fd, &is, sizeof is, 0);
	for (uint32_t i = 0; k >= 0 && i < n; i++) {
		k = fd_read_at(fd, parts[i].data, parts[i].size, at);
		at += parts[i].size;
	}
	if (k < 0)
		return k == -ENODATA ? -EBADMSG : k;
	fill_head(&should, r, key);
	return memcmp(&is, &should, sizeof is) == 0 ? 0 : -EBADMSG;
}

static bool all_finite(const struct recode *r)
{
	for (size_t i = 0; i < r->n_numbers; i++)
		if (!isfinite(r->numbers[i]))
			return false;
	return true;
}

int recode_load(struct recode **ret, struct network *network, uint32_t planes, int folder_fd, const char *key)
{
	_cleanup_(recode_freep) struct recode *r = NULL;
	_cleanup_close_ int fd = openat(folder_fd, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int k;

	if (fd < 0)
		return -errno;
	k = recode_allocate(&r, network, planes);
	if (k >= 0)
		k = read_all(fd, r, key);
	if (k < 0)
		return k;
	if (!all_finite(r))
		return -EBADMSG;
	*ret = take_ptr(r);
	return 0;
}
