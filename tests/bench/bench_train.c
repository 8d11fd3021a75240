/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the convolutions' own speed a training step keeps:
 *
 *	bench_train NET.onnx [BATCH [ROUNDS]]
 *
 * The best of some rounds of a whole step (forward, loss, backward) beside the best of each convolution's
 * three calls alone, on the same memory, in processor time: run it with OMP_NUM_THREADS=1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "convert/import.h"
#include "convert/train/loader.h"
#include "convert/train/loss.h"
#include "convert/train/op.h"
#include "convert/train/prepare.h"

static uint64_t processor_nsec(void)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static double best_call(struct train_graph *g, const struct dnn_call *c, int rounds)
{
	double best = 1e9;

	for (int i = 0; c->primitive && i < rounds; i++) {
		uint64_t start = processor_nsec();
		double seconds;

		(void) dnn_call_run(c, &g->dnn, NULL);
		(void) dnnl_stream_wait(g->dnn.stream);
		seconds = (double) (processor_nsec() - start) * 1e-9;
		best = seconds < best ? seconds : best;
	}
	return c->primitive ? best : 0;
}

static double convolutions(struct train_graph *g, int rounds)
{
	double sum = 0;

	for (uint32_t i = 0; i < g->n_ops; i++) {
		const struct train_op *op = &g->ops[i];

		if (op->class == &train_op_convolution)
			sum += best_call(g, &op->forward, rounds) + best_call(g, &op->backward, rounds) +
				best_call(g, &op->backward_weights, rounds);
	}
	return sum;
}

static double best_step(struct train_graph *g, int32_t *labels, int rounds)
{
	struct train_value *out = train_graph_output(g);
	double best = 1e9;

	for (int i = 0; i < rounds; i++) {
		uint64_t start = processor_nsec();
		double seconds;

		(void) train_graph_forward(g, NULL);
		loss_gradient(&(struct loss){.temperature = 1}, out->data, NULL, labels, g->batch,
			(uint32_t) out->elements, 1, out->grad, &(struct loss_sum){});
		(void) train_graph_backward(g, NULL);
		seconds = (double) (processor_nsec() - start) * 1e-9;
		best = seconds < best ? seconds : best;
	}
	return best;
}

int main(int argc, char **argv)
{
	_cleanup_(net_freep) struct net *folded = NULL, *net = NULL;
	_cleanup_(train_graph_freep) struct train_graph *g = NULL;
	_cleanup_free_ int32_t *labels = NULL;
	uint32_t batch = argc > 2 ? (uint32_t) atoi(argv[2]) : 128;
	int rounds = argc > 3 ? atoi(argv[3]) : 8, r;
	struct error e = {};
	double step, alone;

	if (argc < 2) {
		printf("bench_train NET.onnx [BATCH [ROUNDS]]\n");
		return 77;
	}
	r = import_net(&folded, argv[1], &e);
	if (r >= 0)
		r = prepare_net(&net, folded);
	if (r >= 0)
		r = train_graph_new(&g, net, batch, 1, NULL, true, &e);
	labels = calloc(batch, sizeof *labels);
	if (r < 0 || !labels) {
		fprintf(stderr, "%s\n", error_text(&e, r));
		return 1;
	}
	g->training = true;
	for (size_t i = 0; i < batch * g->values[net->input].elements; i++)
		train_graph_input(g)[i] = (float) (draw_u64(1, i) % 1000) / 500 - 1;
	step = best_step(g, labels, rounds);
	alone = convolutions(g, rounds);
	printf("step of %u: %.1f ms, its convolutions alone %.1f ms: %.0f %% of their rate\n", batch, 1e3 * step,
		1e3 * alone, 100 * alone / step);
	return 0;
}
