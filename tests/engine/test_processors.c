/* SPDX-License-Identifier: Apache-2.0 */
/* Boards and containers made up out of files: what goes in front of /proc and /sys is a folder. */
#include "engine/processors.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/test.h"

static char root[] = "/tmp/bitshed-processors-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void root_make(void)
{
	memcpy(root + sizeof root - 7, "XXXXXX", 6);
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
}

static void root_remove(void)
{
	CU_ASSERT_EQUAL(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void put(const char *file, const char *text)
{
	char path[512];
	FILE *f;

	(void) snprintf(path, sizeof path, "%s%s", root, file);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		CU_ASSERT_FATAL(mkdir(path, 0755) == 0 || errno == EEXIST);
		*p = '/';
	}
	f = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs(text, f);
	CU_ASSERT_EQUAL(fclose(f), 0);
}

static void put_capacity(uint32_t cpu, const char *text)
{
	char file[64];

	(void) snprintf(file, sizeof file, "/sys/devices/system/cpu/cpu%u/cpu_capacity", cpu);
	put(file, text);
}

static uint32_t worth(uint32_t first, uint32_t n)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (uint32_t i = 0; i < n; i++)
		CPU_SET(first + i, &set);
	return processors_worth(root, &set);
}

static void test_affinity_alone(void)
{
	root_make();
	CU_ASSERT_EQUAL(worth(0, 6), 6);
	CU_ASSERT_EQUAL(worth(5, 1), 1);
	CU_ASSERT_EQUAL(worth(1000, 4), 4);
	root_remove();
}

static void test_large_ones_count(void)
{
	root_make();
	for (uint32_t i = 0; i < 6; i++)
		put_capacity(i, i < 4 ? "485\n" : "1024\n");
	CU_ASSERT_EQUAL(worth(0, 6), 2);
	CU_ASSERT_EQUAL(worth(0, 4), 4); /* bound to the small ones */
	CU_ASSERT_EQUAL(worth(3, 2), 1);
	put_capacity(4, "880\n"); /* a little slower is not small */
	CU_ASSERT_EQUAL(worth(0, 6), 2);
	put_capacity(5, "nonsense\n");
	CU_ASSERT_EQUAL(worth(0, 6), 6);
	put_capacity(5, "-7\n");
	CU_ASSERT_EQUAL(worth(0, 6), 6);
	root_remove();
}

static void test_large_ones_are_told(void)
{
	cpu_set_t allowed, large;

	root_make();
	for (uint32_t i = 0; i < 6; i++)
		put_capacity(i, i < 4 ? "485\n" : "1024\n");
	CPU_ZERO(&allowed);
	for (uint32_t i = 2; i < 5; i++)
		CPU_SET(i, &allowed);
	processors_large(root, &allowed, &large);
	CU_ASSERT_EQUAL(CPU_COUNT(&large), 1);
	CU_ASSERT_TRUE(CPU_ISSET(4, &large));
	CPU_SET(6, &allowed); /* of which nothing is known */
	processors_large(root, &allowed, &large);
	CU_ASSERT_TRUE(CPU_EQUAL(&large, &allowed));
	root_remove();
}

static void test_quota_of_version_2(void)
{
	root_make();
	put("/proc/self/cgroup", "0::/system.slice/bitshed.service\n");
	CU_ASSERT_EQUAL(worth(0, 8), 8);
	put("/sys/fs/cgroup/system.slice/bitshed.service/cpu.max", "max 100000\n");
	CU_ASSERT_EQUAL(worth(0, 8), 8);
	put("/sys/fs/cgroup/system.slice/bitshed.service/cpu.max", "250000 100000\n");
	CU_ASSERT_EQUAL(worth(0, 8), 3);
	CU_ASSERT_EQUAL(worth(0, 2), 2);
	put("/sys/fs/cgroup/system.slice/cpu.max", "20000 100000\n"); /* holds for those below */
	CU_ASSERT_EQUAL(worth(0, 8), 1);
	put("/sys/fs/cgroup/system.slice/cpu.max", "5 0\n");
	CU_ASSERT_EQUAL(worth(0, 8), 3);
	put("/sys/fs/cgroup/system.slice/cpu.max", "");
	CU_ASSERT_EQUAL(worth(0, 8), 3);
	root_remove();
}

static void test_quota_of_version_1(void)
{
	root_make();
	put("/proc/self/cgroup", "7:memory:/box\n4:cpu,cpuacct:/box\n3:cpuset:/other\n0::/\nnonsense\n");
	put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
	put("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us", "1\n");
	put("/sys/fs/cgroup/cpuset/other/cpu.cfs_period_us", "100000\n");
	CU_ASSERT_EQUAL(worth(0, 4), 4);
	put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "200000\n");
	CU_ASSERT_EQUAL(worth(0, 4), 2);
	root_remove();
}

/* A container that sees the host's path finds its own limit at the top. */
static void test_quota_of_a_container(void)
{
	root_make();
	put("/proc/self/cgroup", "0::/docker/0123456789\n");
	put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
	CU_ASSERT_EQUAL(worth(0, 4), 1);
	root_remove();
}

TEST_MAIN("processors", TEST(affinity_alone), TEST(large_ones_count), TEST(large_ones_are_told),
	TEST(quota_of_version_2), TEST(quota_of_version_1), TEST(quota_of_a_container))
