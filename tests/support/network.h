/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small networks out of drawn numbers, for tests that need a model file: they compute nothing useful but
 * have every part that a file can have.
 *
 *	input HxWx3 pixels -> convolution 3x3 (fixed) -> depthwise 3x3 -> convolution 3x3 (groups of 128)
 *	-> add -> max pool -> convolution 1x1 (level coding) -> average pool -> fully connected (fixed, f32)
 *	-> softmax over 10 classes
 */
#pragma once

#include "engine/model.h"

/**
 * struct test_network_options - zeros mean the default in brackets
 * @planes: of the matrices that are not fixed (4); fixed ones have 8
 * @size: height and width of the input (8), at least 2
 * @channels: of the inner layers (16)
 * @activation_bits: of the two inner convolutions (8); below 8 their inputs are clamped to fit
 * @offsets: sum coded matrices have offsets, so refits have them too
 * @alpha_widths: widths with scales of their own (0); at most planes - 1
 * @plain: no per-width corrections and no sensitivities
 */
struct test_network_options {
	uint32_t seed, planes, size, channels, activation_bits, alpha_widths;
	bool offsets, plain;
};

/** struct test_network - @planes: as model_write() wants them */
struct test_network {
	struct network *network;
	uint64_t ***planes;
};

/** test_network_make() - stops the program when memory is short */
void test_network_make(struct test_network *ret, const struct test_network_options *options);
void test_network_done(struct test_network *t);

/** test_network_memfd() - the file of such a network. Return: a memfd, owned by the caller */
int test_network_memfd(const struct test_network_options *options);

/** test_network_open() - made, written and read back. Return: one reference */
struct network *test_network_open(const struct test_network_options *options);

/** test_network_plane_bytes() - parameters * bits / 8; matrices that are fixed have their own bits */
uint64_t test_network_plane_bytes(const struct network *n, double bits);

/** test_random() - xorshift64*; @state must not be 0 */
uint64_t test_random(uint64_t *state);
