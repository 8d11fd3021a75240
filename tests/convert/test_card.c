/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/card.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "support/graph_file.h"
#include "support/test.h"

static void check_interval(double percent, uint32_t n, double low, double high)
{
	double have_low, have_high;

	card_interval(percent, n, &have_low, &have_high);
	CU_ASSERT_DOUBLE_EQUAL(have_low, low, 0.01);
	CU_ASSERT_DOUBLE_EQUAL(have_high, high, 0.01);
}

/* By R's prop.test(x, n, correct = FALSE). */
static void test_interval(void)
{
	check_interval(50, 10, 23.66, 76.34);
	check_interval(0, 10, 0, 27.75);
	check_interval(100, 10, 72.25, 100);
	check_interval(90, 1000, 87.98, 91.71);
	check_interval(0, 0, 0, 100);
}

static int copy_to_file(const char *path, int from)
{
	struct stat st;
	_cleanup_free_ char *data = NULL;
	_cleanup_close_ int to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CU_ASSERT_EQUAL_FATAL(fstat(from, &st), 0);
	data = malloc((size_t) st.st_size);
	CU_ASSERT_EQUAL_FATAL(fd_read_at(from, data, (size_t) st.st_size, 0), 0);
	return fd_write_all(to, data, (size_t) st.st_size);
}

static struct network *open_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct network *n = NULL;
	struct error e = {};

	if (network_open(&n, fd, &e) < 0)
		printf("%s\n", e.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(n);
	return n;
}

static void test_store_keeps_all_else(void)
{
	static const struct accuracy card[] = {
		{.bits = 4, .top1 = 91.5f, .top5 = 99, .snr = 20.5f, .images = 5000, .against = ACCURACY_FP32},
		{.bits = 2.5f, .top1 = 80, .top5 = 98, .images = 5000, .against = ACCURACY_FP32},
	};
	_cleanup_(network_unrefp) struct network *before = NULL, *after = NULL;
	char path[] = "/tmp/bitshed-card-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	static struct graph g;

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	graph_init(&g, 7);
	graph_resnet20(&g, 4);
	_cleanup_close_ int model = graph_memfd(&g);
	CU_ASSERT_EQUAL_FATAL(copy_to_file(path, model), 0);
	before = open_file(path);
	CU_ASSERT_EQUAL(before->n_accuracies, 0);
	CU_ASSERT_EQUAL(card_store(path, before, card, 2, "digits", NULL), 0);
	after = open_file(path);
	CU_ASSERT_EQUAL_FATAL(after->n_accuracies, 2);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_TRUE(after->accuracies[i].bits == card[i].bits &&
			       after->accuracies[i].top1 == card[i].top1 &&
			       after->accuracies[i].top5 == card[i].top5 &&
			       after->accuracies[i].snr == card[i].snr &&
			       after->accuracies[i].images == card[i].images &&
			       after->accuracies[i].against == ACCURACY_FP32);
	CU_ASSERT_STRING_EQUAL(after->accuracy_data, "digits");
	CU_ASSERT_EQUAL(memcmp(after->plane_crc, before->plane_crc, sizeof after->plane_crc), 0);
	CU_ASSERT_EQUAL(after->scales_bytes, before->scales_bytes);
	CU_ASSERT_EQUAL(memcmp(after->scales, before->scales, after->scales_bytes), 0);
	CU_ASSERT_EQUAL(card_store(path, before, card, ACCURACIES_MAX + 1, "", NULL), -EINVAL);
	(void) unlink(path);
	graph_done(&g);
}

TEST_MAIN("card", TEST(interval), TEST(store_keeps_all_else))
