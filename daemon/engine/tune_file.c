/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table as a text file of the cache folder:
 *
 *	bitshed tune 1
 *	cpu AMD EPYC ... / avx2 avx512 ...
 *	build 0.1.0 HASH				version, and what kernels.inc says
 *	ROWS WORDS GROUP_WORDS PLANES LEVEL BITS COLUMNS GROUPS NSEC KERNEL
 *	...
 *	sha256 HEX				of all above
 *
 * The file's name is made of the first three lines, so machines that share a home folder and builds that
 * take turns have files of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/replacement.h"
#include "base/sha256.h"
#include "engine/kernels/cpu.h"
#include "engine/tune.h"

#define FILE_BYTES_MAX ((size_t) 1 << 20)
#define LAST_BYTES (sizeof "sha256 \n" - 1 + 64)
#define NAME_BYTES 32
#define CPU_BYTES 256

struct key {
	char *head;
	char name[NAME_BYTES];
};

static void key_done(struct key *key)
{
	free(key->head);
}

/* What tells processors apart in /proc/cpuinfo; each value once, of whichever core comes first. */
static void add_cpu_line(char *names, char *line)
{
	char *value = strchr(line, ':');
	size_t at = strlen(names);

	if (!value || (strncmp(line, "model name", 10) != 0 && strncmp(line, "CPU implementer", 15) != 0 &&
			      strncmp(line, "CPU part", 8) != 0))
		return;
	value += strspn(value, ": \t");
	value[strcspn(value, "\n")] = '\0';
	if (*value && !strstr(names, value))
		(void) snprintf(names + at, CPU_BYTES - at, "%s%s", at ? " " : "", value);
}

static void cpu_name(char names[CPU_BYTES])
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[CPU_BYTES];

	names[0] = '\0';
	if (!f)
		return;
	while (fgets(line, sizeof line, f))
		add_cpu_line(names, line);
	(void) fclose(f);
}

static int hash_kernels(char ret[65])
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		fprintf(f, "%s %u %u %u %u\n", k->name, k->needs, k->columns_per_tile, k->cost,
			k->cost_per_plane);
	}
	if (fclose(f) != 0)
		return -ENOMEM;
	sha256_hex((const uint8_t *) text, size, ret);
	return 0;
}

static int key_init(struct key *key)
{
	char names[CPU_BYTES], flags[CPU_BYTES], hash[65];
	int r = hash_kernels(hash);

	if (r < 0)
		return r;
	cpu_name(names);
	if (asprintf(&key->head, "bitshed tune 1\ncpu %s / %s\nbuild " BITSHED_VERSION " %.16s\n", names,
		    cpu_flags_text(cpu_flags(), flags, sizeof flags), hash) < 0) {
		key->head = NULL;
		return -ENOMEM;
	}
	sha256_hex((const uint8_t *) key->head, strlen(key->head), hash);
	(void) snprintf(key->name, sizeof key->name, "tune-%.16s", hash);
	return 0;
}

static bool read_count(char **at, uint64_t most, uint64_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret = strtoull(*at, &end, 10);
	if (errno != 0 || *ret > most || *end != ' ')
		return false;
	*at = end + 1;
	return true;
}

static const struct kernel *find_kernel(const char *name)
{
	for (uint32_t i = 0; i < kernel_count; i++)
		if (strcmp(kernel_table[i].name, name) == 0)
			return &kernel_table[i];
	return NULL;
}

static bool read_row(struct tune *t, char *line)
{
	struct tune_shape s;
	uint32_t *const fields[] = {&s.rows, &s.words, &s.group_words, &s.planes, &s.level, &s.bits,
		&s.columns, &s.groups};
	const struct kernel *k;
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!read_count(&line, UINT32_MAX, &value))
			return false;
		*fields[i] = (uint32_t) value;
	}
	if (!read_count(&line, UINT64_MAX, &value))
		return false;
	k = find_kernel(line);
	return k && tune_set(t, &s, k, value) >= 0;
}

