/* SPDX-License-Identifier: Apache-2.0 */
/* A training run: graph, method, data, optimiser and checkpoints put together. */
#pragma once

#include "convert/progress.h"
#include "convert/train/loader.h"
#include "convert/train/loss.h"
#include "convert/train/method.h"
#include "convert/train/teachers.h"

/**
 * struct train_options - of a run
 * @planes: the widest width
 * @edge_planes: 0: the first and last matrix are trained like the others
 * @average: bits of an average weight, for methods that choose; 0: not said
 * @activation_bits: of what trained matrices read; 0: eight, which training does not look at
 * @scratch: start from drawn weights
 * @recalibrate: batches over which the running statistics are taken anew at the end
 * @save_seconds: between checkpoints
 * @log: CSV, appended to; NULL: none
 * @teacher: a network that is asked besides the one that is trained; NULL: none
 */
struct train_options {
	const struct train_method *method;
	struct optimise optimise;
	struct loss loss;
	uint32_t planes, edge_planes, activation_bits, epochs, batch, recalibrate, save_seconds, threads;
	bool scratch;
	float average;
	uint64_t seed;
	const char *checkpoint, *log;
	const struct progress *progress;
	const struct net *teacher;
};

/**
 * struct trainer - during and after a run
 * @folded: the net as imported; @rounded: with rounded activations; @net: as it is trained
 * @layers: [graph->n_matrices]
 * @moment: where we are
 * @counters: kept in checkpoints: @turn: the step with which the turn of the width under way began; @settled: widths
 *	before it
 */
struct trainer {
	const struct net *folded;
	const struct train_options *options;
	struct loader *data;
	struct net *net, *rounded;
	struct train_graph *graph;
	struct teachers teachers;
	struct train_store store;
	struct train_layer *layers;
	uint32_t n_layers, widths;
	bool *single;
	int32_t *labels;
	struct train_moment moment;
	struct train_counters {
		uint64_t step, turn;
		uint32_t settled;
		struct loss_sum epoch[BITS_PLANES_MAX];
		double seconds;
	} counters;
	uint64_t started_nsec, saved_nsec;
	int log_fd;
};

/**
 * trainer_new() - make ready, or take up the checkpoint when there is one
 * @folded, @data, @options: must outlive the trainer
 */
int trainer_new(struct trainer **ret, const struct net *folded, struct loader *data,
	const struct train_options *options, struct error *reterr);
struct trainer *trainer_free(struct trainer *t);
DEFINE_CLEANUP(struct trainer *, trainer_free)

/** trainer_run() - all steps that are left, then fresh statistics for the norms */
int trainer_run(struct trainer *t, struct error *reterr);

/** trainer_planes() - planes of the width whose set is @set */
static inline uint32_t trainer_planes(const struct trainer *t, uint32_t set)
{
	return t->widths > 1 ? set + 1 : t->options->planes;
}

/** trainer_accuracy() - percent of @data that width @set gets right by the training engine's own floats */
int trainer_accuracy(struct trainer *t, struct loader *data, uint32_t set, double *ret_percent,
	struct error *reterr);

/** trainer_select() - the graph computes at @set from now on, not in training mode */
void trainer_select(struct trainer *t, uint32_t set);
