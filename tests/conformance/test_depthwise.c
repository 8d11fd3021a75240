/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depthwise convolutions from planes to bytes, of the rows that can do them, against the scalar rows of what
 * they do at once: depthwise_decode(), DEPTHWISE, REQUANTIZE.
 */
#include <string.h>

#include "arena.h"
#include "base/cleanup.h"
#include "engine/kernels/kernel.h"
#include "support/test.h"

#define SIDE_MAX 9
#define ARENA_BYTES (1u << 20)

static struct arena arena_plane[BITS_PLANES_MAX], arena_step, arena_base, arena_level, arena_image,
	arena_weights, arena_gain, arena_bias, arena_out;

/*
 * struct drawn - one convolution
 * @gap: bytes between the channels of one pixel of the output and the next
 */
struct drawn {
	struct kernel_matrix w;
	struct kernel_depthwise d;
	const uint8_t *taps[DEPTHWISE_TAPS_MAX];
	uint32_t row_bits;
	size_t out_bytes, gap;
	bool at_end;
};

static void draw_planes(struct drawn *c)
{
	size_t words = (size_t) bits_plane_words(c->w.rows, c->row_bits);

	for (uint32_t i = 0; i < c->w.planes; i++) {
		uint64_t *p = arena_buffer(&arena_plane[i], words * sizeof *p, sizeof *p, c->at_end);

		for (size_t k = 0; k < words; k++)
			p[k] = random_u64();
		c->w.plane[i] = p;
	}
}

static void draw_steps(struct drawn *c)
{
	const uint32_t planes = c->w.planes;
	int16_t *step = arena_buffer(&arena_step, c->w.rows * planes * sizeof *step, sizeof *step, c->at_end);
	int8_t *base = arena_buffer(&arena_base, c->w.rows, 1, c->at_end);

	for (uint32_t r = 0; r < c->w.rows; r++) {
		int32_t left = 254;

		for (uint32_t i = 0; i < planes; i++) {
			step[r * planes + i] = (int16_t) random_below((uint32_t) left + 1);
			left -= step[r * planes + i];
		}
		base[r] = (int8_t) ((int32_t) random_below((uint32_t) left + 1) - 127);
	}
	c->w.step = step;
	c->w.base = base;
}

/* With eight planes mostly plain int8, or all of it but for one level. */
static void draw_levels(struct drawn *c)
{
	const uint32_t tables = random_below(2) ? 1 : c->w.rows;
	const size_t n = (size_t) tables << c->w.planes;
	const bool plain = c->w.planes == 8 && random_below(4);
	int8_t *level = arena_buffer(&arena_level, n, 1, c->at_end);

	for (size_t i = 0; i < n; i++)
		level[i] = (int8_t) (plain ? MAX_OF((int32_t) (i % 256) - 128, -127) :
					     (int32_t) random_below(255) - 127);
	if (plain && random_below(2))
		level[random_below((uint32_t) n)] = 5;
	c->w.level = level;
	c->w.level_stride = tables == 1 ? 0 : 1u << c->w.planes;
}

static const float *draw_floats(struct arena *a, const struct drawn *c, float range)
{
	float *f = arena_buffer(a, c->w.rows * sizeof *f, sizeof *f, c->at_end);

	for (uint32_t r = 0; r < c->w.rows; r++)
		f[r] = ((float) random_below(2001) / 1000.0f - 1.0f) * range;
	return f;
}

/* Taps of a window as it lies in the image, whose last byte is the last one that is read. */
static void draw_image(struct drawn *c, uint32_t side, uint32_t stride)
{
	const uint32_t channels = c->w.rows;
	const size_t width = (size_t) (c->d.width - 1) * stride + side;
	const size_t lines = (c->d.lines - 1) * stride + side;
	const size_t bytes = width * lines * channels;
	uint8_t *image = arena_buffer(&arena_image, bytes, 1, c->at_end);

	fill_bytes(image, bytes, FILL_RANDOM, 255);
	for (uint32_t t = 0; t < side * side; t++)
		c->taps[t] = image + (t / side * width + t % side) * channels;
	c->d.pixel_stride = stride * channels;
	c->d.line_stride = stride * width * channels;
}

static void draw_output(struct drawn *c)
{
	const uint32_t channels = c->w.rows;
	struct kernel_output *o = &c->d.output;

	c->gap = random_below(2) ? 0 : random_below(40);
	o->gain = draw_floats(&arena_gain, c, 0.01f);
	o->bias = draw_floats(&arena_bias, c, 200.0f);
	o->zero_point = (int32_t) random_below(256);
	o->low = (uint8_t) random_below(100);
	o->high = (uint8_t) (100 + random_below(156));
	o->stride = channels + c->gap;
	c->d.out_line = c->d.width * o->stride;
	c->out_bytes = c->d.lines * c->d.out_line - c->gap;
	o->out = arena_buffer(&arena_out, c->out_bytes, 1, c->at_end);
	memset(o->out, ARENA_CANARY, c->out_bytes);
}

