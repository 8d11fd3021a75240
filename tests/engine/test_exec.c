/* SPDX-License-Identifier: Apache-2.0 */
/* Plans against the reference, with ==: every value of every graph, on each row of the kernel list.
 */
#include "engine/exec.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "support/graph.h"
#include "support/reference.h"
#include "support/test.h"

#define THREADS 3
#define MASKS_MAX 16

static struct threads *pools[THREADS + 1]; /* by count */
static uint32_t masks[MASKS_MAX], n_masks;
static atomic_uint n_allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
	atomic_fetch_add(&n_allocations, 1);
	return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	atomic_fetch_add(&n_allocations, 1);
	return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
	atomic_fetch_add(&n_allocations, 1);
	return __real_realloc(p, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	atomic_fetch_add(&n_allocations, 1);
	return __real_aligned_alloc(align, bytes);
}

/* One mask per distinct set of flags that a row of the list needs and this machine has; 0 is the
 * first. */
static void find_masks(void)
{
	for (uint32_t i = kernel_count; i-- > 0;) {
		uint32_t needs = kernel_table[i].needs, j = 0;

		while (j < n_masks && masks[j] != needs)
			j++;
		if (j == n_masks && (needs & ~cpu_flags()) == 0 && n_masks < MASKS_MAX)
			masks[n_masks++] = needs;
	}
}

struct input {
	uint8_t *pixels;
	float *floats;
};

static void draw_input(struct graph *g, struct input *ret)
{
	const struct value *v = &g->values[g->network.input];
	size_t n = shape_elements(v->shape);

	ret->pixels = malloc(n);
	ret->floats = malloc(n * sizeof *ret->floats);
	for (size_t i = 0; i < n; i++) {
		ret->pixels[i] = (uint8_t) graph_below(g, 256);
		ret->floats[i] = ((float) graph_below(g, 4000) - 2000.0f) / 16.0f * v->scale;
	}
	ret->floats[0] = NAN;
	ret->floats[n - 1] = -INFINITY;
	ret->floats[n / 2] = 1e30f;
}

/* Runs the first @n_steps and compares the value that the last of them wrote. */
static bool step_is_right(struct plan *plan, uint32_t n_steps, const struct reference *expected,
	struct threads *threads, enum input_type type, const void *input)
{
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_free_ float *output = malloc(plan->output_bytes);
	const struct op *op = plan->steps[n_steps - 1].op;
	const struct value *v = &plan->model->network->values[op->output];
	uint32_t all = plan->n_steps;
	bool right;

	CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, plan, threads_count(threads)), 0);
	memset(w.scratch, 0xa5, w.scratch_bytes * w.threads);
	memset(w.arena, 0x5a, w.arena_bytes);
	plan->n_steps = n_steps;
	CU_ASSERT_EQUAL_FATAL(exec_run(plan, &w, threads, type, input, output), 0);
	plan->n_steps = all;
	right = memcmp(exec_value(plan, &w, op->output), expected->data[op->output],
			value_bytes(v)) == 0;
	if (n_steps == all)
		right = right && memcmp(output, expected->data[op->output], value_bytes(v)) == 0;
	return right;
}

static void check_plan(struct graph *g, uint32_t mask, uint32_t threads,
	const struct reference *expected, enum input_type type, const void *input)
{
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, mask, &e), 0);
	plan->work_min = 0;
	for (uint32_t i = 1; i <= plan->n_steps; i++) {
		bool right = step_is_right(plan, i, expected, pools[threads], type, input);

		CU_ASSERT(right);
		if (!right) {
			const struct op *op = plan->steps[i - 1].op;

			printf("\n  step %u, %s, %ux%u of %ux%ux%u, mask %#x, %u threads, kernel "
			       "%s\n",
				i - 1, op_kind_name(op->kind), op->kernel_h, op->kernel_w,
				g->values[op->inputs[0]].shape.height,
				g->values[op->inputs[0]].shape.width,
				g->values[op->inputs[0]].shape.channels, mask, threads,
				plan->steps[i - 1].kernel ? plan->steps[i - 1].kernel->name
							  : "none");
			return;
		}
	}
}

