/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Planes of all models have to fit into what the process may use: the limit of its control groups,
 * of its address space, or one that the operator has set. What does not fit is shed before anybody is
 * killed for it: planes of the widest models first, then idle models whole, then loads are refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/model.h"

struct entry;
struct manager;

/**
 * struct memory_room - of the tightest limit there is
 * @limit_bytes: UINT64_MAX: there is none; @rest_bytes: what this process needs of it beside memory
 *	that is shared with others; @by: words for the limit
 */
struct memory_room {
	uint64_t limit_bytes, rest_bytes;
	const char *by;
};

/** memory_room_read() - as the system says now. @shared_bytes: of planes and sessions. Any thread. */
void memory_room_read(struct memory_room *ret, uint64_t shared_bytes);

/** memory_model_bytes() - planes of @network at a width, in memory */
uint64_t memory_model_bytes(const struct network *network, double bits);

/** struct memory_want - a model and what it would have; @bits: what fits of it */
struct memory_want {
	const struct network *network;
	double wanted, bits;
};

/**
 * memory_fit() - pure: the widest widths that fit, taken from the widest first
 *
 * Return: true; false when not even one bit of each fits: all have that then.
 */
bool memory_fit(struct memory_want *wants, uint32_t n, uint64_t bytes);

/** memory_settle() - decide what fits now, and have planes shed or taken back where that has changed */
void memory_settle(struct manager *m);

/**
 * memory_admit() - make room for a model that is being loaded or woken, network open
 *
 * Return: 0; -ENOMEM with numbers when there is none for one bit of it.
 */
int memory_admit(struct entry *e, struct error *reterr);

/** memory_check_load() - may a file of @bytes be loaded at all? Return: 0; -ENOMEM with numbers */
int memory_check_load(struct manager *m, uint64_t bytes, struct error *reterr);
