/* SPDX-License-Identifier: Apache-2.0 */
#include "support/network.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "convert/model_write.h"
#include "engine/model_fields.h"

#define CLASSES 10
#define VALUES 10
#define OPS 10
#define MATRICES 5

enum { VALUE_IN, VALUE_FIRST, VALUE_DEPTHWISE, VALUE_GROUPS, VALUE_ADD, VALUE_MAX, VALUE_LEVEL, VALUE_AVERAGE,
       VALUE_CLASSES, VALUE_OUT };

enum { MATRIX_FIRST, MATRIX_DEPTHWISE, MATRIX_GROUPS, MATRIX_LEVEL, MATRIX_CLASSES };

uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

static void *must(void *p)
{
	if (!p) {
		(void) fprintf(stderr, "test network: out of memory\n");
		abort();
	}
	return p;
}

/* From low to high, in 2^16 steps: the same on every machine. */
static float draw(uint64_t *state, float low, float high)
{
	return low + (high - low) * (float) (test_random(state) >> 48) / 65535.0f;
}

static void make_values(struct network *n, const struct test_network_options *o)
{
	uint32_t s = o->size, c = o->channels, half = s / 2;
	const struct value values[VALUES] = {
		[VALUE_IN] = {ELEMENT_U8, {s, s, 3}, 1.0f / 64, 128},
		[VALUE_FIRST] = {ELEMENT_U8, {s, s, c}, 1.0f / 32, 0},
		[VALUE_DEPTHWISE] = {ELEMENT_U8, {s, s, c}, 1.0f / 32, o->activation_bits < 8 ? 0 : 3},
		[VALUE_GROUPS] = {ELEMENT_U8, {s, s, c}, 1.0f / 32, 100},
		[VALUE_ADD] = {ELEMENT_U8, {s, s, c}, 1.0f / 16, 0},
		[VALUE_MAX] = {ELEMENT_U8, {half, half, c}, 1.0f / 16, 0},
		[VALUE_LEVEL] = {ELEMENT_U8, {half, half, 2 * c}, 1.0f / 32, 10},
		[VALUE_AVERAGE] = {ELEMENT_U8, {1, 1, 2 * c}, 1.0f / 64, 0},
		[VALUE_CLASSES] = {ELEMENT_F32, {1, 1, CLASSES}, 1, 0},
		[VALUE_OUT] = {ELEMENT_F32, {1, 1, CLASSES}, 1, 0},
	};

	n->values = must(malloc(sizeof values));
	memcpy(n->values, values, sizeof values);
	n->n_values = VALUES;
	n->input = VALUE_IN;
	n->output = VALUE_OUT;
}

static void make_tables(struct op *op, uint32_t count)
{
	op->table = must(malloc((size_t) count * 256));
	op->n_tables = count;
	for (uint32_t c = 0; c < count; c++)
		for (uint32_t p = 0; p < 256; p++)
			op->table[c][p] = (uint8_t) p;
}

static void make_ops(struct network *n, const struct test_network_options *o)
{
	const struct op neutral = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
		.dilation_h = 1, .dilation_w = 1, .groups = 1, .step = {1, 1, 1}, .activation_bits = 8,
		.clamp_high = 255, .n_inputs = 1};
	uint8_t narrow = (uint8_t) ((1 << o->activation_bits) - 1);
	uint32_t half = o->size / 2;

	n->ops = must(malloc(OPS * sizeof *n->ops));
	n->n_ops = OPS;
	for (uint32_t i = 0; i < OPS; i++) {
		n->ops[i] = neutral;
		n->ops[i].inputs[0] = i > 0 ? i - 1 : 0;
		n->ops[i].output = i;
	}
	n->ops[0].kind = OP_INPUT;
	n->ops[0].n_inputs = 0;
	make_tables(&n->ops[0], 3);
	for (uint32_t i = VALUE_FIRST; i <= VALUE_GROUPS; i++) {
		struct op *op = &n->ops[i];

		op->kind = i == VALUE_DEPTHWISE ? OP_DEPTHWISE : OP_CONVOLUTION;
		op->kernel_h = op->kernel_w = 3;
		op->pad_top = op->pad_left = op->pad_bottom = op->pad_right = 1;
		op->matrix = i - VALUE_FIRST;
	}
	n->ops[VALUE_DEPTHWISE].clamp_high = narrow;
	n->ops[VALUE_GROUPS].activation_bits = o->activation_bits;
	n->ops[VALUE_ADD].kind = OP_ADD;
	n->ops[VALUE_ADD].n_inputs = 2;
	n->ops[VALUE_ADD].inputs[0] = VALUE_FIRST;
	n->ops[VALUE_ADD].inputs[1] = VALUE_GROUPS;
	n->ops[VALUE_ADD].gain[0] = n->ops[VALUE_ADD].gain[1] = 0.5f;
	n->ops[VALUE_MAX].kind = OP_MAX_POOL;
	n->ops[VALUE_MAX].kernel_h = n->ops[VALUE_MAX].kernel_w = 2;
	n->ops[VALUE_MAX].stride_h = n->ops[VALUE_MAX].stride_w = 2;
	n->ops[VALUE_MAX].clamp_high = narrow;
	n->ops[VALUE_LEVEL].kind = OP_CONVOLUTION;
	n->ops[VALUE_LEVEL].matrix = MATRIX_LEVEL;
	n->ops[VALUE_LEVEL].activation_bits = o->activation_bits;
	n->ops[VALUE_AVERAGE].kind = OP_AVERAGE_POOL;
	n->ops[VALUE_AVERAGE].kernel_h = n->ops[VALUE_AVERAGE].kernel_w = half;
	n->ops[VALUE_AVERAGE].gain[0] = 2;
	n->ops[VALUE_CLASSES].kind = OP_CONVOLUTION;
	n->ops[VALUE_CLASSES].matrix = MATRIX_CLASSES;
	n->ops[VALUE_OUT].kind = OP_SOFTMAX;
}

