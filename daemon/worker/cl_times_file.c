/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times as a file (base/table_file.h) beside the compiled programs:
 *
 *	bitshed cl times 1
 *	VERSION, platform, device, driver and version, each in a line
 *	sources HASH
 *	OP ROWS WORDS GROUP_WORDS PLANES LEVEL BITS GROUPS PIXELS NSEC KERNEL
 *
 * The file's name is made of the first lines. What is older than a month is measured again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "base/table_file.h"
#include "worker/cl.h"
#include "worker/cl_times.h"

#define MONTH_SEC (30 * 24 * 3600)

struct key {
	char head[1024], path[512];
};

static int hash_sources(char ret[65])
{
	_cleanup_free_ char *all = NULL;
	size_t size;
	FILE *f = open_memstream(&all, &size);

	if (!f)
		return -ENOMEM;
	for (uint32_t i = 0; i < kernel_cl_count; i++)
		fputs(kernel_cl_table[i].source, f);
	if (fclose(f) != 0)
		return -ENOMEM;
	sha256_hex((const uint8_t *) all, size, ret);
	return 0;
}

static int key_init(struct key *key, const struct cl *cl, const char *folder)
{
	char hash[65];
	int r = hash_sources(hash);

	if (r < 0)
		return r;
	(void) snprintf(key->head, sizeof key->head,
		"bitshed cl times 1\n" BITSHED_VERSION "\n%s\n%s\n%s\n%s\nsources %.16s\n", cl->platform_name,
		cl->name, cl->driver, cl->version, hash);
	sha256_hex((const uint8_t *) key->head, strlen(key->head), hash);
	(void) snprintf(key->path, sizeof key->path, "%.400s/times-%.16s", folder, hash);
	return 0;
}

static bool read_row(void *userdata, char *line)
{
	struct cl_times *t = userdata;
	struct cl_shape s;
	char name[32];
	uint64_t nsec;
	uint32_t kernel;

	if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
			 " %" SCNu32 " %" SCNu32 " %" SCNu64 " %31s",
		    &s.op, &s.rows, &s.words, &s.group_words, &s.planes, &s.level, &s.bits, &s.groups,
		    &s.pixels, &nsec, name) != 11)
		return false;
	kernel = kernel_cl_find(name);
	if (kernel == KERNEL_CL_ANY || nsec == 0)
		return false;
	cl_times_set(t, &s, kernel, nsec);
	return true;
}

int cl_times_read(struct cl_times **ret, const struct cl *cl, const char *folder)
{
	struct cl_times *t = calloc(1, sizeof *t);
	struct key key;

	if (!t)
		return -ENOMEM;
	t->trial = KERNEL_CL_ANY;
	/* Nothing is believed of a file of which something is wrong. */
	if (folder && key_init(&key, cl, folder) >= 0 &&
		table_file_read(AT_FDCWD, key.path, key.head, MONTH_SEC, read_row, t, NULL) < 0)
		t->n = 0;
	*ret = t;
	return 0;
}

static int make_rows(const struct cl_times *t, char **ret)
{
	size_t size;
	FILE *f = open_memstream(ret, &size);

	if (!f)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct cl_shape *s = &t->rows[i].shape;

		fprintf(f, "%u %u %u %u %u %u %u %u %u %" PRIu64 " %s\n", s->op, s->rows, s->words,
			s->group_words, s->planes, s->level, s->bits, s->groups, s->pixels,
			t->rows[i].nsec, kernel_cl_table[t->rows[i].kernel].name);
	}
	return fclose(f) == 0 ? 0 : -ENOMEM;
}

int cl_times_write(const struct cl_times *t, const struct cl *cl, const char *folder)
{
	_cleanup_free_ char *rows = NULL;
	struct key key;
	int r = key_init(&key, cl, folder);

	if (r >= 0)
		r = make_rows(t, &rows);
	return r < 0 ? r : table_file_write(AT_FDCWD, key.path, key.head, rows, 0600);
}
