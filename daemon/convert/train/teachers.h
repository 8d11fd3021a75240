/* SPDX-License-Identifier: Apache-2.0 */
/* Who says what a network in training should answer: the mean of one or more full-precision networks. */
#pragma once

#include "convert/train/graph.h"

#define TEACHERS_MAX 2

/**
 * struct teachers
 * @inputs, @classes: elements of a sample
 * @answers: [batch][classes], the mean of their logits
 */
struct teachers {
	struct train_graph *graphs[TEACHERS_MAX];
	uint32_t n;
	size_t inputs, classes;
	float *answers;
};

/**
 * teachers_init() - so far without any; all zero before
 * @like: the network that learns: teachers read and answer what it does
 */
int teachers_init(struct teachers *t, const struct net *like, uint32_t batch);
void teachers_done(struct teachers *t);

/**
 * teachers_add() - one more, of TEACHERS_MAX
 *
 * Return: 0; -EINVAL for one of other sizes; or what train_graph_new() returns.
 */
int teachers_add(struct teachers *t, const struct net *net, uint32_t batch, struct error *reterr);

/** teachers_ask() - fill in the answers to @input, [batch][inputs] */
int teachers_ask(struct teachers *t, const float *input, struct error *reterr);
