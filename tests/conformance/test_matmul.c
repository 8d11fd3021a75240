/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every matrix product of the list against the scalar row of its op, ==, and the scalar rows against
 * kernel_weight(). A new row of kernels.inc needs no line here.
 */
#include <string.h>

#include "arena.h"
#include "base/cleanup.h"
#include "engine/kernels/kernel.h"
#include "support/test.h"

#define COLUMNS_MAX 2200
#define ROWS_MAX 70
#define COUNT_MAX 300
#define ARENA_BYTES (4u << 20)

static struct arena arena_plane[BITS_PLANES_MAX], arena_step, arena_base, arena_level, arena_x,
	arena_bits, arena_acc, arena_scratch, arena_gain, arena_bias, arena_out, arena_image;
static int32_t expected[COUNT_MAX * ROWS_MAX];
static char what[200];

/**
 * struct shape_case - one product to try
 * @group_words: 0: one group for the row
 * @activation_planes: of MATMUL_BITS, 1..4
 * @limit: weights at +127 or -127 throughout
 */
struct shape_case {
	uint32_t rows, columns, count, planes, group_words, activation_planes, pad;
	bool level, limit, at_end;
	enum fill fill_w, fill_x;
};

static void make_planes(struct kernel_matrix *w, const struct shape_case *c)
{
	size_t words = (size_t) w->rows * w->words;
	uint64_t last = c->columns % 64 ? (UINT64_C(1) << c->columns % 64) - 1 : UINT64_MAX;

	for (uint32_t i = 0; i < w->planes; i++) {
		uint64_t *p = arena_buffer(&arena_plane[i], words * 8, 8, c->at_end);

		for (size_t k = 0; k < words; k++) {
			p[k] = c->fill_w == FILL_ZEROS  ? 0 :
			       c->fill_w == FILL_ONES   ? UINT64_MAX :
			       c->fill_w == FILL_LAST   ? (uint64_t) (k + 1 == words) << (c->columns - 1) % 64 :
							  random_u64();
			if (k % w->words == w->words - 1)
				p[k] &= last;
		}
		w->plane[i] = p;
	}
}

/* All weights from -127 to 127; at the limit those with all bits set or all bits clear lie at an end. */
static void make_sum(struct kernel_matrix *w, const struct shape_case *c)
{
	size_t groups = (size_t) w->rows * w->groups;
	int16_t *step = arena_buffer(&arena_step, groups * w->planes * sizeof *step, sizeof *step, c->at_end);
	int8_t *base = arena_buffer(&arena_base, groups, 1, c->at_end);

	for (size_t g = 0; g < groups; g++) {
		int32_t left = 254, low;

		for (uint32_t i = 0; i < w->planes; i++) {
			int32_t a = (int32_t) random_below((uint32_t) left + 1);

			if (c->limit)
				a = i + 1 == w->planes ? left : (left + 1) / 2;
			left -= a;
			step[g * w->planes + i] = (int16_t) a;
		}
		low = (int32_t) random_below((uint32_t) left + 1) - 127;
		for (uint32_t i = 0; !c->limit && i < w->planes; i++)
			if (random_below(2)) {
				low += step[g * w->planes + i];
				step[g * w->planes + i] = (int16_t) -step[g * w->planes + i];
			}
		base[g] = (int8_t) low;
	}
	w->step = step;
	w->base = base;
}

/* What int8 weights have, but for one level now and then. */
static void make_plain(int8_t *level, size_t n)
{
	for (size_t i = 0; i < n; i++)
		level[i] = (int8_t) (i % 256 == 0 ? -127 : (int32_t) (i % 256) - 128);
	if (random_below(2))
		level[random_below((uint32_t) n)] = 5;
}

static void make_level(struct kernel_matrix *w, const struct shape_case *c)
{
	uint32_t tables = random_below(2) ? 1 : w->rows;
	size_t n = (size_t) tables << w->planes;
	int8_t *level = arena_buffer(&arena_level, n, 1, c->at_end);

	w->level_stride = tables == 1 ? 0 : 1u << w->planes;
	for (size_t i = 0; i < n; i++)
		level[i] = (int8_t) (c->limit ? (c->fill_w == FILL_ZEROS ? -127 : 127) :
						(int32_t) random_below(255) - 127);
	if (w->planes == 8 && random_below(2))
		make_plain(level, n);
	w->level = level;
}