static void make_matrices(struct network *n, const struct test_network_options *o)
{
	uint32_t c = o->channels;
	const struct matrix matrices[MATRICES] = {
		[MATRIX_FIRST] = {.rows = c, .columns = 27, .planes = 8, .fixed = true},
		[MATRIX_DEPTHWISE] = {.rows = c, .columns = 9, .planes = o->planes, .depthwise = true},
		[MATRIX_GROUPS] = {.rows = c, .columns = 9 * c, .planes = o->planes},
		[MATRIX_LEVEL] = {.rows = 2 * c, .columns = c, .planes = o->planes, .coding = CODING_LEVEL},
		[MATRIX_CLASSES] = {.rows = CLASSES, .columns = 2 * c, .planes = 8, .fixed = true},
	};

	n->matrices = must(malloc(sizeof matrices));
	memcpy(n->matrices, matrices, sizeof matrices);
	n->n_matrices = MATRICES;
	for (uint32_t i = 0; i < MATRICES; i++) {
		struct matrix *m = &n->matrices[i];

		m->group_columns = 128;
		m->groups = (m->columns + 127) / 128;
		m->alpha_widths = m->coding == CODING_SUM && !m->fixed ? o->alpha_widths : 0;
		m->row_bits = bits_row_bits(m->columns, m->depthwise);
	}
}

/* Planes halve in weight; a row's range grows with 1 / sqrt(columns), so that values stay in range. */
static void draw_part(const struct matrix *m, size_t part, float *to, uint64_t *state)
{
	uint64_t count = matrix_parts[part].count(m);
	uint32_t levels = UINT32_C(1) << m->planes;
	float range = 2.0f / (float) (m->columns < 16 ? 3 : m->columns < 64 ? 6 : 12);

	for (uint64_t i = 0; i < count; i++) {
		size_t offset = matrix_parts[part].offset;

		if (offset == offsetof(struct matrix, alpha))
			to[i] = draw(state, 0.4f, 0.6f) * range / (float) (1 << i % m->planes);
		else if (offset == offsetof(struct matrix, alpha_at))
			to[i] = draw(state, -0.1f, 0.6f) * range;
		else if (offset == offsetof(struct matrix, level))
			to[i] = range * (((float) (i % levels) + draw(state, 0, 1)) / (float) levels - 0.5f);
		else if (offset == offsetof(struct matrix, gain_at))
			to[i] = draw(state, 0.9f, 1.1f);
		else if (offset == offsetof(struct matrix, sensitivity))
			to[i] = draw(state, 0.5f, 1) / (float) (1 << i);
		else
			to[i] = draw(state, -0.1f, 0.1f) * range;
	}
}

static bool part_wanted(const struct matrix *m, const struct matrix_part *p,
	const struct test_network_options *o)
{
	if (!(p->codings & UINT32_C(1) << m->coding))
		return false;
	if (!p->key)
		return true;
	return p->offset == offsetof(struct matrix, offset) ? o->offsets : !o->plain && !m->fixed;
}

