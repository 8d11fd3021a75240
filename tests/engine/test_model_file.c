/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "convert/model_write.h"
#include "engine/model_fields.h"
#include "support/network.h"
#include "support/test.h"

static void test_every_member_comes_back(void)
{
	struct test_network_options options = {.seed = 3, .offsets = true};
	_cleanup_(test_network_done) struct test_network t = {0};
	_cleanup_(network_unrefp) struct network *n = NULL;

	test_network_make(&t, &options);
	n = test_network_open(&options);
	CU_ASSERT_STRING_EQUAL(n->name, "drawn-3");
	CU_ASSERT_STRING_EQUAL(n->labels[9], "nine");
	CU_ASSERT_EQUAL(n->planes_max, 4);
	CU_ASSERT_EQUAL_FATAL(n->n_values, t.network->n_values);
	CU_ASSERT_EQUAL_FATAL(n->n_ops, t.network->n_ops);
	for (uint32_t i = 0; i < n->n_values; i++) {
		const struct value *a = &n->values[i], *b = &t.network->values[i];

		CU_ASSERT_EQUAL(a->element, b->element);
		CU_ASSERT_EQUAL(memcmp(&a->shape, &b->shape, sizeof a->shape), 0);
		CU_ASSERT_EQUAL(a->scale, b->scale);
		CU_ASSERT_EQUAL(a->zero_point, b->zero_point);
	}
	for (uint32_t i = 0; i < n->n_ops; i++) {
		struct op a = n->ops[i], b = t.network->ops[i];

		CU_ASSERT_EQUAL(a.n_tables, b.n_tables);
		CU_ASSERT_EQUAL(a.n_tables && memcmp(a.table, b.table, a.n_tables * 256), 0);
		a.table = b.table = NULL;
		CU_ASSERT_EQUAL(a.output, b.output);
		CU_ASSERT_EQUAL(a.kernel_h, b.kernel_h);
		CU_ASSERT_EQUAL(a.pad_left, b.pad_left);
		CU_ASSERT_EQUAL(a.clamp_high, b.clamp_high);
		CU_ASSERT_EQUAL(a.gain[0], b.gain[0]);
	}
	for (uint32_t i = 0; i < n->n_matrices; i++)
		for (size_t j = 0; j < MATRIX_PARTS; j++) {
			const float *a = matrix_part_get(&n->matrices[i], &matrix_parts[j]);
			const float *b = matrix_part_get(&t.network->matrices[i], &matrix_parts[j]);

			CU_ASSERT_EQUAL_FATAL(a == NULL, b == NULL);
			CU_ASSERT_EQUAL(a && memcmp(a, b, matrix_parts[j].count(&n->matrices[i]) * 4), 0);
		}
}

/* How many names there are in a folder. */
static size_t names_in(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d))
		n += e->d_name[0] != '.';
	(void) closedir(d);
	return n;
}

static void test_a_file_is_whole_or_absent(void)
{
	_cleanup_(test_network_done) struct test_network t = {0};
	char folder[] = "/tmp/bitshed-model-XXXXXX", path[64], broken[64];
	struct network *n = NULL;
	struct error e = {0};
	int fd;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void) snprintf(path, sizeof path, "%s/good.gguf", folder);
	(void) snprintf(broken, sizeof broken, "%s/broken.gguf", folder);
	test_network_make(&t, &(struct test_network_options) {0});
	CU_ASSERT_EQUAL(model_write(path, t.network, (uint64_t *const *const *) t.planes, &e), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, &e), 0);
	for (uint32_t p = 0; p < n->planes_max; p++) {
		CU_ASSERT_EQUAL(n->plane_offset[p], t.network->plane_offset[p]);
		CU_ASSERT_EQUAL(n->plane_crc[p], t.network->plane_crc[p]);
	}
	n = network_unref(n);
	(void) close(fd);

	t.network->ops[3].stride_h = 5;
	CU_ASSERT_EQUAL(model_write(broken, t.network, (uint64_t *const *const *) t.planes, &e), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "the network is not sound: op 3 (convolution): "));
	CU_ASSERT_EQUAL(names_in(folder), 1);
	CU_ASSERT_EQUAL(unlink(path), 0);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
	CU_ASSERT_EQUAL(model_write(path, t.network, (uint64_t *const *const *) t.planes, &e), -ENOENT);
}

TEST_MAIN("model_file", TEST(every_member_comes_back), TEST(a_file_is_whole_or_absent))