static bool checksum_is_right(const char *text, size_t size)
{
	char last[LAST_BYTES + 1], hex[65];

	sha256_hex((const uint8_t *) text, size - LAST_BYTES, hex);
	(void) snprintf(last, sizeof last, "sha256 %s\n", hex);
	return memcmp(text + size - LAST_BYTES, last, LAST_BYTES) == 0;
}

static int parse(struct tune *t, const struct key *key, char *text, size_t size, struct error *reterr)
{
	size_t head = strlen(key->head);
	char *line, *save = NULL;
	uint32_t number = 3;

	if (size < head + LAST_BYTES || memcmp(text, key->head, head) != 0)
		return error_set(reterr, -EBADMSG, "it is not of this processor and build");
	if (!checksum_is_right(text, size))
		return error_set(reterr, -EBADMSG, "its checksum is wrong");
	text[size - LAST_BYTES] = '\0';
	for (line = strtok_r(text + head, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		number++;
		if (!read_row(t, line))
			return error_set(reterr, -EBADMSG, "line %u is no measurement", number);
	}
	return 0;
}

/* A FIFO must not make us wait, nor a link lead elsewhere. */
static int read_text(
	int folder, const char *name, char **ret, size_t *ret_size, struct error *reterr)
{
	_cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > (off_t) FILE_BYTES_MAX)
		return error_set(reterr, -EBADMSG, "it is no file of a table");
	text = malloc((size_t) st.st_size + 1);
	if (!text)
		return -ENOMEM;
	r = fd_read_at(fd, text, (size_t) st.st_size, 0);
	if (r < 0)
		return r;
	*ret_size = (size_t) st.st_size;
	text[*ret_size] = '\0';
	*ret = take_ptr(text);
	return 0;
}

int tune_read(struct tune **ret, int folder, struct error *reterr)
{
	_cleanup_(tune_freep) struct tune *t = tune_new();
	_cleanup_(key_done) struct key key = {};
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int r = t ? key_init(&key) : -ENOMEM;

	if (r < 0)
		return r;
	r = read_text(folder, key.name, &text, &size, reterr);
	if (r >= 0)
		r = parse(t, &key, text, size, reterr);
	if (r < 0)
		return r == -ENOENT ? r : error_prefix(reterr, r, "%s", key.name);
	*ret = take_ptr(t);
	return 0;
}

static int make_text(const struct tune *t, const struct key *key, char **ret)
{
	_cleanup_free_ char *text = NULL;
	char hex[65];
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	fputs(key->head, f);
	for (uint32_t i = 0; i < t->n; i++) {
		const struct tune_shape *s = &t->rows[i].shape;

		fprintf(f, "%u %u %u %u %u %u %u %u %" PRIu64 " %s\n", s->rows, s->words, s->group_words,
			s->planes, s->level, s->bits, s->columns, s->groups, t->rows[i].nsec,
			t->rows[i].kernel->name);
	}
	if (fclose(f) != 0)
		return -ENOMEM;
	sha256_hex((const uint8_t *) text, size, hex);
	return asprintf(ret, "%ssha256 %s\n", text, hex) < 0 ? -ENOMEM : 0;
}

int tune_write(const struct tune *t, int folder, struct error *reterr)
{
	_cleanup_(key_done) struct key key = {};
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	_cleanup_free_ char *text = NULL;
	int r = key_init(&key);

	if (r >= 0)
		r = make_text(t, &key, &text);
	if (r < 0)
		return r;
	r = replacement_begin(&file, folder, key.name, 0644);
	/* Readable for the daemon, whoever measured. */
	if (r >= 0 && fchmod(file.fd, 0644) < 0)
		r = -errno;
	if (r >= 0)
		r = fd_write_all(file.fd, text, strlen(text));
	if (r >= 0)
		r = replacement_finish(&file);
	return r < 0 ? error_prefix(reterr, r, "%s", key.name) : 0;
}
