/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels that are not matrix products: every row of the list against the scalar row of its op, and
 * the scalar rows against the definition in op.h.
 */
#include <math.h>
#include <string.h>

#include "arena.h"
#include "base/cleanup.h"
#include "engine/kernels/kernel.h"
#include "support/test.h"

#define COUNT_MAX 4000
#define TAPS_MAX 25
#define EXP_HASH 0x28236f72u
#define ARENA_BYTES (1u << 20)

static struct arena arena_a, arena_b, arena_c, arena_out;
static uint8_t expected[ARENA_BYTES];

/* One call of a kernel: fills @out from inputs that were made before. */
typedef void call_fn(const struct kernel *k, const void *inputs, void *out);

static const struct kernel *scalar_of(enum kernel_op op)
{
	return kernel_pick(op, 0, NULL, 0);
}

/* @before: what the output holds before the call, or NULL */
static bool run_one(const struct kernel *k, call_fn *call, const void *inputs, const void *before,
	void *ret, size_t bytes, size_t align, bool at_end)
{
	void *out = arena_buffer(&arena_out, bytes, align, at_end);

	if (before)
		memcpy(out, before, bytes);
	else
		memset(out, 0x5c, bytes);
	call(k, inputs, out);
	memcpy(ret, out, bytes);
	return arena_intact(&arena_out, out, bytes);
}

static bool check_all(enum kernel_op op, call_fn *call, const void *inputs, const void *before,
	size_t bytes, size_t align, bool at_end)
{
	static uint8_t got[ARENA_BYTES];
	bool good = run_one(scalar_of(op), call, inputs, before, expected, bytes, align, at_end);

	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if (k->op != op || k == scalar_of(op) || (k->needs & ~cpu_flags()))
			continue;
		if (!run_one(k, call, inputs, before, got, bytes, align, at_end)) {
			printf("%s: wrote outside, %zu bytes\n", k->name, bytes);
			good = false;
		} else if (memcmp(got, expected, bytes) != 0) {
			printf("%s: differs from scalar, %zu bytes\n", k->name, bytes);
			good = false;
		}
	}
	return good;
}

static uint32_t draw_count(uint32_t i)
{
	return i < 140 ? i : random_below(COUNT_MAX);
}

static enum fill draw_fill(void)
{
	return random_below(3) ? FILL_RANDOM : (enum fill) random_below(_FILL_MAX);
}

/* What no model should contain, but a kernel must answer like all others, now and then. */
static float draw_float(float range)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-40f, 3e38f, -3e38f};
	uint32_t which = random_below(16);

	if (which)
		return ((float) random_below(2000001) / 1e6f - 1.0f) * range;
	return odd[random_below(ARRAY_SIZE(odd))];
}

struct requantize_inputs {
	const int32_t *acc;
	const float *gain, *bias;
	uint32_t count;
	int32_t zero_point;
	uint8_t low, high;
};

static void call_requantize(const struct kernel *k, const void *inputs, void *out)
{
	const struct requantize_inputs *in = inputs;

	k->requantize(in->acc, in->count, in->gain, in->bias, in->zero_point, in->low, in->high, out);
}

static uint8_t requantize_definition(int32_t acc, float gain, float bias, int32_t zero_point,
	uint8_t low, uint8_t high)
{
	float product = (float) acc * gain, t = product + bias;
	double q = rint((double) t) + zero_point;

	return isnan(t) || q < low ? low : q > high ? high : (uint8_t) q;
}

static void make_requantize(struct requantize_inputs *in, uint32_t count, bool at_end)
{
	int32_t *acc = arena_buffer(&arena_a, (size_t) count * 4, 4, at_end);
	float *gain = arena_buffer(&arena_b, (size_t) count * 4, 4, at_end);
	float *bias = arena_buffer(&arena_c, (size_t) count * 4, 4, at_end);
	bool ties = random_below(4) == 0;

	for (uint32_t i = 0; i < count; i++) {
		acc[i] = (int32_t) random_u32() >> random_below(24);
		gain[i] = ties ? 0.5f : draw_float(0.01f);
		bias[i] = ties ? (float) random_below(4) : draw_float(200.0f);
		if (ties)
			acc[i] %= 512;
	}
	*in = (struct requantize_inputs) {acc, gain, bias, count, (int32_t) random_below(256),
		(uint8_t) random_below(100), (uint8_t) (100 + random_below(156))};
	if (random_below(2)) {
		in->low = 0;
		in->high = 255;
	}
}