static void make_matrix(struct kernel_matrix *w, const struct shape_case *c)
{
	*w = (struct kernel_matrix) {.rows = c->rows, .words = bits_words(c->columns), .planes = c->planes};
	w->group_words = c->group_words ? c->group_words : w->words;
	if (w->group_words > w->words)
		w->group_words = w->words;
	w->groups = (w->words + w->group_words - 1) / w->group_words;
	make_planes(w, c);
	if (c->level)
		make_level(w, c);
	else
		make_sum(w, c);
}

static void make_columns(struct kernel_columns *x, const struct kernel_matrix *w,
	const struct shape_case *c, bool bits)
{
	size_t stride = (size_t) w->words * 64;
	uint8_t max = bits ? (uint8_t) ((1u << c->activation_planes) - 1) : 255;
	uint8_t *u8 = arena_buffer(&arena_x, c->count * stride, 64, c->at_end);
	uint64_t *packed;

	memset(u8, 0, c->count * stride);
	for (uint32_t n = 0; n < c->count; n++)
		fill_bytes(u8 + n * stride, c->columns, c->fill_x, max);
	*x = (struct kernel_columns) {.count = c->count, .u8 = u8, .values = c->count % 2 ? c->columns : 0};
	if (!bits)
		return;
	packed = arena_buffer(&arena_bits, (size_t) c->count * c->activation_planes * w->words * 8, 8, c->at_end);
	memset(packed, 0, (size_t) c->count * c->activation_planes * w->words * 8);
	for (uint32_t n = 0; n < c->count; n++)
		for (uint32_t m = 0; m < c->activation_planes; m++)
			for (uint32_t t = 0; t < c->columns; t++)
				if (u8[n * stride + t] >> m & 1)
					bits_set(packed + ((size_t) n * c->activation_planes + m) * w->words, t);
	x->bits = packed;
	x->planes = c->activation_planes;
}

static bool run_one(const struct kernel *k, const struct kernel_matrix *w,
	const struct kernel_columns *x, const struct shape_case *c, int32_t *ret)
{
	uint32_t stride = c->rows + c->pad;
	size_t bytes = (size_t) c->count * stride * 4;
	int32_t *acc = arena_buffer(&arena_acc, bytes, 64, c->at_end);
	size_t scratch_bytes = k->scratch ? k->scratch(w, c->count) : 0;
	void *scratch = arena_buffer(&arena_scratch, scratch_bytes, 64, c->at_end);
	bool good = true;

	if (scratch_bytes > KERNEL_SCRATCH_BYTES)
		return false;
	memset(acc, ARENA_CANARY, bytes);
	memset(scratch, 0xff, scratch_bytes);
	k->matmul(w, x, acc, stride, scratch);
	for (uint32_t n = 0; n < c->count; n++) {
		memcpy(ret + (size_t) n * c->rows, acc + (size_t) n * stride, c->rows * 4);
		for (uint32_t i = c->rows; i < stride; i++)
			good = good && (uint32_t) acc[(size_t) n * stride + i] == 0xa5a5a5a5u;
	}
	return good && arena_intact(&arena_acc, acc, bytes);
}

static void describe(const struct kernel *k, const struct shape_case *c, const char *why)
{
	snprintf(what, sizeof what,
		"%s: %s: rows %u columns %u count %u planes %u group %u activations %u pad %u%s%s%s fills %d %d",
		k->name, why, c->rows, c->columns, c->count, c->planes, c->group_words, c->activation_planes,
		c->pad, c->level ? " level" : " sum", c->limit ? " limit" : "", c->at_end ? " end" : " begin",
		c->fill_w, c->fill_x);
	printf("%s\n", what);
}

/* The scalar row of the op judges; it stands last. */
static const struct kernel *scalar_of(enum kernel_op op)
{
	return kernel_pick(op, 0, NULL, 0);
}

static float *draw_floats(struct arena *a, const struct shape_case *c, float range)
{
	float *f = arena_buffer(a, c->rows * sizeof *f, sizeof *f, c->at_end);

	for (uint32_t r = 0; r < c->rows; r++)
		f[r] = ((float) random_below(2001) / 1000.0f - 1.0f) * range;
	return f;
}

