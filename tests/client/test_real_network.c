/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real network from its ONNX file to answers over the bus: imported, loaded by the daemon, asked through
 * sessions at each width. The answers are, to the bit, what bitshed-model evaluate computes from the same
 * file, and the daemon's plane memfds take what the width says, while clients run.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "client/real_network.h"
#include "engine/lower.h"
#include "support/bus.h"
#include "support/network.h"
#include "support/test.h"

#define SLOTS 8
#define PIXELS (32 * 32 * 3)
#define CLIENTS 2

static const double widths[] = {8, 4, 3, 2.5, 2};

/* Pictures begin .. end - 1, each in a slot of its own, on their way together. */
static void ask(struct real_network *f, struct bitshed_session *s, struct outputs *out, uint32_t begin,
	uint32_t end, double bits)
{
	struct bitshed_error e = {};
	struct bitshed_result result;

	for (uint32_t i = begin; i < end; i++) {
		CU_ASSERT_EQUAL(dataset_pixels(f->data, i, bitshed_session_input(s, i - begin)), 0);
		real_network_must(bitshed_session_submit(s, i - begin, NULL, i, &e), &e);
	}
	for (uint32_t i = begin; i < end; i++) {
		real_network_must(bitshed_session_wait(s, -1, &result, &e), &e);
		CU_ASSERT_TRUE(fabs(result.bits - bits) < 1e-6);
		memcpy(out->values + result.cookie * out->classes, bitshed_session_output(s, result.slot),
			out->classes * sizeof *out->values);
	}
}

static void ask_all(struct real_network *f, struct outputs *out, double bits)
{
	struct bitshed_session *s = NULL;
	struct bitshed_error e = {};

	real_network_must(bitshed_session_open(&s, f->bus, "net", SLOTS, &e), &e);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_input_bytes(s, BITSHED_INPUT_PIXELS), PIXELS);
	CU_ASSERT_EQUAL_FATAL(bitshed_session_output_count(s), out->classes);
	for (uint32_t i = 0; i < out->count; i += SLOTS)
		ask(f, s, out, i, MIN_OF(i + SLOTS, out->count), bits);
	(void) bitshed_session_close(s);
}

static void check_width(struct real_network *f, double bits)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(outputs_done) struct outputs expected = {}, answered = {};
	struct bitshed_error error = {};
	double top1, top5, bus_top1, bus_top5;
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(model_build(&model, f->network, bits, &e), 0);
	CU_ASSERT_EQUAL_FATAL(evaluate_outputs(&expected, model, &f->samples, f->count, NULL, NULL, &e), 0);
	answered = (struct outputs){.count = f->count, .classes = expected.classes,
		.values = calloc((size_t) f->count * expected.classes, sizeof(float))};
	CU_ASSERT_PTR_NOT_NULL_FATAL(answered.values);
	real_network_must(bitshed_set_bits(f->bus, "net", bits, &error), &error);
	ask_all(f, &answered, model->bits);
	CU_ASSERT_EQUAL(memcmp(answered.values, expected.values,
				(size_t) f->count * expected.classes * sizeof(float)), 0);
	(void) evaluate_accuracy(&expected, &f->samples, 0, &top1, &top5);
	(void) evaluate_accuracy(&answered, &f->samples, 0, &bus_top1, &bus_top5);
	CU_ASSERT_EQUAL(bus_top1, top1);
	CU_ASSERT_EQUAL(bus_top5, top5);
	printf("%g bits: top-1 %.2f, top-5 %.2f of %u over the bus\n", bits, bus_top1, bus_top5, f->count);
}

static void test_answers_are_those_of_evaluate(void)
{
	struct real_network f = {};

	printf("\n");
	real_network_init(&f, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++)
		check_width(&f, widths[i]);
	real_network_done(&f);
}

static atomic_bool stop;
static atomic_uint n_served, n_failed;

static void *client_thread(void *userdata)
{
	struct bitshed *b = NULL;
	struct bitshed_session *s = NULL;
	int r = real_network_session(&b, &s);

	while (r >= 0 && !atomic_load(&stop)) {
		r = bitshed_session_infer(s, 0, NULL, NULL, NULL);
		atomic_fetch_add(r < 0 ? &n_failed : &n_served, 1);
	}
	(void) bitshed_session_close(s);
	(void) bitshed_close(b);
	return r < 0 ? userdata : NULL;
}

/* Plans that running requests still hold keep their planes for a moment. */
static uint64_t settled_bytes(pid_t pid)
{
	unsigned int served = atomic_load(&n_served);

	for (int i = 0; i < 10000 && atomic_load(&n_served) < served + 2 * CLIENTS; i++)
		(void) usleep(1000);
	return test_plane_bytes(pid);
}

static uint64_t check_bytes(struct real_network *f, double bits)
{
	struct bitshed_error e = {};
	uint64_t expected = test_network_plane_bytes(f->network, bits), is;

	real_network_must(bitshed_set_bits(f->bus, "net", bits, &e), &e);
	is = settled_bytes(f->daemon);
	printf("%g bits: %lu bytes of planes in memory, %lu by parameters * bits / 8\n", bits,
		(unsigned long) is, (unsigned long) expected);
	CU_ASSERT_TRUE((double) is <= 1.15 * (double) expected);
	CU_ASSERT_TRUE((double) is >= 0.85 * (double) expected);
	return is;
}

static void test_memory_falls_while_clients_run(void)
{
	pthread_t threads[CLIENTS];
	struct real_network f = {};
	uint64_t eight, four, two;
	void *failed;

	printf("\n");
	real_network_init(&f, NULL);
	for (int i = 0; i < CLIENTS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, client_thread, &f), 0);
	eight = check_bytes(&f, 8);
	four = check_bytes(&f, 4);
	two = check_bytes(&f, 2);
	CU_ASSERT_TRUE(two < four && four < eight);
	CU_ASSERT_EQUAL(check_bytes(&f, 8), eight);
	atomic_store(&stop, true);
	for (int i = 0; i < CLIENTS; i++) {
		CU_ASSERT_EQUAL(pthread_join(threads[i], &failed), 0);
		CU_ASSERT_PTR_NULL(failed);
	}
	CU_ASSERT_EQUAL(atomic_load(&n_failed), 0);
	real_network_done(&f);
}

TEST_MAIN("real_network", TEST(answers_are_those_of_evaluate), TEST(memory_falls_while_clients_run))
