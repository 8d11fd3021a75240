/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table as a file (base/table_file.h) of the cache folder:
 *
 *	bitshed tune 1
 *	cpu AMD EPYC ... / avx2 avx512 ...
 *	build 0.1.0 HASH				version, and what kernels.inc says
 *	ROWS WORDS GROUP_WORDS PLANES LEVEL BITS COLUMNS GROUPS NSEC KERNEL
 *
 * The file's name is made of the first three lines, so machines that share a home folder and builds that
 * take turns have files of their own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "base/table_file.h"
#include "engine/kernels/cpu.h"
#include "engine/tune.h"

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

static bool read_row(void *userdata, char *line)
{
	struct tune *t = userdata;
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

int tune_read(struct tune **ret, int folder, struct error *reterr)
{
	_cleanup_(tune_freep) struct tune *t = tune_new();
	_cleanup_(key_done) struct key key = {};
	int r = t ? key_init(&key) : -ENOMEM;

	if (r < 0)
		return r;
	r = table_file_read(folder, key.name, key.head, 0, read_row, t, reterr);
	if (r < 0)
		return r == -ENOENT ? r : error_prefix(reterr, r, "%s", key.name);
	*ret = take_ptr(t);
	return 0;
}

static int make_rows(const struct tune *t, char **ret)
{
	size_t size;
	FILE *f = open_memstream(ret, &size);

	if (!f)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++) {
		const struct tune_shape *s = &t->rows[i].shape;

		fprintf(f, "%u %u %u %u %u %u %u %u %" PRIu64 " %s\n", s->rows, s->words, s->group_words,
			s->planes, s->level, s->bits, s->columns, s->groups, t->rows[i].nsec,
			t->rows[i].kernel->name);
	}
	return fclose(f) == 0 ? 0 : -ENOMEM;
}

/* Readable for the daemon, whoever measured. */
int tune_write(const struct tune *t, int folder, struct error *reterr)
{
	_cleanup_(key_done) struct key key = {};
	_cleanup_free_ char *rows = NULL;
	int r = key_init(&key);

	if (r >= 0)
		r = make_rows(t, &rows);
	if (r < 0)
		return r;
	r = table_file_write(folder, key.name, key.head, rows, 0644);
	return r < 0 ? error_prefix(reterr, r, "%s", key.name) : 0;
}
