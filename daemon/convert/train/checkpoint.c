/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "convert/file.h"

/**
 * struct head - in front of the blocks; @crc: of everything behind the head
 */
struct head {
	char magic[8];
	uint64_t key, bytes;
	uint32_t n_blocks, crc;
};

#define MAGIC "bitstrn1"

static struct head make_head(const struct train_store *s, uint64_t key)
{
	struct head h = {.magic = MAGIC, .key = key, .n_blocks = s->n_blocks};

	for (uint32_t i = 0; i < s->n_blocks; i++) {
		h.bytes += s->blocks[i].bytes;
		h.crc = (uint32_t) crc32_z(h.crc, s->blocks[i].data, s->blocks[i].bytes);
	}
	return h;
}

int checkpoint_save(const char *path, const struct train_store *s, uint64_t key, struct error *reterr)
{
	struct head h = make_head(s, key);
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int r = replacement_begin(&file, AT_FDCWD, path, 0666);

	if (r >= 0)
		r = fd_write_all(file.fd, &h, sizeof h);
	for (uint32_t i = 0; r >= 0 && i < s->n_blocks; i++)
		r = fd_write_all(file.fd, s->blocks[i].data, s->blocks[i].bytes);
	if (r >= 0)
		r = replacement_finish(&file);
	return r < 0 ? error_prefix(reterr, r, "%s", path) : 0;
}

static int check(const struct file_map *map, const struct train_store *s, uint64_t key, struct error *reterr)
{
	struct head h, want = make_head(s, key);

	if (map->size < sizeof h)
		return error_set(reterr, -EBADMSG, "too short for a checkpoint");
	memcpy(&h, map->data, sizeof h);
	if (memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
		return error_set(reterr, -EBADMSG, "not a checkpoint");
	if (h.key != key || h.n_blocks != want.n_blocks || h.bytes != want.bytes)
		return error_set(reterr, -ESTALE, "a checkpoint of another run; remove it to start anew");
	if (map->size != sizeof h + h.bytes ||
		crc32_z(0, map->data + sizeof h, map->size - sizeof h) != h.crc)
		return error_set(reterr, -EBADMSG, "a broken checkpoint; remove it to start anew");
	return 0;
}

int checkpoint_load(const char *path, struct train_store *s, uint64_t key, struct error *reterr)
{
	_cleanup_(file_unmap) struct file_map map = {};
	const uint8_t *from;
	int r;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = file_map(&map, path, reterr);
	if (r >= 0)
		r = check(&map, s, key, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	from = map.data + sizeof(struct head);
	for (uint32_t i = 0; i < s->n_blocks; i++) {
		memcpy(s->blocks[i].data, from, s->blocks[i].bytes);
		from += s->blocks[i].bytes;
	}
	return 1;
}
