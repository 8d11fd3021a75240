/* SPDX-License-Identifier: Apache-2.0 */
/* What the system lets this process use, and what fits into it. */
#include <math.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/control_group.h"
#include "service/memory.h"

/* Stacks, sockets and inodes, which a control group counts too. */
#define KERNEL_BYTES (UINT64_C(1) << 20)

/* Version 1 says this much where it means no limit. */
#define NO_LIMIT (UINT64_MAX / 4)

static bool read_number(const char *path, uint64_t *ret)
{
	FILE *f = fopen(path, "re");
	bool good = f && fscanf(f, "%" SCNu64, ret) == 1; /* not "max" */

	if (f)
		(void) fclose(f);
	return good;
}

static void take_limit(void *userdata, const char *folder)
{
	uint64_t *lowest = userdata, limit;
	char path[8256];

	(void) snprintf(path, sizeof path, "%s/memory.max", folder);
	if (!read_number(path, &limit)) {
		(void) snprintf(path, sizeof path, "%s/memory.limit_in_bytes", folder);
		if (!read_number(path, &limit))
			return;
	}
	if (limit < NO_LIMIT)
		*lowest = MIN_OF(*lowest, limit);
}

static uint64_t group_limit(void)
{
	uint64_t lowest = UINT64_MAX;

	control_group_visit("", "memory", take_limit, &lowest);
	return lowest;
}

/*
 * @own: what a control group counts and nobody shares; @mapped: what the address space counts. How
 * much of shared memory is resident is not asked: it counts for us though we have not touched it.
 */
static void read_usage(uint64_t *own, uint64_t *mapped)
{
	char line[256];
	uint64_t kib;
	FILE *f = fopen("/proc/self/status", "re");

	*own = *mapped = 0;
	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "VmSize: %" SCNu64, &kib) == 1)
			*mapped = kib * 1024;
		else if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1 ||
			 sscanf(line, "VmPTE: %" SCNu64, &kib) == 1)
			*own += kib * 1024;
	}
	if (f)
		(void) fclose(f);
}

void memory_room_read(struct memory_room *ret, uint64_t shared_bytes)
{
	uint64_t group = group_limit(), space, own, mapped;
	struct rlimit limit;

	read_usage(&own, &mapped);
	own += KERNEL_BYTES;
	mapped -= MIN_OF(mapped, shared_bytes);
	space = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
			? limit.rlim_cur
			: UINT64_MAX;
	*ret = (struct memory_room){group, own, "the control group's memory"};
	if (space == UINT64_MAX)
		return;
	if (group == UINT64_MAX ||
		space - MIN_OF(space, mapped) < group - MIN_OF(group, own))
		*ret = (struct memory_room){space, mapped, "the address space"};
}

uint64_t memory_model_bytes(const struct network *n, double bits)
{
	uint64_t bytes = n->fixed_bytes;
	double left = fmin(bits, n->planes_max);

	for (uint32_t i = 0; i < n->planes_max && left > 0; i++, left -= 1)
		bytes += left >= 1 ? n->plane_bytes[i]
				   : (uint64_t) (left * (double) n->plane_bytes[i]);
	return bytes;
}

static uint64_t all_bytes(const struct memory_want *wants, uint32_t n)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n; i++)
		bytes += memory_model_bytes(wants[i].network, wants[i].bits);
	return bytes;
}

/* The widest can bear it best; of two, the one whose plane gives more. */
static struct memory_want *widest(struct memory_want *wants, uint32_t n)
{
	struct memory_want *best = NULL;

	for (uint32_t i = 0; i < n; i++) {
		struct memory_want *w = &wants[i];

		if (w->bits <= 1)
			continue;
		if (!best || w->bits > best->bits ||
			(w->bits >= best->bits &&
				w->network->plane_bytes[0] > best->network->plane_bytes[0]))
			best = w;
	}
	return best;
}

bool memory_fit(struct memory_want *wants, uint32_t n, uint64_t bytes)
{
	struct memory_want *w;

	for (uint32_t i = 0; i < n; i++)
		wants[i].bits = wants[i].wanted;
	while (all_bytes(wants, n) > bytes) {
		w = widest(wants, n);
		if (!w)
			return false;
		w->bits = fmax(1, ceil(w->bits) - 1);
	}
	return true;
}
