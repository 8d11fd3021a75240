/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many inferences through shared memory: session MODEL < raw-inputs
 *
 * Reads input after input from standard input, keeps four on their way, and prints the index of the
 * largest output of each, in order.
 *
 *	cc session.c $(pkg-config --cflags --libs libbitshed) -o session
 */
#include <bitshed/bitshed.h>

#include <stdio.h>
#include <stdlib.h>

#define SLOTS 4

struct run {
	struct bitshed_session *session;
	size_t input_bytes, output_count;
	uint64_t submitted, answered;
	long *answers; /* by cookie */
};

static size_t largest(const float *v, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (v[i] > v[best])
			best = i;
	return best;
}

/* Takes one answer; its slot is free again. Return: the slot, or negative. */
static int take_answer(struct run *run, struct bitshed_error *e)
{
	struct bitshed_result result;
	int r = bitshed_session_wait(run->session, -1, &result, e);

	if (r < 0)
		return r;
	run->answers[result.cookie] = (long) largest(
		bitshed_session_output(run->session, result.slot), run->output_count);
	run->answered++;
	return (int) result.slot;
}

/* The cookie says which input it was: answers may come in another order. */
static int submit(struct run *run, uint32_t slot, struct bitshed_error *e)
{
	long *more = realloc(run->answers, (run->submitted + 1) * sizeof *more);

	if (!more)
		return -1;
	run->answers = more;
	return bitshed_session_submit(run->session, slot, NULL, run->submitted++, e);
}

static int pump(struct run *run, struct bitshed_error *e)
{
	int r = 0;

	for (;;) {
		uint32_t slot = (uint32_t) run->submitted;

		if (run->submitted >= SLOTS) {
			r = take_answer(run, e);
			if (r < 0)
				return r;
			slot = (uint32_t) r;
		}
		if (fread(bitshed_session_input(run->session, slot), 1, run->input_bytes, stdin) !=
			run->input_bytes)
			break;
		r = submit(run, slot, e);
		if (r < 0)
			return r;
	}
	while (run->answered < run->submitted && r >= 0)
		r = take_answer(run, e);
	return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
	struct bitshed *bus = NULL;
	struct bitshed_error e = {"", ""};
	struct run run = {NULL, 0, 0, 0, 0, NULL};
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: session MODEL < raw-inputs\n");
		return 2;
	}
	r = bitshed_open(&bus, NULL, &e);
	if (r >= 0)
		r = bitshed_session_open(&run.session, bus, argv[1], SLOTS, &e);
	if (r >= 0) {
		run.input_bytes = bitshed_session_input_bytes(run.session, BITSHED_INPUT_DEFAULT);
		run.output_count = bitshed_session_output_count(run.session);
		r = pump(&run, &e);
	}
	for (uint64_t i = 0; r >= 0 && i < run.submitted; i++)
		printf("%ld\n", run.answers[i]);
	if (r < 0)
		fprintf(stderr, "session: %s\n", e.text);
	bitshed_session_close(run.session);
	bitshed_close(bus);
	free(run.answers);
	return r < 0;
}