static void check_graph(struct graph *g, uint32_t threads_max)
{
	struct reference expected;
	struct input in;

	draw_input(g, &in);
	for (uint32_t t = 1; t <= threads_max; t++) {
		enum input_type type = t % 2 ? INPUT_PIXELS : INPUT_FLOATS;
		const void *input = t % 2 ? (const void *) in.pixels : in.floats;

		reference_run(&expected, &g->model, type, input);
		for (uint32_t m = 0; m < n_masks; m++)
			check_plan(g, masks[m], t, &expected, type, input);
		reference_done(&expected);
	}
	free(in.pixels);
	free(in.floats);
}

static uint32_t draw_divisor(struct graph *g, uint32_t n)
{
	uint32_t d = 1 + graph_below(g, n);

	while (n % d != 0)
		d--;
	return d;
}

static struct graph_window draw_window(struct graph *g, uint32_t in)
{
	struct graph_window w;

	do {
		w = (struct graph_window){
			.height = 1 + graph_below(g, 4),
			.width = 1 + graph_below(g, 4),
			.stride_h = 1 + graph_below(g, 3),
			.stride_w = 1 + graph_below(g, 3),
		};
		w.top = graph_below(g, w.height);
		w.bottom = graph_below(g, w.height);
		w.left = graph_below(g, w.width);
		w.right = graph_below(g, w.width);
	} while (!graph_fits(g, in, &w));
	return w;
}

/* Padding of a convolution may exceed its kernel, and its taps may be apart. */
static struct graph_window draw_filter(struct graph *g, uint32_t in)
{
	struct graph_window w = draw_window(g, in), wide = w;

	wide.dilation_h = 1 + graph_below(g, 3) / 2;
	wide.dilation_w = 1 + graph_below(g, 3) / 2;
	wide.left += graph_below(g, 4) / 3 * 4;
	wide.bottom += graph_below(g, 4) / 3 * 5;
	return graph_fits(g, in, &wide) ? wide : w;
}

static uint32_t draw_convolution(struct graph *g, uint32_t in)
{
	struct graph_window w = draw_filter(g, in);
	uint32_t channels;

	if (graph_below(g, 3) == 0) {
		w.activation_bits = 1 + graph_below(g, 4);
		in = graph_table(g, in, w.activation_bits);
	}
	w.groups = graph_below(g, 2) ? draw_divisor(g, g->values[in].shape.channels) : 1;
	channels = w.groups * (1 + graph_below(g, 40 / w.groups + 1));
	return graph_convolution(g, in, channels, w);
}

static uint32_t draw_concat(struct graph *g, uint32_t in)
{
	uint32_t parts[4] = {in}, n = 1, channels = g->values[in].shape.channels;

	for (uint32_t i = 0; i < g->network.n_values && n < 4; i++) {
		const struct value *v = &g->values[i];

		if (v->element == ELEMENT_U8 && v->shape.height == g->values[in].shape.height &&
			v->shape.width == g->values[in].shape.width &&
			channels + v->shape.channels < 200) {
			channels += v->shape.channels;
			parts[n++] = i;
		}
	}
	return graph_concat(g, parts, n);
}

/* A value of the shape of @in, the oldest one; @in itself at worst. */
static uint32_t find_twin(const struct graph *g, uint32_t in)
{
	uint32_t i = 0;

	while (g->values[i].element != ELEMENT_U8 ||
		memcmp(&g->values[i].shape, &g->values[in].shape, sizeof(struct shape)) != 0)
		i++;
	return i;
}

static uint32_t draw_op(struct graph *g, uint32_t in)
{
	struct graph_window w;
	struct shape s = g->values[in].shape;

	switch (graph_below(g, 11)) {
	case 0:
	case 1:
		return draw_convolution(g, in);
	case 2:
		w = draw_filter(g, in);
		w.depthwise = true;
		return graph_convolution(g, in, 0, w);
	case 3:
		return graph_add(g, in, find_twin(g, in));
	case 4:
		return graph_pool(g, in, draw_window(g, in));
	case 5:
		w = draw_window(g, in);
		w.average = true;
		w.count_padding = graph_below(g, 2);
		return graph_pool(g, in, w);
	case 6:
		return draw_concat(g, in);
	case 7:
		return graph_pad(g, in);
	case 8:
		return graph_slice(g, in);
	case 9:
		return graph_reshape(g, in, (struct shape){s.width, s.channels, s.height});
	default:
		return graph_table(g, in, 8);
	}
}