/* The same sums, requantized by the kernel, against requantize_fn's scalar row. */
static bool check_output(const struct kernel *k, const struct kernel_matrix *w, const struct kernel_columns *x,
	const struct shape_case *c)
{
	static uint8_t row[ROWS_MAX];
	size_t stride = c->rows + c->pad, bytes = (size_t) (c->count - 1) * stride + c->rows;
	size_t scratch_bytes = k->scratch ? k->scratch(w, c->count) : 0;
	struct kernel_output o = {draw_floats(&arena_gain, c, 0.01f), draw_floats(&arena_bias, c, 200.0f),
		(int32_t) random_below(256), (uint8_t) random_below(100), (uint8_t) (100 + random_below(156)),
		arena_buffer(&arena_out, bytes, 1, c->at_end), stride};
	int32_t *acc = arena_buffer(&arena_acc, (size_t) c->count * c->rows * sizeof *acc, 64, c->at_end);
	bool good = true;

	memset(o.out, ARENA_CANARY, bytes);
	k->matmul_u8(w, x, acc, arena_buffer(&arena_scratch, scratch_bytes, 64, c->at_end), &o);
	for (uint32_t n = 0; n < c->count; n++) {
		scalar_of(KERNEL_REQUANTIZE)->requantize(expected + (size_t) n * c->rows, c->rows, o.gain,
			o.bias, o.zero_point, o.low, o.high, row);
		good = good && memcmp(row, o.out + n * stride, c->rows) == 0;
		for (uint32_t i = c->rows; i < stride && n + 1 < c->count; i++)
			good = good && o.out[n * stride + i] == ARENA_CANARY;
	}
	return good;
}

static bool check_case(enum kernel_op op, const struct shape_case *c)
{
	static int32_t got[COUNT_MAX * ROWS_MAX];
	const struct kernel *scalar = scalar_of(op);
	struct kernel_columns x;
	struct kernel_matrix w;
	bool good = true;

	make_matrix(&w, c);
	make_columns(&x, &w, c, op == KERNEL_MATMUL_BITS);
	if (!run_one(scalar, &w, &x, c, expected)) {
		describe(scalar, c, "wrote outside");
		return false;
	}
	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (k->op != op || k == scalar || (k->needs & ~cpu_flags()) || !kernel_takes(k, &w, c->count))
			continue;
		if (!run_one(k, &w, &x, c, got)) {
			describe(k, c, "wrote outside");
			good = false;
		} else if (memcmp(got, expected, (size_t) c->count * c->rows * 4) != 0) {
			describe(k, c, "differs from scalar");
			good = false;
		} else if (k->matmul_u8 && !check_output(k, &w, &x, c)) {
			describe(k, c, "requantizes another way");
			good = false;
		}
	}
	return good;
}

static uint32_t tile_max(enum kernel_op op)
{
	uint32_t tile = 0;

	for (uint32_t i = 0; i < kernel_count; i++)
		if (kernel_table[i].op == op && !(kernel_table[i].needs & ~cpu_flags()))
			tile = MAX_OF(tile, kernel_table[i].columns_per_tile);
	return MIN_OF(tile, COUNT_MAX - 3);
}

static struct shape_case draw(enum kernel_op op)
{
	return (struct shape_case) {
		.rows = 1 + random_below(17),
		.columns = 1 + random_below(300),
		.count = 1 + random_below(8),
		.planes = 1 + random_below(8),
		.group_words = random_below(4),
		.activation_planes = 1 + random_below(4),
		.pad = random_below(3),
		.level = op == KERNEL_MATMUL && random_below(2),
		.limit = random_below(8) == 0,
		.at_end = random_below(4) != 0,
		.fill_w = random_below(2) ? FILL_RANDOM : (enum fill) random_below(_FILL_MAX),
		.fill_x = random_below(2) ? FILL_RANDOM : (enum fill) random_below(_FILL_MAX),
	};
}

/*
 * struct image_case - columns that overlap in an image
 * @runs: of each column; @run: bytes
 */
struct image_case {
	uint32_t runs, run, width, lines;
	size_t run_step, step, line_step;
};

static struct image_case draw_image(void)
{
	struct image_case i = {1 + random_below(4), 4 * (1 + random_below(random_below(4) ? 30 : 130)),
		1 + random_below(20), 1 + random_below(3), .step = 1 + random_below(70)};

	i.run_step = i.run + random_below(100);
	i.line_step = random_below(300);
	return i;
}

