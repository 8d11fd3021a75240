/* SPDX-License-Identifier: Apache-2.0 */
/* peer_bitshed MODEL BITS THREADS [convolutions]: whole runs, or only what their matrix products take. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "engine/exec.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "peer.h"

struct subject {
	struct plan *plan;
	struct workspace workspace;
	struct threads *threads;
	float *input, *output;
	bool convolutions;
};

static uint64_t run(void *userdata)
{
	struct subject *s = userdata;
	uint64_t begin = peer_now(), sum = 0;

	if (!s->convolutions) {
		(void) exec_run(s->plan, &s->workspace, s->threads, INPUT_FLOATS, s->input, s->output);
		return peer_now() - begin;
	}
	for (uint32_t i = 0; i < s->plan->n_steps; i++) {
		enum op_kind kind = s->plan->steps[i].op->kind;

		begin = peer_now();
		(void) exec_step(s->plan, &s->workspace, s->threads, INPUT_FLOATS, s->input, i);
		if (kind == OP_CONVOLUTION || kind == OP_DEPTHWISE)
			sum += peer_now() - begin;
	}
	return sum;
}

static int prepare(struct subject *s, char **argv, struct error *e)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *m = NULL;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = network_open(&n, fd, e);
	(void) close(fd);
	if (r >= 0)
		r = model_build(&m, n, strtod(argv[2], NULL), e);
	if (r >= 0)
		r = plan_new(&s->plan, m, cpu_flags(), e);
	if (r >= 0)
		r = threads_new(&s->threads, (uint32_t) atoi(argv[3]));
	if (r >= 0)
		r = workspace_reserve(&s->workspace, s->plan, threads_count(s->threads));
	if (r < 0)
		return r;
	s->input = calloc(1, s->plan->input_floats_bytes);
	s->output = calloc(1, s->plan->output_bytes);
	if (!s->input || !s->output)
		return -ENOMEM;
	for (size_t i = 0; i < s->plan->input_floats_bytes / sizeof *s->input; i++)
		s->input[i] = (float) (i * 7919 % 257) / 64.0f - 2.0f;
	return 0;
}

int main(int argc, char **argv)
{
	struct subject s = {.convolutions = argc > 4 && strcmp(argv[4], "convolutions") == 0};
	struct error e = {};
	int r = argc < 4 ? -EINVAL : prepare(&s, argv, &e);

	if (r < 0)
		fprintf(stderr, "peer_bitshed: %s\n", error_text(&e, r));
	else
		peer_serve(run, &s);
	free(s.output);
	free(s.input);
	workspace_done(&s.workspace);
	(void) threads_free(s.threads);
	(void) plan_unref(s.plan);
	return r < 0;
}