static void draw_end(struct graph *g, uint32_t in)
{
	struct shape s = g->values[in].shape;
	struct graph_window all = {.height = s.height, .width = s.width, .f32 = true};

	switch (graph_below(g, 4)) {
	case 0:
		(void) graph_to_float(g, in);
		break;
	case 1:
		in = graph_to_float(g, in);
		in = graph_reshape(g, in, (struct shape){1, s.height, s.width * s.channels});
		(void) graph_softmax(g, in);
		break;
	case 2:
		(void) graph_convolution(g, in, 1 + graph_below(g, 30), all);
		break;
	default:
		all.average = true;
		(void) graph_pool(g, in, all);
		break;
	}
}

static void draw_graph(struct graph *g, uint64_t seed)
{
	uint32_t n, last;

	graph_init(g, seed);
	n = 3 + graph_below(g, 10);
	last = graph_input(g, 3 + graph_below(g, 9), 3 + graph_below(g, 9), 1 + graph_below(g, 4));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t in = last;

		if (graph_below(g, 4) == 0)
			in = graph_below(g, g->network.n_values);
		if (shape_elements(g->values[in].shape) > 6000)
			last = graph_slice(g, in);
		else
			last = draw_op(g, in);
	}
	draw_end(g, last);
}

static void test_random_graphs(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint64_t seed = 1; seed <= 100; seed++) {
		uint32_t failed = CU_get_number_of_failures();

		draw_graph(g, seed);
		check_graph(g, THREADS);
		graph_done(g);
		if (CU_get_number_of_failures() > failed) {
			printf("  seed %lu\n", seed);
			break;
		}
	}
	free(g);
}

static const struct graph_window pad3 = {
	.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1};

/* More columns than a tile, more rows than a block, channels that are read in place. */
static void test_large_products(void)
{
	static const uint32_t channels[][2] = {
		{64, 128}, {128, 70}, {192, 17}, {16, 16}, {3, 130}, {65, 64}};
	struct graph *g = malloc(sizeof *g);

	for (uint32_t i = 0; i < ARRAY_SIZE(channels); i++)
		for (uint32_t kernel = 1; kernel <= 3; kernel += 2) {
			struct graph_window w = {};
			uint32_t x;

			graph_init(g, 1000 + i);
			x = graph_input(g, 19, 17, channels[i][0]);
			x = graph_convolution(g, x, channels[i][1], kernel == 3 ? pad3 : w);
			(void) graph_to_float(g, x);
			check_graph(g, THREADS);
			graph_done(g);
		}
	free(g);
}

static void test_long_rows_and_columns(void)
{
	struct graph *g = malloc(sizeof *g);
	uint32_t x;

	graph_init(g, 7);
	x = graph_input(g, 4, 4, 300);
	x = graph_convolution(g, x, 600, (struct graph_window){.height = 4, .width = 4});
	x = graph_convolution(g, x, 1001, (struct graph_window){.f32 = true});
	(void) graph_softmax(g, x);
	check_graph(g, THREADS);
	graph_done(g);
	free(g);
}

static void test_narrow_activations(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint32_t bits = 1; bits <= 4; bits++) {
		struct graph_window w = pad3;
		uint32_t x;

		graph_init(g, 20 + bits);
		w.activation_bits = bits;
		g->plain = bits % 2;
		x = graph_input(g, 12, 11, 4);
		x = graph_convolution(g, graph_table(g, x, bits), 70, w);
		w = (struct graph_window){.activation_bits = bits};
		x = graph_convolution(g, graph_table(g, x, bits), 64, w);
		x = graph_convolution(g, graph_table(g, x, bits), 20, w);
		(void) graph_to_float(g, x);
		check_graph(g, THREADS);
		graph_done(g);
	}
	free(g);
}

/* Pixels of whole words are packed before columns are gathered: strides, borders, dilations, 1 to 3 words. */
static void test_packed_pixels(void)
{
	static const struct graph_window windows[] = {{.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1},
		{.height = 3, .width = 3, .stride_h = 2, .stride_w = 2, .left = 2, .bottom = 1},
		{.height = 2, .width = 3, .dilation_h = 2, .top = 1, .right = 1}, {.stride_h = 2, .stride_w = 3},
		{.height = 1, .width = 2, .dilation_w = 2}, {.height = 2, .width = 1, .dilation_h = 3, .top = 2, .bottom = 2}};
	struct graph *g = malloc(sizeof *g);

	for (uint32_t i = 0; i < 4 * ARRAY_SIZE(windows); i++) {
		struct graph_window w = windows[i / 4];
		uint32_t x;

		w.activation_bits = 1 + i % 4;
		graph_init(g, 60 + i);
		g->planes = 1; /* or kernels on bytes would be the quicker ones */
		x = graph_convolution(g, graph_input(g, 9, 7, 5), 64 + i % 3 * 64, pad3);
		x = graph_convolution(g, graph_table(g, x, w.activation_bits), 21, w);
		(void) graph_to_float(g, x);
		check_graph(g, THREADS);
		graph_done(g);
	}
	free(g);
}

