/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transform quantization (methods B1; Young, Zhe, Taubman and Girod, TPAMI 2021): a convolution with weights W,
 * [n][columns], becomes two, W = S T:
 *
 *	T	the weights in a basis in which their rows have nothing in common, in blocks by energy
 *	S	the basis, a convolution of 1x1, with the bias
 *
 * KLT: rows of U^T W, U the eigenvectors of the covariance C = W W^T / columns, S = U. ELT: with the covariance G of
 * the gradients of the network's output, G = L L^T, L^T C L = V Lambda V^T, T = (L V)^T W, S = L^-T V: errors of T then
 * cost the output alike. Either way row k holds the part lambda_k of what the output sees.
 *
 * Each block is a matrix with its own planes, so that what an import spends by measured sensitivities
 * (--average-bits) is the method's allocation of bits by rate and distortion. Rows that get no bit at all at the
 * wanted rate, by water filling over lambda, are dropped with their columns of S: an average below one bit.
 */
#pragma once

#include "convert/net.h"

enum transform_kind {
	TRANSFORM_NONE,
	TRANSFORM_KLT,
	TRANSFORM_ELT,
};

/** transform_find() - "klt", "elt". Return: its kind, TRANSFORM_NONE when there is none of that name */
enum transform_kind transform_find(const char *name);

/** transform_name() - of a kind but TRANSFORM_NONE */
const char *transform_name(enum transform_kind kind);

/** transform_serves() - Return: whether node @node is a convolution that gains: not the first or last matrix, no
 * groups, and the basis is at most a quarter of its weights */
bool transform_serves(const struct net *net, uint32_t node);

/**
 * transform_net() - every convolution that transform_serves() names
 * @net: folded; computes the same afterwards, up to rounding and what was dropped
 * @gradients: [n_nodes], covariance G of node's rows, [outputs][outputs], or NULL: KLT
 * @bits: bits for each weight that there was, by which rows are dropped; 0: all stay
 *
 * Return: how many were split; -ENOMEM.
 */
int transform_net(struct net *net, double *const *gradients, double bits);