static void test_requantize(void)
{
	for (uint32_t i = 0; i < 600; i++) {
		struct requantize_inputs in;
		bool good = true;

		make_requantize(&in, draw_count(i), i % 4);
		CU_ASSERT(check_all(KERNEL_REQUANTIZE, call_requantize, &in, NULL, in.count, 1, i % 4));
		for (uint32_t j = 0; j < in.count; j++)
			good = good && expected[j] == requantize_definition(in.acc[j], in.gain[j],
							      in.bias[j], in.zero_point, in.low, in.high);
		CU_ASSERT(good);
	}
}

struct add_inputs {
	struct kernel_add p;
	const uint8_t *a, *b;
	uint32_t count;
};

static void call_add(const struct kernel *k, const void *inputs, void *out)
{
	const struct add_inputs *in = inputs;

	k->add(&in->p, in->a, in->b, in->count, out);
}

static void test_add(void)
{
	for (uint32_t i = 0; i < 600; i++) {
		struct add_inputs in = {.count = draw_count(i)};
		uint8_t *a = arena_buffer(&arena_a, in.count, 1, i % 4);
		uint8_t *b = arena_buffer(&arena_b, in.count, 1, i % 4);
		bool good = true;

		fill_bytes(a, in.count, draw_fill(), 255);
		fill_bytes(b, in.count, draw_fill(), 255);
		in.a = a;
		in.b = b;
		in.p = (struct kernel_add) {draw_float(2.0f), draw_float(2.0f), (int32_t) random_below(256),
			(int32_t) random_below(256), (int32_t) random_below(256), (uint8_t) random_below(100),
			(uint8_t) (155 + random_below(101))};
		CU_ASSERT(check_all(KERNEL_ADD, call_add, &in, NULL, in.count, 1, i % 4));
		for (uint32_t j = 0; j < in.count; j++) {
			float ta = (float) (a[j] - in.p.zero_a) * in.p.gain_a;

			/* the second product is acc * gain of the definition, the first its bias */
			good = good && expected[j] == requantize_definition(b[j] - in.p.zero_b, in.p.gain_b,
							      ta, in.p.zero_out, in.p.low, in.p.high);
		}
		CU_ASSERT(good);
	}
}

struct bytes_inputs {
	const uint8_t *in, *table;
	uint32_t count;
};

static void call_table(const struct kernel *k, const void *inputs, void *out)
{
	const struct bytes_inputs *in = inputs;

	k->table(in->table, in->in, in->count, out);
}

static void call_table_in_place(const struct kernel *k, const void *inputs, void *out)
{
	const struct bytes_inputs *in = inputs;

	k->table(in->table, out, in->count, out);
}

static void call_max(const struct kernel *k, const void *inputs, void *out)
{
	const struct bytes_inputs *in = inputs;

	k->max(in->in, in->count, out);
}

static void call_sum(const struct kernel *k, const void *inputs, void *out)
{
	const struct bytes_inputs *in = inputs;

	k->sum_rows(in->in, in->count, out);
}

static void test_table_max_sum(void)
{
	static uint32_t before[COUNT_MAX];

	for (uint32_t i = 0; i < 600; i++) {
		struct bytes_inputs in = {.count = draw_count(i)};
		uint8_t *a = arena_buffer(&arena_a, in.count, 1, i % 4);
		uint8_t *table = arena_buffer(&arena_b, 256, 1, i % 4);

		fill_bytes(a, in.count, draw_fill(), 255);
		fill_bytes(table, 256, FILL_RANDOM, 255);
		in.in = a;
		in.table = table;
		for (uint32_t j = 0; j < in.count; j++)
			before[j] = random_u32() >> 9;
		CU_ASSERT(check_all(KERNEL_TABLE, call_table, &in, NULL, in.count, 1, i % 4));
		CU_ASSERT(check_all(KERNEL_TABLE, call_table_in_place, &in, a, in.count, 1, i % 4));
		CU_ASSERT(check_all(KERNEL_MAX, call_max, &in, before, in.count, 1, i % 4));
		CU_ASSERT(check_all(KERNEL_SUM, call_sum, &in, before, (size_t) in.count * 4, 4, i % 4));
		if (in.count)
			CU_ASSERT_EQUAL(((uint32_t *) (void *) expected)[in.count - 1],
				before[in.count - 1] + a[in.count - 1]);
	}
}

struct pack_inputs {
	const uint8_t *u8;
	uint32_t words, planes;
};

static void call_pack(const struct kernel *k, const void *inputs, void *out)
{
	const struct pack_inputs *in = inputs;

	k->pack(in->u8, in->words, in->planes, out);
}

