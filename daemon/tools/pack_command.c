/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model pack, unpack: model files smaller on their way, the same again where they arrive. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/replacement.h"
#include "convert/file.h"
#include "convert/pack/pack.h"
#include "tools/tool.h"

static int pack_main(int argc, char **argv);
static int unpack_main(int argc, char **argv);

const struct command command_pack = {
	.name = "pack",
	.summary = "a model file smaller, for distribution",
	.run = pack_main,
	.help = "bitshed-model pack NET.gguf -o NET.packed [OPTIONS...]\n"
		"\n"
		"Codes the planes without loss. The daemon reads model files as they are: unpack first.\n"
		"\n"
		"  -o, --output FILE  the packed file to write\n"
		"  --coder NAME       zstd, huffman or arithmetic (zstd)\n"
		"  --compare          write nothing: sizes and speeds of all coders\n",
};

const struct command command_unpack = {
	.name = "unpack",
	.summary = "the model file from a packed one",
	.run = unpack_main,
	.help = "bitshed-model unpack NET.packed -o NET.gguf\n"
		"\n"
		"  -o, --output FILE  the model file to write\n",
};

static const struct option options[] = {
	{"output", required_argument, NULL, 'o'},
	{"coder", required_argument, NULL, 'c'},
	{"compare", no_argument, NULL, 'x'},
	{"help", no_argument, NULL, 'h'},
	{},
};

struct arguments {
	const char *input, *output;
	int coder;
	bool compare, help;
};

static int parse(struct arguments *a, const struct command *c, int argc, char **argv)
{
	bool packing = c == &command_pack;
	int option;

	while ((option = getopt_long(argc, argv, "o:h", options, NULL)) >= 0) {
		if (option == 'o')
			a->output = optarg;
		else if (option == 'c' && packing)
			a->coder = coder_find(optarg);
		else if (option == 'x' && packing)
			a->compare = true;
		else if (option == 'h')
			a->help = true;
		else
			return tool_usage(c, "unknown option or missing value");
		if (a->coder < 0)
			return tool_usage(c, "there is no coder '%s'", optarg);
	}
	if (a->help)
		return tool_help(c);
	if (optind + 1 != argc || !(a->output || a->compare))
		return tool_usage(c, "give one file, and the file to write with -o");
	a->input = argv[optind];
	return EXIT_SUCCESS;
}

static int write_whole(const char *path, const void *data, size_t size, struct error *reterr)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int r = replacement_begin(&file, AT_FDCWD, path, 0666);

	if (r >= 0)
		r = fd_write_all(file.fd, data, size);
	if (r >= 0)
		r = replacement_finish(&file);
	return r < 0 ? error_set(reterr, r, "%s: cannot write: %s", path, error_text(NULL, r)) : 0;
}

static uint64_t file_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint64_t) st.st_size;
}

static int compare_coder(const struct arguments *a, enum coder coder, struct error *reterr)
{
	_cleanup_free_ uint8_t *packed = NULL;
	_cleanup_close_ int fd = -1;
	uint64_t before = file_bytes(a->input), start;
	size_t size = 0;
	double seconds = 0;
	int r = pack_model(&packed, &size, a->input, coder, reterr), runs = 0;

	start = clock_now_nsec();
	for (; r >= 0 && seconds < 0.5; runs++) {
		if (fd >= 0)
			(void) close(fd);
		fd = -1;
		r = pack_unpack(&fd, packed, size, reterr);
		seconds = (double) (clock_now_nsec() - start) / (double) NSEC_PER_SEC;
	}
	if (r >= 0)
		printf("%-10s  %10zu  %5.1f %%  %10.1f\n", coder_name(coder), size, 100.0 * (double) size / (double) before,
			(double) before * runs / seconds / 1e6);
	return r;
}

static int compare(const struct arguments *a, struct error *reterr)
{
	int r = 0;

	printf("%-10s  %10s  %7s  %10s\n%-10s  %10llu  %5.1f %%\n", "coder", "bytes", "of it", "unpack MB/s", "plain",
		(unsigned long long) file_bytes(a->input), 100.0);
	for (int c = 0; r >= 0 && c < _CODER_MAX; c++)
		r = compare_coder(a, c, reterr);
	return r;
}

static int pack(const struct arguments *a, struct error *reterr)
{
	_cleanup_free_ uint8_t *packed = NULL;
	size_t size = 0;
	int r = pack_model(&packed, &size, a->input, a->coder, reterr);

	if (r >= 0)
		r = write_whole(a->output, packed, size, reterr);
	if (r >= 0)
		printf("%s: %zu bytes, %.1f %% of %s\n", a->output, size,
			100.0 * (double) size / (double) file_bytes(a->input), a->input);
	return r;
}

static int pack_main(int argc, char **argv)
{
	struct arguments a = {.coder = CODER_ZSTD};
	struct error error = {};
	int r = parse(&a, &command_pack, argc, argv);

	if (r != EXIT_SUCCESS || a.help)
		return r;
	r = a.compare ? compare(&a, &error) : pack(&a, &error);
	return r < 0 ? tool_fail(&command_pack, &error, r) : EXIT_SUCCESS;
}

static int unpack(const struct arguments *a, struct error *reterr)
{
	_cleanup_(file_unmap) struct file_map map = {}, model = {};
	_cleanup_close_ int fd = -1;
	char path[64];
	int r = file_map(&map, a->input, reterr);

	if (r >= 0)
		r = pack_unpack(&fd, map.data, map.size, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", a->input);
	(void) snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = file_map(&model, path, reterr);
	return r < 0 ? r : write_whole(a->output, model.data, model.size, reterr);
}

static int unpack_main(int argc, char **argv)
{
	struct arguments a = {.coder = CODER_ZSTD};
	struct error error = {};
	int r = parse(&a, &command_unpack, argc, argv);

	if (r != EXIT_SUCCESS || a.help)
		return r;
	r = unpack(&a, &error);
	return r < 0 ? tool_fail(&command_unpack, &error, r) : EXIT_SUCCESS;
}