/* The image, and in @gathered the same columns as they are for kernels that do not take them from one. */
static void make_image(struct kernel_columns *x, struct kernel_columns *gathered, const struct image_case *i,
	const struct kernel_matrix *w, const struct shape_case *c)
{
	const size_t stride = (size_t) w->words * 64;
	const size_t bytes = (i->lines - 1) * i->line_step + (i->width - 1) * i->step +
			     (i->runs - 1) * i->run_step + i->run;
	uint8_t *image = arena_buffer(&arena_image, bytes, 1, c->at_end);
	uint8_t *u8 = arena_buffer(&arena_x, c->count * stride, 64, c->at_end);

	fill_bytes(image, bytes, c->fill_x, 255);
	memset(u8, 0, c->count * stride);
	for (uint32_t n = 0; n < c->count; n++)
		for (uint32_t r = 0; r < i->runs; r++)
			memcpy(u8 + n * stride + r * i->run, image + n / i->width * i->line_step +
				n % i->width * i->step + r * i->run_step, i->run);
	*gathered = (struct kernel_columns){.count = c->count, .u8 = u8, .values = c->columns};
	*x = *gathered;
	x->u8 = image;
	x->run = i->run;
	x->run_step = i->run_step;
	x->width = i->width;
	x->step = i->step;
	x->line_step = i->line_step;
}

static bool check_image(const struct kernel *k, const struct image_case *i, const struct shape_case *c)
{
	static int32_t got[COUNT_MAX * ROWS_MAX];
	struct kernel_columns x, gathered;
	struct kernel_matrix w;

	make_matrix(&w, c);
	if (!kernel_takes(k, &w, c->count))
		return true;
	make_image(&x, &gathered, i, &w, c);
	if (run_one(scalar_of(KERNEL_MATMUL), &w, &gathered, c, expected) && run_one(k, &w, &x, c, got) &&
		memcmp(got, expected, (size_t) c->count * c->rows * 4) == 0 &&
		(!k->matmul_u8 || check_output(k, &w, &x, c)))
		return true;
	describe(k, c, "takes other columns from an image");
	return false;
}

static void test_matmul_from_images(void)
{
	for (uint32_t j = 0; j < 900 * kernel_count; j++) {
		const struct kernel *k = &kernel_table[j % kernel_count];
		struct shape_case c = draw(KERNEL_MATMUL);
		const struct image_case i = draw_image();

		if (!k->image || (k->needs & ~cpu_flags()))
			continue;
		c.rows = 1 + random_below(ROWS_MAX);
		c.columns = i.runs * i.run;
		c.count = i.lines * i.width;
		CU_ASSERT(check_image(k, &i, &c));
	}
}

static const uint32_t odd_columns[] = {1, 27, 63, 64, 65, 144, 576, 1000};

static void check_shapes(enum kernel_op op)
{
	uint32_t tile = tile_max(op);

	for (uint32_t planes = 1; planes <= BITS_PLANES_MAX; planes++)
		for (uint32_t i = 0; i < ARRAY_SIZE(odd_columns); i++)
			for (uint32_t group = 0; group < 3; group++)
				for (uint32_t level = 0; level < (op == KERNEL_MATMUL ? 2 : 1); level++) {
					struct shape_case c = draw(op);

					c.planes = planes;
					c.columns = odd_columns[i];
					c.group_words = group;
					c.level = level;
					CU_ASSERT(check_case(op, &c));
				}
	for (uint32_t rows = 1; rows <= 17; rows++)
		for (uint32_t count = 1; count <= tile + 3; count += 1 + count / 16) {
			struct shape_case c = draw(op);

			c.rows = rows;
			c.count = count;
			CU_ASSERT(check_case(op, &c));
		}
}

static void check_drawn(enum kernel_op op)
{
	for (uint32_t i = 0; i < 6000; i++) {
		struct shape_case c = draw(op);

		CU_ASSERT(check_case(op, &c));
	}
	for (uint32_t i = 0; i < 300; i++) {
		struct shape_case c = draw(op);

		c.rows = 1 + random_below(ROWS_MAX);
		c.columns = 1 + random_below(COLUMNS_MAX);
		c.group_words = random_below(12);
		c.count = 1 + random_below(i % 2 ? 2 : tile_max(op) + 3);
		CU_ASSERT(check_case(op, &c));
	}
}

static void check_limits(enum kernel_op op)
{
	for (uint32_t planes = 1; planes <= BITS_PLANES_MAX; planes++)
		for (uint32_t negative = 0; negative < 2; negative++)
			for (uint32_t level = 0; level < (op == KERNEL_MATMUL ? 2 : 1); level++) {
				struct shape_case c = draw(op);

				c.rows = 33;
				c.columns = COLUMNS_MAX;
				c.planes = planes;
				c.activation_planes = 4;
				c.limit = true;
				c.level = level;
				c.fill_w = negative ? FILL_ZEROS : FILL_ONES;
				c.fill_x = FILL_ONES;
				CU_ASSERT(check_case(op, &c));
			}
}

