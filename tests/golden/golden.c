/* SPDX-License-Identifier: Apache-2.0 */
#include "golden/golden.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "convert/model_write.h"
#include "engine/gguf.h"
#include "support/network.h"

#define COLUMNS 70
#define ROWS 3
#define PLANES 2
#define FILE_MAX (1 << 16)

/*
 * A network that fits into four pages: 70 numbers, fully connected to 3, softmax. Everything is kept
 * here, so that a case may change any part of it.
 */
struct tiny {
	struct value values[3];
	struct op ops[3];
	struct matrix matrix;
	float alpha[ROWS * PLANES], bias[ROWS], level[1 << PLANES];
	uint64_t planes[PLANES][ROWS * 2];
	struct network network;
};

static void tiny_init(struct tiny *t)
{
	static char *labels[] = {"first", "second", "drei \xc3\xa4\xc3\xb6\xc3\xbc"};
	const struct op neutral = {.n_inputs = 1, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
		.dilation_h = 1, .dilation_w = 1, .groups = 1, .activation_bits = 8, .clamp_high = 255};
	uint64_t state = 1;

	*t = (struct tiny) {
		.values = {{ELEMENT_U8, {1, 1, COLUMNS}, 0.5f, 7}, {ELEMENT_F32, {1, 1, ROWS}, 1, 0},
			{ELEMENT_F32, {1, 1, ROWS}, 1, 0}},
		.ops = {neutral, neutral, neutral},
		.matrix = {.rows = ROWS, .columns = COLUMNS, .row_bits = 128, .group_columns = 128,
			.groups = 1, .planes = PLANES, .alpha = t->alpha, .bias = t->bias},
		.alpha = {1, 0.5f, 2, 1, 4, 2},
		.bias = {0, 1, -1},
		.level = {-1, 0, 0.5f, 3},
		.network = {.fd = -1, .name = "tiny", .method = "drawn", .values = t->values, .n_values = 3,
			.ops = t->ops, .n_ops = 3, .matrices = &t->matrix, .n_matrices = 1, .input = 0,
			.output = 2, .labels = labels, .n_labels = 3},
	};
	t->ops[0].kind = OP_INPUT;
	t->ops[0].n_inputs = 0;
	t->ops[1].kind = OP_CONVOLUTION;
	t->ops[1].output = 1;
	t->ops[2].kind = OP_SOFTMAX;
	t->ops[2].inputs[0] = 1;
	t->ops[2].output = 2;
	for (int p = 0; p < PLANES; p++)
		for (int r = 0; r < ROWS; r++) {
			t->planes[p][2 * r] = test_random(&state);
			t->planes[p][2 * r + 1] = test_random(&state) >> (128 - COLUMNS);
		}
}

/* A file in memory. */
struct bytes {
	uint8_t data[FILE_MAX];
	size_t size;
};

static uint8_t *at(struct bytes *b, const char *text)
{
	return memmem(b->data, b->size, text, strlen(text));
}

/* Puts one text of the same length for another. */
static void rename_in(struct bytes *b, const char *from, const char *to)
{
	memcpy(at(b, from), to, strlen(to));
}

/* The offset of the tensor @name: behind name, dimensions, type. */
static void set_offset(struct bytes *b, const char *name, uint64_t offset)
{
	memcpy(at(b, name) + strlen(name) + 4 + 8 + 4, &offset, 8);
}

