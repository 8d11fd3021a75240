/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cross-layer equalisation (methods C6.1): a channel between two matrices may have any scale, as long as
 * the rows that make it and the columns that read it agree. Channels of one value share one scale of eight
 * bits; made equally wide, each has all of them.
 */
#pragma once

#include "convert/calibrate.h"
#include "convert/net.h"

/**
 * equalise_net() - scale the channels of every value that only matrices read
 * @net: folded; computes the same afterwards, up to rounding
 * @c: statistics of @net, void afterwards; without samples, or NULL: from the weights alone
 *
 * Followed are ReLU, pools, padding, slices, flattening and concatenation of channels. Sums, and clips
 * above, leave a value as it is.
 *
 * Return: how many values were scaled; -ENOMEM.
 */
int equalise_net(struct net *net, const struct calibration *c);
