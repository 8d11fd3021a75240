/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without a fuzzing engine, so that every ordinary test run repeats what fuzzers have
 * found. Linked with one LLVMFuzzerTestOneInput().
 *
 *	replay [--mutations N] [--seed S] [--truncate STEP] PATH...
 *
 * Each file, and each file in each folder, is run as it is, cut at every STEP bytes, and N times with
 * drawn changes. What is drawn depends on S and the file's size only, so a failure can be repeated; the
 * input that is being run is written to the file that BITSHED_REPLAY_KEEP names, if it does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX ((size_t) 64 << 20)
#define CHANGES_MAX 8

static struct {
	unsigned long mutations, seed, truncate;
	unsigned long runs, files;
} replay;

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void run(const uint8_t *data, size_t size)
{
	const char *keep = getenv("BITSHED_REPLAY_KEEP");
	/* A copy of exactly this size lets a sanitizer see a read past its end. */
	_cleanup_free_ uint8_t *exact = malloc(size + (size == 0));

	if (!exact)
		abort();
	memcpy(exact, data, size);
	if (keep) {
		_cleanup_close_ int fd = open(keep, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

		(void) fd_write_all(fd, exact, size);
	}
	(void) LLVMFuzzerTestOneInput(exact, size);
	replay.runs++;
}

/* One change: a bit, a byte, an interesting number, a copy from elsewhere, a run of one byte. */
static void change(uint8_t *data, size_t size, uint64_t *state)
{
	static const uint64_t interesting[] = {0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff,
		UINT64_C(0x7fffffffffffffff), UINT64_MAX, 0x7f800000, 0x7fc00000};
	/* Formats say most of what matters near their front. */
	size_t reach = draw(state) % 4 != 0 && size > 8192 ? 8192 : size;
	size_t at = draw(state) % reach, from = draw(state) % size;
	size_t few = (size_t) 1 << draw(state) % 4, many = (size_t) 1 << draw(state) % 8;

	switch (draw(state) % 5) {
	case 0:
		data[at] ^= (uint8_t) (1 << draw(state) % 8);
		break;
	case 1:
		data[at] = (uint8_t) draw(state);
		break;
	case 2:
		memcpy(data + at, &interesting[draw(state) % ARRAY_SIZE(interesting)],
			MIN_OF(few, size - at));
		break;
	case 3:
		memmove(data + at, data + from, MIN_OF(many, size - MAX_OF(at, from)));
		break;
	case 4:
		memset(data + at, (int) draw(state) & 0xff, MIN_OF(many, size - at));
		break;
	}
}

static void mutate(const uint8_t *data, size_t size)
{
	uint64_t state = (replay.seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ size;
	_cleanup_free_ uint8_t *changed = malloc(size);

	if (!changed)
		abort();
	for (unsigned long i = 0; i < replay.mutations; i++) {
		unsigned int changes = 1 + (unsigned int) draw(&state) % CHANGES_MAX;
		size_t left = draw(&state) % 16 == 0 ? draw(&state) % size + 1 : size;

		memcpy(changed, data, size);
		while (changes-- > 0)
			change(changed, size, &state);
		run(changed, left);
	}
}

static int replay_file(int fd, size_t size)
{
	_cleanup_free_ uint8_t *data = NULL;
	int r;

	if (size > FILE_MAX)
		return -EFBIG;
	data = malloc(size + 1);
	if (!data)
		return -ENOMEM;
	r = fd_read_at(fd, data, size, 0);
	if (r < 0)
		return r;
	replay.files++;
	run(data, size);
	for (size_t n = 0; replay.truncate > 0 && n < size; n += replay.truncate)
		run(data, n);
	if (size > 0)
		mutate(data, size);
	return 0;
}

static int replay_path(const char *path);

static int replay_folder(const char *path)
{
	DIR *d = opendir(path);
	int r = 0;

	if (!d)
		return -errno;
	for (struct dirent *e = readdir(d); e && r >= 0; e = readdir(d)) {
		_cleanup_free_ char *file = NULL;

		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&file, "%s/%s", path, e->d_name) < 0)
			r = -ENOMEM;
		else
			r = replay_path(file);
	}
	(void) closedir(d);
	return r;
}

static int replay_path(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		r = -errno;
	else if (S_ISDIR(st.st_mode))
		return replay_folder(path);
	else
		r = replay_file(fd, (size_t) st.st_size);
	if (r < 0)
		(void) fprintf(stderr, "%s: %s\n", path, strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"mutations", required_argument, NULL, 'm'},
		{"seed", required_argument, NULL, 's'},
		{"truncate", required_argument, NULL, 't'},
		{0},
	};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
		switch (c) {
		case 'm':
			replay.mutations = strtoul(optarg, NULL, 0);
			break;
		case 's':
			replay.seed = strtoul(optarg, NULL, 0);
			break;
		case 't':
			replay.truncate = strtoul(optarg, NULL, 0);
			break;
		default:
			return 2;
		}
	for (int i = optind; i < argc; i++)
		if (replay_path(argv[i]) < 0)
			return 1;
	printf("%lu files, %lu runs\n", replay.files, replay.runs);
	return replay.runs == 0;
}