/* Padding costs a file nothing: it must not cost memory by the line, either. */
static void test_wide_padding_is_not_packed(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint32_t pad = 1; pad <= 500; pad += 499) {
		struct graph_window w = {.height = pad + 1, .top = pad, .bottom = pad, .stride_h = pad, .activation_bits = 2};
		_cleanup_(plan_unrefp) struct plan *plan = NULL;
		uint32_t x;

		graph_init(g, 90);
		g->planes = 1;
		x = graph_convolution(g, graph_input(g, 9, 7, 5), 64, pad3);
		x = graph_convolution(g, graph_table(g, x, w.activation_bits), 16, w);
		(void) graph_to_float(g, x);
		check_graph(g, 2);
		CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, cpu_flags(), NULL), 0);
		CU_ASSERT_TRUE(plan->arena_bytes < 8 * 9 * 7 * 64);
		graph_done(g);
	}
	free(g);
}

/* Columns that kernels find in lines: whole windows, borders, strides, pixels side by side and of several blocks. */
static void test_columns_in_lines(void)
{
	static const struct graph_window windows[] = {{.height = 3, .width = 3, .top = 1, .left = 1, .bottom = 1, .right = 1},
		{.height = 3, .width = 3, .stride_h = 2, .stride_w = 2, .left = 2, .bottom = 1}, {.height = 3, .width = 2},
		{.stride_h = 2, .stride_w = 2}, {.height = 1, .width = 1}, {.height = 5, .width = 1, .top = 4, .bottom = 3},
		{.height = 2, .width = 2, .dilation_h = 2}, {.stride_h = 3, .stride_w = 2, .top = 1, .left = 1}};
	static const uint32_t channels[] = {4, 20, 64, 132};
	struct graph *g = malloc(sizeof *g);

	for (uint32_t i = 0; i < ARRAY_SIZE(channels) * ARRAY_SIZE(windows); i++) {
		uint32_t x;

		graph_init(g, 120 + i);
		x = graph_input(g, 19, 16 + i % 3, channels[i % ARRAY_SIZE(channels)]);
		x = graph_convolution(g, x, 33, windows[i / ARRAY_SIZE(channels)]);
		(void) graph_to_float(g, x);
		check_graph(g, i % 2 ? THREADS : 2);
		graph_done(g);
	}
	free(g);
}

/* As for planes: what a kernel strides over is not copied. */
static void test_wide_padding_is_not_copied(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint32_t pad = 1; pad <= 4000; pad += 3999) {
		struct graph_window w = {.top = pad, .left = pad, .right = pad, .stride_h = pad, .stride_w = (pad + 4) / 4};
		_cleanup_(plan_unrefp) struct plan *plan = NULL;

		graph_init(g, 91);
		(void) graph_to_float(g, graph_convolution(g, graph_input(g, 9, 7, 8), 16, w));
		check_graph(g, 2);
		CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, cpu_flags(), NULL), 0);
		CU_ASSERT_TRUE(plan->scratch_bytes < 1024 * 1024);
		graph_done(g);
	}
	free(g);
}

/* Channels in several blocks, lines in several bands. */
static void test_large_depthwise(void)
{
	static const uint32_t channels[] = {32, 64, 65, 200};
	struct graph *g = malloc(sizeof *g);

	for (uint32_t i = 0; i < ARRAY_SIZE(channels); i++) {
		struct graph_window w = pad3;
		uint32_t x;

		graph_init(g, 50 + i);
		w.depthwise = true;
		x = graph_input(g, 40, 31, channels[i]);
		x = graph_convolution(g, x, 0, w);
		w.stride_h = w.stride_w = 2;
		x = graph_convolution(g, x, 0, w);
		w = (struct graph_window){.height = 7, .width = 5, .depthwise = true, .f32 = true};
		(void) graph_convolution(g, x, 0, w);
		check_graph(g, THREADS);
		graph_done(g);
	}
	free(g);
}