static void make_scales(struct network *n, const struct test_network_options *o, uint64_t *state)
{
	uint64_t total = 0;
	float *p;

	for (uint32_t i = 0; i < MATRICES; i++)
		for (size_t j = 0; j < MATRIX_PARTS; j++)
			total += matrix_parts[j].count(&n->matrices[i]);
	n->scales_bytes = total * sizeof *p;
	n->scales = p = must(malloc(n->scales_bytes));
	for (uint32_t i = 0; i < MATRICES; i++)
		for (size_t j = 0; j < MATRIX_PARTS; j++) {
			struct matrix *m = &n->matrices[i];

			if (!part_wanted(m, &matrix_parts[j], o))
				continue;
			draw_part(m, j, p, state);
			matrix_part_set(m, &matrix_parts[j], p);
			p += matrix_parts[j].count(m);
		}
}

static uint64_t *draw_plane(const struct matrix *m, uint64_t *state)
{
	uint64_t *plane = must(calloc(bits_plane_words(m->rows, m->row_bits), sizeof *plane));

	for (uint32_t r = 0; r < m->rows; r++)
		for (uint32_t t = 0; t < m->columns; t++)
			if (test_random(state) >> 63)
				bits_set(plane, (uint64_t) r * m->row_bits + t);
	return plane;
}

static void make_labels(struct network *n)
{
	static const char *const labels[CLASSES] = {"zero", "one", "two", "three", "four", "five", "six",
		"seven", "eight", "nine"};

	n->labels = must(malloc(sizeof labels));
	memcpy(n->labels, labels, sizeof labels);
	n->n_labels = CLASSES;
}

void test_network_make(struct test_network *ret, const struct test_network_options *options)
{
	struct test_network_options o = *options;
	uint64_t state = UINT64_C(0x9e3779b97f4a7c15) * (o.seed + 1);
	struct network *n = must(calloc(1, sizeof *n));

	o.planes = o.planes ?: 4;
	o.size = o.size ?: 8;
	o.channels = o.channels ?: 16;
	o.activation_bits = o.activation_bits ?: 8;
	atomic_init(&n->refs, 1);
	n->fd = -1;
	(void) snprintf(n->name, sizeof n->name, "drawn-%u", o.seed);
	(void) snprintf(n->method, sizeof n->method, "random");
	n->input_pixels = true;
	n->pixel_scale = 1.0f / 64;
	for (int c = 0; c < 3; c++) {
		n->pixel_mean[c] = 2;
		n->pixel_std[c] = 1;
	}
	make_values(n, &o);
	make_ops(n, &o);
	make_matrices(n, &o);
	make_scales(n, &o, &state);
	make_labels(n);
	ret->network = n;
	ret->planes = must(calloc(MATRICES, sizeof *ret->planes));
	for (uint32_t i = 0; i < MATRICES; i++) {
		ret->planes[i] = must(calloc(BITS_PLANES_MAX, sizeof **ret->planes));
		for (uint32_t p = 0; p < n->matrices[i].planes; p++)
			ret->planes[i][p] = draw_plane(&n->matrices[i], &state);
	}
}

void test_network_done(struct test_network *t)
{
	for (uint32_t i = 0; t->planes && i < MATRICES; i++) {
		for (uint32_t p = 0; p < BITS_PLANES_MAX; p++)
			free(t->planes[i][p]);
		free(t->planes[i]);
	}
	free(t->planes);
	t->planes = NULL;
	t->network = network_unref(t->network);
}

static void must_not_fail(int r, const struct error *e)
{
	if (r >= 0)
		return;
	(void) fprintf(stderr, "test network: %s\n", error_text(e, r));
	abort();
}

int test_network_memfd(const struct test_network_options *options)
{
	_cleanup_(test_network_done) struct test_network t = {0};
	struct error e = {0};
	int fd;

	test_network_make(&t, options);
	fd = memfd_create("test-network", MFD_CLOEXEC);
	must_not_fail(fd, NULL);
	must_not_fail(model_write_fd(fd, t.network, (uint64_t *const *const *) t.planes, &e), &e);
	return fd;
}

struct network *test_network_open(const struct test_network_options *options)
{
	_cleanup_close_ int fd = test_network_memfd(options);
	struct network *n = NULL;
	struct error e = {0};

	must_not_fail(network_open(&n, fd, &e), &e);
	return n;
}

uint64_t test_network_plane_bytes(const struct network *n, double bits)
{
	uint64_t shed = 0, fixed = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];

		if (m->fixed)
			fixed += (uint64_t) m->rows * m->columns * m->planes;
		else
			shed += (uint64_t) m->rows * m->columns;
	}
	return (uint64_t) ((double) shed * bits + (double) fixed) / 8;
}
