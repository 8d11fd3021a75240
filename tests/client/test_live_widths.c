/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The width of a real network goes up and down while clients ask: every answer is, to the bit, what
 * bitshed-model evaluate computes at the width that the answer says it had, and each width has answered
 * every picture in the end, so that the accuracies printed are those of evaluate, live.
 * BITSHED_TEST_NETWORK=FILE.gguf asks a file for CIFAR-10's pixels that is there, a trained one for instance.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "client/real_network.h"
#include "engine/lower.h"
#include "support/bus.h"
#include "support/test.h"

#define CLIENTS 2
#define SECONDS_MAX 200

static const double widths_tried[] = {8, 4, 3, 2.5, 2, 1};

#define WIDTHS ARRAY_SIZE(widths_tried)

/**
 * struct width - one that the file has
 * @asked: what SetBits is given; 2.5 becomes @bits, the nearest average that the matrices can have
 * @expected: what evaluate says
 * @seen: [count] this picture was answered at this width
 * @unseen: how many were not
 */
struct width {
	double asked, bits;
	struct outputs expected;
	atomic_bool *seen;
	atomic_uint unseen;
};

/**
 * struct load - what the clients share
 * @n_wrong: answers that differ from evaluate's, or say a width that nobody asked for
 */
struct load {
	struct real_network net;
	struct width widths[WIDTHS];
	size_t n_widths;
	atomic_bool stop;
	atomic_uint n_answers, n_wrong;
};

static void expect_width(struct load *l, double bits)
{
	_cleanup_(model_unrefp) struct model *model = NULL;
	struct width *w = &l->widths[l->n_widths++];
	struct error e = {};

	CU_ASSERT_EQUAL_FATAL(model_build(&model, l->net.network, bits, &e), 0);
	CU_ASSERT_EQUAL_FATAL(evaluate_outputs(&w->expected, model, &l->net.samples, l->net.count, NULL, NULL, &e), 0);
	w->asked = bits;
	w->bits = model->bits;
	w->seen = calloc(l->net.count, sizeof *w->seen);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->seen);
	atomic_store(&w->unseen, l->net.count);
}

static struct width *width_of(struct load *l, double bits)
{
	for (size_t i = 0; i < l->n_widths; i++)
		if (fabs(l->widths[i].bits - bits) < 1e-6)
			return &l->widths[i];
	return NULL;
}

/* Return: the width that answered, NULL when the answer is wrong. */
static struct width *check_answer(struct load *l, uint32_t picture, double bits, const float *output)
{
	struct width *w = width_of(l, bits);
	size_t classes = w ? w->expected.classes : 0;

	atomic_fetch_add(&l->n_answers, 1);
	if (!w || memcmp(output, w->expected.values + picture * classes, classes * sizeof *output)) {
		atomic_fetch_add(&l->n_wrong, 1);
		return NULL;
	}
	if (!atomic_exchange(&w->seen[picture], true))
		atomic_fetch_sub(&w->unseen, 1);
	return w;
}

/* The next picture that the width of the last answer has not seen; any when it has seen all. */
static uint32_t next_picture(const struct load *l, const struct width *w, uint32_t picture)
{
	for (uint32_t i = 1; w && i < l->net.count; i++)
		if (!atomic_load(&w->seen[(picture + i) % l->net.count]))
			return (picture + i) % l->net.count;
	return (picture + 1) % l->net.count;
}

static int ask(struct load *l, struct bitshed_session *s)
{
	struct bitshed_result result;
	const struct width *w = NULL;
	uint32_t picture = 0;
	int r = 0;

	while (r >= 0 && !atomic_load(&l->stop)) {
		/* The pixels come from a mapping of the file, which clients share. */
		r = dataset_pixels(l->net.data, picture, bitshed_session_input(s, 0));
		if (r >= 0)
			r = bitshed_session_infer(s, 0, NULL, &result, NULL);
		if (r < 0)
			break;
		w = check_answer(l, picture, result.bits, bitshed_session_output(s, 0));
		picture = next_picture(l, w, picture);
	}
	return r;
}

static void *client_thread(void *userdata)
{
	struct bitshed *b = NULL;
	struct bitshed_session *s = NULL;
	int r = real_network_session(&b, &s);

	if (r >= 0)
		r = ask(userdata, s);
	(void) bitshed_session_close(s);
	(void) bitshed_close(b);
	return r < 0 ? userdata : NULL;
}

static bool all_seen(const struct load *l)
{
	for (size_t i = 0; i < l->n_widths; i++)
		if (atomic_load(&l->widths[i].unseen))
			return false;
	return true;
}

/* Each width twice, and on until all have answered everything. Return: how many times the width changed. */
static unsigned int change_widths(struct load *l)
{
	struct bitshed_error e = {};
	unsigned int changes = 0, least = 2 * (unsigned int) l->n_widths;

	for (; (changes < least || !all_seen(l)) && changes < SECONDS_MAX * 50; changes++) {
		const struct width *w = &l->widths[changes % l->n_widths];

		real_network_must(bitshed_set_bits(l->net.bus, "net", w->asked, &e), &e);
		(void) usleep(20000);
	}
	atomic_store(&l->stop, true);
	return changes;
}

static void show(struct load *l, unsigned int changes)
{
	double top1, top5;

	printf("%u answers, %u changes of width, %u wrong\n", atomic_load(&l->n_answers), changes,
		atomic_load(&l->n_wrong));
	for (size_t i = 0; i < l->n_widths; i++) {
		(void) evaluate_accuracy(&l->widths[i].expected, &l->net.samples, 0, &top1, &top5);
		printf("%g bits: top-1 %.2f of %u, each answered live\n", l->widths[i].asked, top1, l->net.count);
	}
}

static void test_answers_have_the_accuracy_of_their_width(void)
{
	pthread_t threads[CLIENTS];
	struct load l = {};
	unsigned int changes;
	void *failed;

	printf("\n");
	real_network_init(&l.net, getenv("BITSHED_TEST_NETWORK"));
	for (size_t i = 0; i < WIDTHS; i++)
		if (widths_tried[i] <= l.net.network->planes_max)
			expect_width(&l, widths_tried[i]);
	for (int i = 0; i < CLIENTS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, client_thread, &l), 0);
	changes = change_widths(&l);
	for (int i = 0; i < CLIENTS; i++) {
		CU_ASSERT_EQUAL(pthread_join(threads[i], &failed), 0);
		CU_ASSERT_PTR_NULL(failed);
	}
	show(&l, changes);
	CU_ASSERT_TRUE(all_seen(&l));
	CU_ASSERT_EQUAL(atomic_load(&l.n_wrong), 0);
	for (size_t i = 0; i < l.n_widths; i++) {
		outputs_done(&l.widths[i].expected);
		free(l.widths[i].seen);
	}
	real_network_done(&l.net);
}

TEST_MAIN("live_widths", TEST(answers_have_the_accuracy_of_their_width))
