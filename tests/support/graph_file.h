/* SPDX-License-Identifier: Apache-2.0 */
/* A graph as a model file, for daemons. */
#pragma once

#include "support/graph.h"

/**
 * graph_memfd() - the file of a plain graph: sum coding, groups of 128 columns, every plane to be shed
 *
 * The graph is done with after that: its matrices have other groups now. Stops the program when memory is
 * short. Return: a memfd, owned by the caller.
 */
int graph_memfd(struct graph *g);