static void test_every_width(void)
{
	struct graph *g = malloc(sizeof *g);

	for (uint32_t planes = 1; planes <= 8; planes++) {
		struct graph_window w = pad3;
		uint32_t x;

		graph_init(g, 70 + planes);
		g->planes = planes;
		x = graph_convolution(g, graph_input(g, 9, 9, 3), 40, pad3);
		w.groups = 4;
		x = graph_convolution(g, x, 48, w);
		(void) graph_convolution(
			g, x, 10, (struct graph_window){.height = 9, .width = 9, .f32 = true});
		check_graph(g, 2);
		graph_done(g);
	}
	free(g);
}

static void test_a_workspace_serves_many_plans(void)
{
	_cleanup_(workspace_done) struct workspace w = {};
	struct graph *g = malloc(sizeof *g);

	for (uint64_t seed = 200; seed < 220; seed++) {
		_cleanup_(plan_unrefp) struct plan *plan = NULL;
		_cleanup_free_ float *output = NULL;
		struct reference expected;
		struct input in;

		draw_graph(g, seed);
		draw_input(g, &in);
		reference_run(&expected, &g->model, INPUT_FLOATS, in.floats);
		CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, cpu_flags(), NULL), 0);
		output = malloc(plan->output_bytes);
		CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, plan, 1 + seed % THREADS), 0);
		CU_ASSERT_EQUAL(exec_run(plan, &w, NULL, INPUT_FLOATS, in.floats, output), 0);
		CU_ASSERT_EQUAL(
			memcmp(output, expected.data[g->network.output], plan->output_bytes), 0);
		reference_done(&expected);
		free(in.pixels);
		free(in.floats);
		graph_done(g);
	}
	free(g);
}

static void test_running_allocates_nothing(void)
{
	_cleanup_(workspace_done) struct workspace w = {};
	struct graph *g = malloc(sizeof *g);
	uint32_t before;

	for (uint64_t seed = 300; seed < 310; seed++) {
		_cleanup_(plan_unrefp) struct plan *plan = NULL;
		_cleanup_free_ float *output = NULL;
		struct input in;

		draw_graph(g, seed);
		draw_input(g, &in);
		CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, cpu_flags(), NULL), 0);
		plan->work_min = 0;
		output = malloc(plan->output_bytes);
		CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, plan, THREADS), 0);
		before = atomic_load(&n_allocations);
		CU_ASSERT(before > 0);
		CU_ASSERT_EQUAL(
			exec_run(plan, &w, pools[THREADS], INPUT_PIXELS, in.pixels, output), 0);
		CU_ASSERT_EQUAL(atomic_load(&n_allocations), before);
		free(in.pixels);
		free(in.floats);
		graph_done(g);
	}
	free(g);
}

static void test_pixels_need_tables(void)
{
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	struct graph *g = malloc(sizeof *g);
	uint8_t pixels[4] = {};
	float output[4];

	graph_init(g, 1);
	(void) graph_to_float(g, graph_input(g, 2, 2, 1));
	g->network.input_pixels = false;
	CU_ASSERT_EQUAL_FATAL(plan_new(&plan, &g->model, cpu_flags(), NULL), 0);
	CU_ASSERT_EQUAL(plan->input_pixels_bytes, 0);
	CU_ASSERT_EQUAL(plan->input_floats_bytes, 16);
	CU_ASSERT_EQUAL_FATAL(workspace_reserve(&w, plan, 1), 0);
	CU_ASSERT_EQUAL(exec_run(plan, &w, NULL, INPUT_PIXELS, pixels, output), -EINVAL);
	plan = plan_unref(plan);
	graph_done(g);
	free(g);
}

/* First and last: what the others share. */
static void test_thread_pools(void)
{
	find_masks();
	CU_ASSERT_FATAL(n_masks > 0 && masks[0] == 0);
	for (uint32_t i = 1; i <= THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(threads_new(&pools[i], i), 0);
}

static void test_thread_pools_end(void)
{
	for (uint32_t i = 1; i <= THREADS; i++)
		pools[i] = threads_free(pools[i]);
}

TEST_MAIN("exec", TEST(thread_pools), TEST(random_graphs), TEST(large_products),
	TEST(long_rows_and_columns), TEST(narrow_activations), TEST(packed_pixels),
	TEST(wide_padding_is_not_packed), TEST(columns_in_lines), TEST(wide_padding_is_not_copied), TEST(large_depthwise),
	TEST(every_width), TEST(a_workspace_serves_many_plans), TEST(running_allocates_nothing),
	TEST(pixels_need_tables), TEST(thread_pools_end))