static void no_magic(struct bytes *b) { b->data[0] = 'g'; }
static void old_version(struct bytes *b) { b->data[4] = 2; }
static void many_keys(struct bytes *b) { b->data[20] = 1; }
static void short_header(struct bytes *b) { b->size = 2048; }
static void short_plane(struct bytes *b) { b->size -= 4096; }
static void other_kind(struct bytes *b) { memcpy(at(b, "general.architecture") + 32, "llamas.", 7); }
static void twice(struct bytes *b) { rename_in(b, "bitshed.op.1.stride_w", "bitshed.op.1.stride_h"); }
static void missing(struct bytes *b) { rename_in(b, "bitshed.output", "general.output"); }
static void bad_key(struct bytes *b) { rename_in(b, "bitshed.data", "bitshed data"); }
static void unaligned(struct bytes *b) { set_offset(b, "planes.2", 8200); }
static void overlap(struct bytes *b) { set_offset(b, "planes.2", 4096); }
static void wrong_type(struct bytes *b) { at(b, "bitshed.values")[14] = GGUF_I32; }
static void wrong_bit(struct bytes *b) { b->data[b->size - 4096] ^= 4; }
static void bad_text(struct bytes *b) { rename_in(b, "second", "sec\nnd"); }

static void other_input(struct tiny *t) { t->network.input = 1; }
static void too_early(struct tiny *t) { t->ops[1].inputs[0] = 2; }
static void no_value(struct tiny *t) { t->ops[1].inputs[0] = 9; }
static void no_matrix(struct tiny *t) { t->ops[1].matrix = 1; }
static void wrong_shape(struct tiny *t) { t->values[2].shape.channels = 4; }
static void wrong_columns(struct tiny *t) { t->values[0].shape.channels = 71; }
static void huge(struct tiny *t) { t->values[0].shape.height = t->values[0].shape.width = 1U << 20; }
static void no_scale(struct tiny *t) { t->values[0].scale = 0; }
static void not_finite(struct tiny *t) { t->bias[1] = NAN; }
static void no_stride(struct tiny *t) { t->ops[1].stride_h = 0; }
static void few_bits(struct tiny *t) { t->ops[1].activation_bits = 2; }
static void integers_out(struct tiny *t) { t->network.output = 0; }
static void odd_groups(struct tiny *t) { t->matrix.group_columns = 65; }
static void many_widths(struct tiny *t) { t->matrix.alpha_widths = PLANES; }
static void depthwise(struct tiny *t) { t->matrix.depthwise = true; }

static void level(struct tiny *t)
{
	t->matrix.coding = CODING_LEVEL;
	t->matrix.shared_levels = true;
	t->matrix.alpha = NULL;
	t->matrix.level = t->level;
}

static void level_order(struct tiny *t)
{
	level(t);
	t->level[2] = -2;
}

/* @words: what must be said; NULL: the file is good. @drawn: not the tiny network, but one of every op */
struct golden {
	const char *name;
	void (*network)(struct tiny *);
	void (*file)(struct bytes *);
	const char *words;
	const struct test_network_options *drawn;
};

static const struct test_network_options drawn = {.planes = 3, .size = 4, .offsets = true};
static const struct test_network_options own_scales = {.planes = 3, .size = 4, .alpha_widths = 2};

