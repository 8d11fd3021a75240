/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels without a plane: an average of less than a bit for each weight (ALQ's groups that lose their last base,
 * methods A5). A channel that one convolution makes and only convolutions read is left out with the row that makes
 * it and the columns that read it; those get its mean as a bias. Nothing of it is stored or run.
 */
#pragma once

#include "convert/calibrate.h"

/**
 * prune_net() - leave out the channels that matter least, until @keep of all weights are left
 * @net: folded; in place, nodes and values keep their numbers
 * @c: of @net, with samples; of values that lost channels it says nothing any more
 * @keep: 0 to 1
 *
 * A channel matters by the part of its matrix' input energy, after the weights that read it, per weight that it
 * takes. A quarter of the channels of each value stays, eight at least.
 *
 * Return: 0; -ERANGE with words when there are not enough such channels, and @net is changed; -ENOMEM.
 */
int prune_net(struct net *net, const struct calibration *c, double keep, struct error *reterr);
