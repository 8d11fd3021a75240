/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Incremental quantization: weights of a layer gather in clusters, and whole clusters are set to their
 * centre and stay, while the others are trained on to make up for it.
 */
#pragma once

#include "convert/train/method.h"

#define CLUSTERS_MAX 256

/**
 * struct cluster - of one layer; own of methods that cluster
 * @centre: in the method's order, the first ones first to be frozen
 * @of: [rows * columns], the cluster of each weight
 * @mask: likewise, 0: frozen
 * @stage: how far the layer is
 */
struct cluster {
	struct cluster_state {
		uint32_t n, stage;
		float centre[CLUSTERS_MAX];
	} state;
	uint8_t *of, *mask;
};

/** cluster_init() - @n centres: 0, m, -m, m/2, -m/2, ..., m the power of two below the largest weight */
int cluster_init(struct train_layer *l, uint32_t n);
void cluster_done(struct train_layer *l);

/** cluster_assign() - each weight that is not frozen to the nearest centre */
void cluster_assign(struct train_layer *l);

/** cluster_means() - @rounds times { assign, centres from @first to the mean of what they have } */
void cluster_means(struct train_layer *l, uint32_t first, int rounds);

/** cluster_freeze() - weights of clusters @first to @end - 1 are their centre from now on */
void cluster_freeze(struct train_layer *l, uint32_t first, uint32_t end);

/** cluster_weights() - the weights as they are: what is frozen is quantized */
void cluster_weights(struct train_layer *l, uint32_t planes, float *hat);

/** cluster_codes() - level coding, one table for the layer */
int cluster_codes(struct train_layer *l, struct coded *ret, struct error *reterr);