static void test_pack(void)
{
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t words = 1 + random_below(20), planes = 1 + i % 4;
		uint8_t *u8 = arena_buffer(&arena_a, (size_t) words * 64, 64, i % 3);
		struct pack_inputs in = {u8, words, planes};
		const uint64_t *bits = (const uint64_t *) (void *) expected;
		bool good = true;

		fill_bytes(u8, (size_t) words * 64, draw_fill(), (uint8_t) ((1u << planes) - 1));
		CU_ASSERT(check_all(KERNEL_PACK, call_pack, &in, NULL, (size_t) words * planes * 8, 8, i % 3));
		for (uint32_t m = 0; m < planes; m++)
			for (uint32_t t = 0; t < words * 64; t++)
				good = good && bits_get(bits + (size_t) m * words, t) == (u8[t] >> m & 1);
		CU_ASSERT(good);
	}
}

struct gather_inputs {
	struct kernel_gather g;
	int64_t y, x;
	uint32_t count;
};

static void call_gather(const struct kernel *k, const void *inputs, void *out)
{
	const struct gather_inputs *in = inputs;

	k->gather(&in->g, in->y, in->x, in->count, out);
}

static uint8_t gather_definition(const struct gather_inputs *in, uint32_t column, size_t byte)
{
	const struct kernel_gather *g = &in->g;
	int64_t y = in->y + (int64_t) (byte / g->tap_bytes) * g->tap_step;
	int64_t x = in->x + (int64_t) (column * g->step + byte % g->tap_bytes);

	if (byte >= g->taps * g->tap_bytes)
		return 0;
	if (y < 0 || y >= g->lines || x < 0 || x >= (int64_t) g->line_bytes)
		return g->outside;
	return g->image[(size_t) y * g->line_bytes + (size_t) x];
}

static void test_gather(void)
{
	static const size_t common[] = {9, 21, 48, 96, 192};

	for (uint32_t i = 0; i < 600; i++) {
		size_t pixel = 1 + random_below(80), pixels = 1 + random_below(20), bytes;
		struct gather_inputs in = {{.lines = 1 + random_below(12), .taps = 1 + random_below(5),
			.tap_step = 1 + random_below(3), .line_bytes = pixel * pixels,
			.tap_bytes = i % 2 ? common[random_below(5)] : pixel * (1 + random_below(4)), .step = pixel,
			.outside = (uint8_t) random_below(256)}, .count = 1 + random_below(24)};
		uint8_t *image = arena_buffer(&arena_a, in.g.lines * in.g.line_bytes, 1, i % 3);
		bool good = true;

		fill_bytes(image, in.g.lines * in.g.line_bytes, FILL_RANDOM, 255);
		in.g.image = image;
		in.g.stride = (in.g.taps * in.g.tap_bytes + 63) / 64 * 64;
		in.y = (int64_t) random_below(in.g.lines + 6) - 6;
		in.x = (int64_t) random_below((uint32_t) in.g.line_bytes + 200) - 200;
		bytes = in.count * in.g.stride;
		CU_ASSERT(check_all(KERNEL_GATHER, call_gather, &in, NULL, bytes, 64, i % 3));
		for (size_t j = 0; j < bytes; j++)
			good = good && expected[j] == gather_definition(&in, (uint32_t) (j / in.g.stride),
							      j % in.g.stride);
		CU_ASSERT(good);
	}
}

struct depthwise_inputs {
	const int8_t *weights;
	const uint8_t *taps[TAPS_MAX];
	uint32_t n_taps, channels, stride, count;
};

static void call_depthwise(const struct kernel *k, const void *inputs, void *out)
{
	const struct depthwise_inputs *in = inputs;

	k->depthwise(in->weights, in->n_taps, in->channels, in->taps, in->stride, in->count, out);
}

static void test_depthwise(void)
{
	for (uint32_t i = 0; i < 500; i++) {
		struct depthwise_inputs in = {.n_taps = 1 + random_below(TAPS_MAX),
			.channels = 1 + (i < 100 ? i : random_below(300)), .count = 1 + random_below(12)};
		size_t row;
		uint8_t *image;
		int8_t *weights;
		int64_t sum = 0;

		in.stride = in.channels * (1 + random_below(2));
		row = (size_t) in.stride * (in.count - 1) + in.channels;
		image = arena_buffer(&arena_a, row + in.n_taps - 1, 1, i % 4);
		weights = arena_buffer(&arena_b, (size_t) in.n_taps * in.channels, 1, i % 4);
		fill_bytes(image, row + in.n_taps - 1, draw_fill(), 255);
		for (size_t j = 0; j < (size_t) in.n_taps * in.channels; j++)
			weights[j] = (int8_t) ((int32_t) random_below(255) - 127);
		for (uint32_t t = 0; t < in.n_taps; t++)
			in.taps[t] = image + t;
		in.weights = weights;
		CU_ASSERT(check_all(KERNEL_DEPTHWISE, call_depthwise, &in, NULL,
			(size_t) in.count * in.channels * 4, 4, i % 4));
		for (uint32_t t = 0; t < in.n_taps; t++)
			sum += weights[(size_t) t * in.channels + in.channels - 1] *
			       in.taps[t][row - 1];
		CU_ASSERT_EQUAL(((int32_t *) (void *) expected)[(size_t) in.count * in.channels - 1], sum);
	}
}

