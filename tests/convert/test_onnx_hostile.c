/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are cut short or changed at random, through the fuzz target: it asserts that the importer
 * answers with a typed error and words, or with a net that folds. Most of a network's file is weights,
 * where a change is no more than another number: so half of the changes go to the specification's
 * operator cases, which are structure alone.
 *
 * BITSHED_TEST_FULL=1: all cuts and 10,000 changes of each kind; otherwise a tenth.
 */
#include <dirent.h>
#include <string.h>

#include "base/cleanup.h"
#include "convert/file.h"
#include "support/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 88172645463325252;

static uint64_t drawn(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static uint32_t rounds(void)
{
	return getenv("BITSHED_TEST_FULL") ? 10000 : 1000;
}

/* One to eight changes: a bit, a byte, a run of bytes moved to another place. */
static void mutate(uint8_t *data, size_t size)
{
	for (uint64_t n = 1 + drawn(8); n; n--) {
		size_t at = drawn(size), length = 1 + drawn(MIN_OF(size, 16));

		switch (drawn(3)) {
		case 0:
			data[at] ^= (uint8_t) (1u << drawn(8));
			break;
		case 1:
			data[at] = (uint8_t) drawn(256);
			break;
		default:
			memmove(data + drawn(size - length + 1), data + drawn(size - length + 1), length);
		}
	}
}

static void mutate_file(const char *path, uint32_t times)
{
	struct file_map map;
	uint8_t *data;

	if (file_map(&map, path, NULL) < 0)
		return;
	data = malloc(map.size);
	for (uint32_t i = 0; i < times; i++) {
		memcpy(data, map.data, map.size);
		mutate(data, map.size);
		(void) LLVMFuzzerTestOneInput(data, map.size);
	}
	free(data);
	file_unmap(&map);
}

static void network_path(char path[512])
{
	(void) snprintf(path, 512, "%s/models/mlperf_tiny/kws_dscnn.onnx", test_data());
}

static void test_cut_short(void)
{
	size_t step = getenv("BITSHED_TEST_FULL") ? 1024 : 10240;
	struct file_map map;
	char path[512];

	network_path(path);
	CU_ASSERT_EQUAL_FATAL(file_map(&map, path, NULL), 0);
	for (size_t size = 0; size < map.size; size += step) {
		uint8_t *exact = malloc(size ?: 1);

		memcpy(exact, map.data, size);
		(void) LLVMFuzzerTestOneInput(exact, size);
		free(exact);
	}
	file_unmap(&map);
}

static void test_changed_network(void)
{
	char path[512];

	network_path(path);
	mutate_file(path, rounds());
}

static void test_changed_operators(void)
{
	struct dirent *d;
	char folder[256], path[600];
	uint32_t files = 0;
	DIR *dir;

	(void) snprintf(folder, sizeof folder, "%s/conformance/node", test_data());
	dir = opendir(folder);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	for (; (d = readdir(dir)); files++) {
		(void) snprintf(path, sizeof path, "%s/%s/model.onnx", folder, d->d_name);
		mutate_file(path, rounds() / 800 + 1);
	}
	(void) closedir(dir);
	printf(" (%u files) ", files);
	CU_ASSERT_TRUE(files > 800);
}

TEST_MAIN("onnx_hostile", TEST(cut_short), TEST(changed_network), TEST(changed_operators))
