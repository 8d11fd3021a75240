/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void arena_init(struct arena *a, size_t bytes)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	uint8_t *map;

	a->bytes = (bytes + page - 1) / page * page;
	map = mmap(NULL, a->bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || mprotect(map + page, a->bytes, PROT_READ | PROT_WRITE) < 0) {
		perror("arena");
		exit(1);
	}
	a->begin = map + page;
}

void arena_done(struct arena *a)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);

	(void) munmap(a->begin - page, a->bytes + 2 * page);
}

void *arena_buffer(struct arena *a, size_t bytes, size_t align, bool at_end)
{
	size_t room = (bytes + align - 1) & ~(align - 1);
	uint8_t *p;

	if (room > a->bytes) {
		fprintf(stderr, "arena: %zu bytes asked of %zu\n", room, a->bytes);
		exit(1);
	}
	p = at_end ? a->begin + a->bytes - room : a->begin;
	memset(p + bytes, ARENA_CANARY, room - bytes);
	if (!at_end && room + 64 <= a->bytes)
		memset(p + room, ARENA_CANARY, 64);
	return p;
}

bool arena_intact(const struct arena *a, const void *p, size_t bytes)
{
	const uint8_t *behind = (const uint8_t *) p + bytes, *end = a->begin + a->bytes;

	for (size_t i = 0; i < 64 && behind + i < end; i++) {
		/* the slack of the alignment ends at a multiple of it, or at the 64 bytes behind */
		if (behind[i] != ARENA_CANARY)
			return false;
	}
	return true;
}

static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

uint64_t random_u64(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * UINT64_C(0x2545f4914f6cdd1d);
}

uint32_t random_u32(void)
{
	return (uint32_t) (random_u64() >> 32);
}

uint32_t random_below(uint32_t limit)
{
	return (uint32_t) ((uint64_t) random_u32() * limit >> 32);
}

void fill_bytes(uint8_t *p, size_t n, enum fill fill, uint8_t max)
{
	for (size_t i = 0; i < n; i++)
		p[i] = fill == FILL_ZEROS  ? 0 :
		       fill == FILL_ONES   ? max :
		       fill == FILL_LAST   ? (i + 1 == n ? max : 0) :
					     (uint8_t) random_below((uint32_t) max + 1);
}
