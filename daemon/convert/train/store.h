/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that training changes: parameters, which the optimiser moves, and blocks, which others move.
 * Together they are the state of a run: a checkpoint is all of them (checkpoint.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/**
 * struct train_param - floats that follow a gradient
 * @decay: whether weight decay acts on it; @rate: factor of the learning rate
 * @frozen: stays as it is
 * @settles: how many widths have settled when it is frozen for good (struct train_moment); 0: it never is
 * @mask: [n] 0 where an element stays as it is; NULL: all move
 * @first, @second, @largest: moments of the optimiser
 */
struct train_param {
	float *value, *grad, *first, *second, *largest;
	const uint8_t *mask;
	size_t n;
	float rate;
	uint32_t settles;
	bool decay, frozen;
};

struct train_block {
	void *data;
	size_t bytes;
};

/**
 * struct train_store - values and gradients are owned by who added them
 */
struct train_store {
	struct train_param *params;
	struct train_block *blocks;
	uint32_t n_params, n_blocks;
};

void train_store_done(struct train_store *s);

/** train_store_param() - Return: its index or -ENOMEM. Pointers to params are stale after the next one */
int train_store_param(struct train_store *s, float *value, float *grad, size_t n, bool decay, float rate);

/** train_store_block() - Return: 0 or -ENOMEM */
int train_store_block(struct train_store *s, void *data, size_t bytes);

/** train_store_clear() - all gradients to zero */
void train_store_clear(struct train_store *s);