struct floats_inputs {
	const float *in;
	uint32_t count;
};

static void call_softmax(const struct kernel *k, const void *inputs, void *out)
{
	const struct floats_inputs *in = inputs;

	k->softmax(in->in, in->count, out);
}

static void test_softmax(void)
{
	for (uint32_t i = 1; i < 300; i++) {
		struct floats_inputs in = {.count = draw_count(i)};
		float *f = arena_buffer(&arena_a, (size_t) in.count * 4, 4, i % 4);
		const float *out = (const float *) (void *) expected;
		float range = random_below(2) ? 5.0f : 300.0f;
		double sum = 0, reference = 0, top = -1e9;

		for (uint32_t j = 0; j < in.count; j++) {
			f[j] = ((float) random_below(2000001) / 1e6f - 1.0f) * range;
			top = fmax(top, (double) f[j]);
		}
		in.in = f;
		CU_ASSERT(check_all(KERNEL_SOFTMAX, call_softmax, &in, NULL, (size_t) in.count * 4, 4, i % 4));
		for (uint32_t j = 0; j < in.count; j++) {
			sum += (double) out[j];
			reference += exp((double) f[j] - top);
		}
		if (in.count == 0)
			continue;
		CU_ASSERT_DOUBLE_EQUAL(sum, 1.0, 1e-4);
		CU_ASSERT_DOUBLE_EQUAL((double) out[0], exp((double) f[0] - top) / reference, 1e-5);
	}
}

struct quantize_inputs {
	const float *in;
	uint32_t count;
	float factor;
	int32_t zero_point;
};

static void call_quantize(const struct kernel *k, const void *inputs, void *out)
{
	const struct quantize_inputs *in = inputs;

	k->quantize(in->in, in->count, in->factor, in->zero_point, out);
}

static void test_quantize(void)
{
	for (uint32_t i = 0; i < 600; i++) {
		struct quantize_inputs in = {.count = draw_count(i),
			.factor = random_below(4) ? 0.5f : draw_float(50.0f),
			.zero_point = (int32_t) random_below(256)};
		float *f = arena_buffer(&arena_a, (size_t) in.count * 4, 4, i % 4);
		bool good = true, ties = random_below(2);

		for (uint32_t j = 0; j < in.count; j++)
			f[j] = ties ? (float) (int32_t) (random_below(1024) - 512) : draw_float(300.0f);
		in.in = f;
		CU_ASSERT(check_all(KERNEL_QUANTIZE, call_quantize, &in, NULL, in.count, 1, i % 4));
		for (uint32_t j = 0; j < in.count; j++) {
			float t = f[j] * in.factor;

			good = good && expected[j] == requantize_definition(1, isnan(t) ? 0.0f : t, 0.0f,
							      in.zero_point, 0, 255);
		}
		CU_ASSERT(good);
	}
}

/* Figures that no machine may miss: float steps of the engine are the same everywhere. */
static void test_floats_are_the_same_everywhere(void)
{
	uint32_t hash = 2166136261u, bits;

	for (uint32_t i = 0; i < 20000; i++) {
		float f = kernel_exp((float) i * -0.0045f);

		memcpy(&bits, &f, sizeof bits);
		hash = (hash ^ bits) * 16777619u;
	}
	CU_ASSERT_EQUAL(hash, EXP_HASH);
	if (hash != EXP_HASH)
		printf("hash %#x\n", hash);
	CU_ASSERT(kernel_exp(0.0f) == 1.0f);
	CU_ASSERT(kernel_exp(-INFINITY) == 0.0f);
	CU_ASSERT(kernel_exp(NAN) == 0.0f);
	CU_ASSERT_DOUBLE_EQUAL((double) kernel_exp(-1.0f), exp(-1.0), 1e-7);
}

static void test_arenas(void)
{
	struct arena *all[] = {&arena_a, &arena_b, &arena_c, &arena_out};
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		arena_init(all[i], ARENA_BYTES);
	printf("cpu: %s\n", cpu_flags_text(cpu_flags(), text, sizeof text));
}

TEST_MAIN("elements", TEST(arenas), TEST(requantize), TEST(add), TEST(table_max_sum), TEST(pack),
	TEST(gather), TEST(depthwise), TEST(softmax), TEST(quantize), TEST(floats_are_the_same_everywhere))
