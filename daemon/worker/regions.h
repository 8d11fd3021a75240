/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that tensors of requests lie in, by the daemon's numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "worker/protocol.h"

struct region_map {
	uint64_t id;
	uint8_t *map;
	size_t bytes;
};

/** struct regions - @own: read and written; @sessions: [n], read only */
struct regions {
	struct region_map own, sessions[WORKER_REGIONS];
	uint32_t n;
};

/** regions_take() - map a region. Return: 0; -EPROTO when it is not what the record says; another errno of mmap() */
int regions_take(struct regions *r, const struct worker_region *record, int fd);

/** regions_forget() - one that is not there is fine */
void regions_forget(struct regions *r, uint64_t id);
void regions_done(struct regions *r);

/** regions_at() - Return: @bytes of a region from @at; NULL when they do not lie inside or in order */
uint8_t *regions_at(const struct regions *r, uint64_t id, uint64_t at, uint64_t bytes);