/* clang-format off */
static const struct golden cases[] = {
	{"sum", NULL, NULL, NULL},
	{"level", level, NULL, NULL},
	{"drawn", NULL, NULL, NULL, &drawn},
	{"own-scales", NULL, NULL, NULL, &own_scales},
	{"magic", NULL, no_magic, "not a GGUF file"},
	{"version", NULL, old_version, "GGUF version 2, not 3"},
	{"keys", NULL, many_keys, "4294967372 keys are too many"},
	{"header-short", NULL, short_header, "the file ends inside its header"},
	{"plane-short", NULL, short_plane, "tensor 'planes.2' lies beyond the end of the file"},
	{"architecture", NULL, other_kind, "key 'general.architecture': 'llamas.', not 'bitshed'"},
	{"key-twice", NULL, twice, "key 'bitshed.op.1.stride_h' appears twice"},
	{"key-missing", NULL, missing, "key 'bitshed.output' is missing"},
	{"key-name", NULL, bad_key, "key 6: its name has characters other than letters, digits and ._-"},
	{"key-type", NULL, wrong_type, "key 'bitshed.values': expected u32, found i32"},
	{"label", NULL, bad_text, "key 'bitshed.labels': not printable UTF-8"},
	{"tensor-unaligned", NULL, unaligned, "tensor 'planes.2': offset 8200 is not aligned to 4096"},
	{"tensor-overlap", NULL, overlap, "tensors 'planes.1' and 'planes.2' overlap"},
	{"plane-changed", NULL, wrong_bit, "plane 2: the checksum is "},
	{"input-value", other_input, NULL, "op 0 (input): there is one input, and it writes value 1"},
	{"value-early", too_early, NULL, "op 1 (convolution): value 2 is used before it is written"},
	{"value-none", no_value, NULL, "op 1 (convolution): input 0: value 9 does not exist"},
	{"matrix-none", no_matrix, NULL, "op 1 (convolution): matrix 1 does not exist"},
	{"shape", wrong_shape, NULL, "op 2 (softmax): the output is 1x1x4, computed is 1x1x3"},
	{"columns", wrong_columns, NULL, "op 1 (convolution): matrix 0 is 3x70, not 3x71"},
	{"value-huge", huge, NULL, "value 0: 1048576x1048576x70 is too large"},
	{"scale", no_scale, NULL, "key 'bitshed.value.0.scale': 0 is not between 1e-20 and 1e+20"},
	{"not-finite", not_finite, NULL, "tensor 'scales': element 7 is not finite"},
	{"stride", no_stride, NULL, "key 'bitshed.op.1.stride_h': 0 is not between 1 and 65535"},
	{"activation-bits", few_bits, NULL, "op 1 (convolution): the input can exceed 2 bits"},
	{"output-u8", integers_out, NULL, "key 'bitshed.output': value 0 is not f32"},
	{"groups", odd_groups, NULL, "matrix 0: groups of 65 columns, not a multiple of 64"},
	{"alpha-widths", many_widths, NULL, "matrix 0: scales of 2 widths below 2 planes"},
	{"depthwise", depthwise, NULL, "op 1 (convolution): matrix 0 is depthwise"},
	{"levels", level_order, NULL, "matrix 0: levels do not ascend"},
};
/* clang-format on */

static int read_back(int fd, struct bytes *ret)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < 0 || size > FILE_MAX)
		return -1;
	ret->size = (size_t) size;
	return fd_read_at(fd, ret->data, ret->size, 0);
}

static int make_drawn(const struct test_network_options *options, struct bytes *ret)
{
	_cleanup_close_ int fd = test_network_memfd(options);

	return read_back(fd, ret);
}

static int make_file(const struct golden *c, struct bytes *ret)
{
	_cleanup_close_ int fd = memfd_create("golden", MFD_CLOEXEC);
	uint64_t *planes[PLANES], *const *all = planes;
	struct error e = {0};
	struct tiny t;

	if (c->drawn)
		return make_drawn(c->drawn, ret);
	tiny_init(&t);
	for (int p = 0; p < PLANES; p++)
		planes[p] = t.planes[p];
	if (c->network)
		c->network(&t);
	if (model_write_fd(fd, &t.network, &all, &e) < 0) {
		(void) fprintf(stderr, "%s: %s\n", c->name, e.text);
		return -1;
	}
	if (read_back(fd, ret) < 0)
		return -1;
	if (c->file)
		c->file(ret);
	return 0;
}

static int write_at(const char *folder, const char *kind, const char *name, const char *ending,
	const void *data, size_t size)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&path, "%s/%s", folder, kind) < 0)
		return -1;
	(void) mkdir(path, 0777);
	free(path);
	if (asprintf(&path, "%s/%s/%s.%s", folder, kind, name, ending) < 0)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || fd_write_all(fd, data, size) < 0) {
		perror(path);
		return -1;
	}
	return 0;
}

int golden_write(const char *folder)
{
	static struct bytes b;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *words = cases[i].words;
		const char *kind = words ? "refuse" : "accept";

		if (make_file(&cases[i], &b) < 0 ||
			write_at(folder, kind, cases[i].name, "gguf", b.data, b.size) < 0)
			return -1;
		if (words && write_at(folder, kind, cases[i].name, "txt", words, strlen(words)) < 0)
			return -1;
	}
	return 0;
}
