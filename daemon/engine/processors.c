/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/processors.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/control_group.h"

/* Of a Cortex-A72 or A76 system the small ones have 0.45 to 0.55; what differs by clock alone has more than 0.8. */
#define LARGE(capacity, most) ((uint64_t) (capacity) * 3 >= (uint64_t) (most) * 2)

static int open_number(const char *folder, const char *file, FILE **ret)
{
	char path[2 * PATH_MAX];

	(void) snprintf(path, sizeof path, "%s/%s", folder, file);
	*ret = fopen(path, "re");
	return *ret ? 0 : -1;
}

static bool read_number(const char *folder, const char *file, int64_t *ret)
{
	FILE *f;
	bool good;

	if (open_number(folder, file, &f) < 0)
		return false;
	good = fscanf(f, "%" SCNd64, ret) == 1;
	(void) fclose(f);
	return good;
}

/* Return: false where the kernel does not say, as on most that have one kind */
static bool read_capacity(const char *root, uint32_t cpu, uint32_t *ret)
{
	char folder[PATH_MAX];
	int64_t capacity;

	(void) snprintf(folder, sizeof folder, "%s/sys/devices/system/cpu/cpu%u", root, cpu);
	if (!read_number(folder, "cpu_capacity", &capacity) || capacity <= 0 || capacity > UINT32_MAX)
		return false;
	*ret = (uint32_t) capacity;
	return true;
}

void processors_large(const char *root, const cpu_set_t *allowed, cpu_set_t *ret)
{
	uint32_t capacity[CPU_SETSIZE], most = 0;

	*ret = *allowed;
	for (uint32_t i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, allowed))
			continue;
		if (!read_capacity(root, i, &capacity[i]))
			return;
		most = MAX_OF(most, capacity[i]);
	}
	for (uint32_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, allowed) && !LARGE(capacity[i], most))
			CPU_CLR(i, ret);
}

/* "max 100000", "150000 100000" of version 2; of version 1 two files, -1 for no limit. */
static bool read_quota(const char *folder, int64_t *quota, int64_t *period)
{
	FILE *f;
	bool good;

	if (open_number(folder, "cpu.max", &f) < 0)
		return read_number(folder, "cpu.cfs_quota_us", quota) &&
		       read_number(folder, "cpu.cfs_period_us", period);
	good = fscanf(f, "%" SCNd64 " %" SCNd64, quota, period) == 2;
	(void) fclose(f);
	return good;
}

static void take_quota(void *userdata, const char *folder)
{
	uint32_t *least = userdata;
	int64_t quota, period, processors;

	if (!read_quota(folder, &quota, &period) || quota <= 0 || period <= 0)
		return;
	processors = quota / period + (quota % period != 0);
	*least = (uint32_t) MIN_OF(processors, (int64_t) *least);
}

uint32_t processors_worth(const char *root, const cpu_set_t *allowed)
{
	cpu_set_t large;
	uint32_t n;

	processors_large(root, allowed, &large);
	n = (uint32_t) CPU_COUNT(&large);

	control_group_visit(root, "cpu", take_quota, &n);
	return MAX_OF(n, 1);
}
