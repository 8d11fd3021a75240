/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times as a text file beside the compiled programs:
 *
 *	bitshed cl times 1
 *	VERSION, platform, device, driver and version, each in a line
 *	sources HASH
 *	OP ROWS WORDS GROUP_WORDS PLANES LEVEL BITS GROUPS PIXELS NSEC KERNEL
 *	...
 *	sha256 HEX				of all above
 *
 * The file's name is made of the first lines. What is older than a month is measured again.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "base/sha256.h"
#include "worker/cl.h"
#include "worker/cl_times.h"

#define FILE_BYTES_MAX ((size_t) 1 << 20)
#define LAST_BYTES (sizeof "sha256 \n" - 1 + 64)
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

static bool read_row(struct cl_times *t, const char *line)
{
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

static bool is_whole(const char *text, size_t size, const struct key *key)
{
	size_t head = strlen(key->head);
	char last[LAST_BYTES + 1], hex[65];

	if (size < head + LAST_BYTES || memcmp(text, key->head, head) != 0)
		return false;
	sha256_hex((const uint8_t *) text, size - LAST_BYTES, hex);
	(void) snprintf(last, sizeof last, "sha256 %s\n", hex);
	return memcmp(text + size - LAST_BYTES, last, LAST_BYTES) == 0;
}

/* Nothing is believed of a file of which something is wrong. */
static void parse(struct cl_times *t, char *text, size_t size, const struct key *key)
{
	char *line, *save = NULL;

	if (!is_whole(text, size, key))
		return;
	text[size - LAST_BYTES] = '\0';
	for (line = strtok_r(text + strlen(key->head), "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!read_row(t, line)) {
			t->n = 0;
			return;
		}
}

static void read_file(struct cl_times *t, const struct key *key)
{
	_cleanup_close_ int fd = open(key->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
		st.st_size > (off_t) FILE_BYTES_MAX || st.st_mtime + MONTH_SEC < time(NULL))
		return;
	text = malloc((size_t) st.st_size + 1);
	if (text && fd_read_at(fd, text, (size_t) st.st_size, 0) >= 0)
		parse(t, text, (size_t) st.st_size, key);
}

int cl_times_read(struct cl_times **ret, const struct cl *cl, const char *folder)
{
	struct cl_times *t = calloc(1, sizeof *t);
	struct key key;

	if (!t)
		return -ENOMEM;
	t->trial = KERNEL_CL_ANY;
	if (folder && key_init(&key, cl, folder) >= 0)
		read_file(t, &key);
	*ret = t;
	return 0;
}

static int make_text(const struct cl_times *t, const struct key *key, char **ret, size_t *ret_size)
{
	FILE *f = open_memstream(ret, ret_size);

	if (!f)
		return -ENOMEM;
	fputs(key->head, f);
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
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	_cleanup_free_ char *text = NULL;
	struct key key;
	char hex[65];
	size_t size;
	int r = key_init(&key, cl, folder);

	if (r >= 0)
		r = make_text(t, &key, &text, &size);
	if (r >= 0)
		r = replacement_begin(&file, AT_FDCWD, key.path, 0600);
	if (r < 0)
		return r;
	sha256_hex((const uint8_t *) text, size, hex);
	r = fd_write_all(file.fd, text, size);
	if (r >= 0)
		r = dprintf(file.fd, "sha256 %s\n", hex) < 0 ? -errno : replacement_finish(&file);
	return r;
}