static void draw(struct drawn *c, uint32_t i)
{
	const uint32_t side = 1 + random_below(5), stride = 1 + random_below(2);

	*c = (struct drawn){.at_end = i % 4};
	c->w = (struct kernel_matrix){.rows = 1 + i % DEPTHWISE_CHANNELS_MAX, .words = 1, .groups = 1,
		.group_words = 1, .planes = 1 + random_below(8)};
	c->d = (struct kernel_depthwise){.taps = c->taps, .n_taps = side * side,
		.width = 1 + random_below(SIDE_MAX), .lines = 1 + random_below(4)};
	c->row_bits = bits_row_bits(c->d.n_taps, true);
	draw_planes(c);
	if (random_below(2))
		draw_levels(c);
	else
		draw_steps(c);
	draw_image(c, side, stride);
	c->d.weights = arena_buffer(&arena_weights, (size_t) c->d.n_taps * c->w.rows, 1, c->at_end);
	draw_output(c);
}

/* One pixel as the scalar rows have it. */
static void define_pixel(const struct drawn *c, const int8_t *weights, uint32_t y, uint32_t x, uint8_t *ret)
{
	const uint8_t *taps[DEPTHWISE_TAPS_MAX];
	const struct kernel_output *o = &c->d.output;
	int32_t acc[DEPTHWISE_CHANNELS_MAX];

	for (uint32_t t = 0; t < c->d.n_taps; t++)
		taps[t] = c->taps[t] + y * c->d.line_stride + (size_t) x * c->d.pixel_stride;
	kernel_pick(KERNEL_DEPTHWISE, 0, NULL, 0)->depthwise(weights, c->d.n_taps, c->w.rows, taps, 0, 1, acc);
	kernel_pick(KERNEL_REQUANTIZE, 0, NULL, 0)->requantize(
		acc, c->w.rows, o->gain, o->bias, o->zero_point, o->low, o->high, ret);
}

static bool is_gap(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != ARENA_CANARY)
			return false;
	return true;
}

static bool check(const struct kernel *k, const struct drawn *c)
{
	static int8_t weights[DEPTHWISE_TAPS_MAX * DEPTHWISE_CHANNELS_MAX];
	const struct kernel_output *o = &c->d.output;
	uint8_t expected[DEPTHWISE_CHANNELS_MAX];
	bool good = true;

	k->depthwise_u8(&c->w, c->row_bits, &c->d);
	depthwise_decode(&c->w, c->row_bits, c->d.n_taps, weights);
	for (uint32_t i = 0; i < c->d.width * c->d.lines; i++) {
		const uint8_t *out = o->out + i * o->stride;

		define_pixel(c, weights, i / c->d.width, i % c->d.width, expected);
		good = good && memcmp(out, expected, c->w.rows) == 0;
		if (i + 1 < c->d.width * c->d.lines)
			good = good && is_gap(out + c->w.rows, c->gap);
	}
	if (!good)
		printf("%s: differs, %u channels %u taps %u planes%s, %u x %u pixels %u apart\n", k->name,
			c->w.rows, c->d.n_taps, c->w.planes, c->w.level ? " level" : "", c->d.lines, c->d.width,
			c->d.pixel_stride);
	return good;
}

static void test_from_planes_to_bytes(void)
{
	for (uint32_t j = 0; j < kernel_count; j++) {
		const struct kernel *k = &kernel_table[j];

		if (!k->depthwise_u8 || (k->needs & ~cpu_flags()))
			continue;
		for (uint32_t i = 0; i < 1500; i++) {
			struct drawn c;

			draw(&c, i);
			CU_ASSERT(check(k, &c));
			CU_ASSERT(arena_intact(&arena_out, c.d.output.out, c.out_bytes));
		}
	}
}

static void test_arenas(void)
{
	struct arena *all[] = {&arena_step, &arena_base, &arena_level, &arena_image, &arena_weights,
		&arena_gain, &arena_bias, &arena_out};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		arena_init(all[i], ARENA_BYTES);
	for (size_t i = 0; i < BITS_PLANES_MAX; i++)
		arena_init(&arena_plane[i], ARENA_BYTES);
	CU_ASSERT(kernel_count > 0);
}

TEST_MAIN("depthwise", TEST(arenas), TEST(from_planes_to_bytes))
