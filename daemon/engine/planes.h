/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes in memory: one sealed memfd each, mapped read-only, counted. The last reference closes the
 * memfd, and the memory is the system's again. A store belongs to one network and knows which planes
 * are alive, so two models of a network share them.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct network;
struct plane_store;

/**
 * struct plane - immutable, counted
 * @index: 0 = most significant; PLANE_FIXED for the planes that are never shed
 * @matrix_word: [network->n_matrices], where each matrix begins in @words, in words; UINT64_MAX when this
 *	plane leaves the matrix out: at an average width the last plane holds just the matrices that use it
 */
struct plane {
	atomic_uint refs;
	struct plane_store *store;
	uint32_t index;
	int fd;
	const uint64_t *words;
	size_t bytes;
	uint64_t *matrix_word;
};

#define PLANE_FIXED UINT32_MAX

/**
 * plane_acquire() - a reference to a plane, read from the file when nobody has it yet
 * @used: [n_matrices], which matrices need it; NULL for all. Only a living plane with the same matrices
 *	is shared: a whole plane in place of a part would keep memory that the width does not need.
 *
 * A plane that is read whole is checked against its CRC-32 in the file.
 * Return: 0; -EBADMSG when the checksum differs; -ENOMEM; an errno of reading. Any thread.
 */
int plane_acquire(struct plane **ret, struct network *network, uint32_t index, const bool *used,
	struct error *reterr);

/** plane_unref() - the last reference unmaps and closes; the network must still be alive. Any thread. */
struct plane *plane_unref(struct plane *p);

/**
 * plane_layout() - which matrices a plane has and where, as one number to compare
 */
uint32_t plane_layout(const struct plane *p, const struct network *network);

/**
 * plane_offer() - a memfd of an earlier process to take instead of reading the file
 * @fd: taken in any case; used by the first plane_acquire() of the same index, @bytes and @layout
 *
 * Return: 0; -EPERM when it is not sealed or not of this size; -ENOMEM. Any thread.
 */
int plane_offer(struct network *network, uint32_t index, uint32_t layout, size_t bytes, int fd);

/** plane_offers_drop() - close what nobody wanted. Return: how many there were */
uint32_t plane_offers_drop(struct network *network);

/** plane_store_new() - an empty store; its network frees it when all planes are gone */
struct plane_store *plane_store_new(void);
struct plane_store *plane_store_free(struct plane_store *s);
