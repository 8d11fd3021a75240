/* SPDX-License-Identifier: Apache-2.0 */
/* The weights that a model computes with, back in the fp32 graph: what they cost without 8-bit activations. */
#pragma once

#include "convert/export.h"

/**
 * decode_weights() - overwrite weights and biases of @net with those of @m
 * @net: a copy of the net that @e came from
 * @m: a model of @e's file, at any width
 *
 * Return: 0 or -ENOMEM.
 */
int decode_weights(struct net *net, const struct export *e, const struct model *m);