/* Rows longer than any tile, of few columns: those are for products that stream their weights. */
static void check_long_rows(enum kernel_op op)
{
	for (uint32_t planes = 1; planes <= BITS_PLANES_MAX; planes++)
		for (uint32_t group = 0; group < 5; group++) {
			struct shape_case c = draw(op);

			c.rows = 1 + random_below(5);
			c.columns = 12000 + random_below(2000);
			c.count = 1 + random_below(2);
			c.planes = planes;
			c.group_words = group;
			CU_ASSERT(check_case(op, &c));
		}
}

/* More columns than scratch has room for, of few planes and of many. */
static void check_many_columns(enum kernel_op op)
{
	for (uint32_t planes = 1; planes <= BITS_PLANES_MAX; planes++)
		for (uint32_t activations = 1; activations <= KERNEL_BITS_MAX; activations++) {
			struct shape_case c = draw(op);

			c.columns = 1 + random_below(2 * c.columns);
			c.count = COUNT_MAX - random_below(24);
			c.planes = planes;
			c.activation_planes = activations;
			CU_ASSERT(check_case(op, &c));
		}
}

/* The judge itself, against the definition of one weight. */
static void check_scalar(enum kernel_op op)
{
	for (uint32_t i = 0; i < 150; i++) {
		struct shape_case c = draw(op);
		struct kernel_matrix w;
		struct kernel_columns x;
		bool good = true;

		make_matrix(&w, &c);
		make_columns(&x, &w, &c, op == KERNEL_MATMUL_BITS);
		CU_ASSERT(run_one(scalar_of(op), &w, &x, &c, expected));
		for (uint32_t n = 0; n < c.count; n++)
			for (uint32_t r = 0; r < c.rows; r++) {
				int32_t sum = 0;

				for (uint32_t t = 0; t < c.columns; t++)
					sum += kernel_weight(&w, r, t) * x.u8[(size_t) n * w.words * 64 + t];
				good = good && sum == expected[n * c.rows + r];
			}
		if (!good)
			describe(scalar_of(op), &c, "differs from kernel_weight()");
		CU_ASSERT(good);
	}
}

static void test_scalar_is_the_definition(void)
{
	check_scalar(KERNEL_MATMUL);
	check_scalar(KERNEL_MATMUL_BITS);
}

static void test_matmul_shapes(void)
{
	check_shapes(KERNEL_MATMUL);
}

static void test_matmul_limits(void)
{
	check_limits(KERNEL_MATMUL);
}

static void test_matmul_drawn(void)
{
	check_drawn(KERNEL_MATMUL);
}

static void test_matmul_long_rows(void)
{
	check_long_rows(KERNEL_MATMUL);
}

static void test_bits_long_rows(void)
{
	check_long_rows(KERNEL_MATMUL_BITS);
}

static void test_matmul_many_columns(void)
{
	check_many_columns(KERNEL_MATMUL);
}

static void test_bits_many_columns(void)
{
	check_many_columns(KERNEL_MATMUL_BITS);
}

static void test_bits_shapes(void)
{
	check_shapes(KERNEL_MATMUL_BITS);
}

static void test_bits_limits(void)
{
	check_limits(KERNEL_MATMUL_BITS);
}

static void test_bits_drawn(void)
{
	check_drawn(KERNEL_MATMUL_BITS);
}

static void test_arenas(void)
{
	struct arena *all[] = {&arena_step, &arena_base, &arena_level, &arena_x, &arena_bits,
		&arena_acc, &arena_scratch, &arena_gain, &arena_bias, &arena_out, &arena_image};
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		arena_init(all[i], ARENA_BYTES);
	for (size_t i = 0; i < BITS_PLANES_MAX; i++)
		arena_init(&arena_plane[i], ARENA_BYTES);
	printf("cpu: %s\n", cpu_flags_text(cpu_flags(), text, sizeof text));
	CU_ASSERT(kernel_count > 0);
}

TEST_MAIN("matmul", TEST(arenas), TEST(scalar_is_the_definition), TEST(matmul_shapes),
	TEST(matmul_limits), TEST(matmul_drawn), TEST(matmul_long_rows), TEST(bits_long_rows),
	TEST(matmul_many_columns), TEST(bits_many_columns), TEST(matmul_from_images),
	TEST(bits_shapes), TEST(bits_limits), TEST(bits_drawn))
