/* SPDX-License-Identifier: Apache-2.0 */
/* What is packed comes back byte for byte; what is broken is refused, whatever is broken. */
#include "convert/pack/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "convert/samples.h"
#include "support/graph_file.h"
#include "support/test.h"

#define SIZE 40000

static uint8_t in[SIZE], back[SIZE];

/* Bell-shaped, as codes of weights are; @spread 0: all the same. */
static double fill(struct source *s, double spread, uint32_t n)
{
	uint32_t count[256] = {0};
	double bits = 0;

	for (uint32_t i = 0; i < n; i++) {
		double x = 128 + spread * (double) sample_gauss(s);

		in[i] = (uint8_t) fmin(fmax(x, 0), 255);
		count[in[i]]++;
	}
	for (int i = 0; i < 256; i++)
		if (count[i] > 0)
			bits -= count[i] * log2((double) count[i] / n);
	return bits / 8;
}

static size_t round_trip(enum coder c, uint32_t n)
{
	_cleanup_free_ uint8_t *packed = malloc(coder_bound(n));
	size_t size = 0;

	memset(back, 0xaa, sizeof back);
	CU_ASSERT_EQUAL_FATAL(coder_pack(c, in, n, packed, &size), 0);
	CU_ASSERT_TRUE(size <= coder_bound(n));
	CU_ASSERT_EQUAL(coder_unpack(c, packed, size, back, n), 0);
	CU_ASSERT_EQUAL(memcmp(in, back, n), 0);
	return size;
}

static void test_coders_reach_the_entropy(void)
{
	static const double spreads[] = {0, 0.5, 1.5, 4, 30};
	struct source s = SAMPLES_INIT;

	for (size_t k = 0; k < ARRAY_SIZE(spreads); k++) {
		double least = fill(&s, spreads[k], SIZE), huffman, arithmetic;
		uint8_t highest = 0;

		for (int i = 0; i < SIZE; i++)
			highest = MAX_OF(highest, in[i]);
		huffman = (double) round_trip(CODER_HUFFMAN, SIZE) - highest - 2;
		arithmetic = (double) round_trip(CODER_ARITHMETIC, SIZE) - 2 * highest - 3;
		CU_ASSERT_TRUE(huffman >= least - 1);
		CU_ASSERT_TRUE(huffman <= (spreads[k] > 1 ? least * 1.06 : least + SIZE / 8.0) + 8);
		CU_ASSERT_TRUE(arithmetic >= least - 1 && arithmetic <= least * 1.01 + 40);
		(void) round_trip(CODER_ZSTD, SIZE);
	}
}

static void test_odd_lengths(void)
{
	struct source s = SAMPLES_INIT;

	for (int c = 0; c < _CODER_MAX; c++)
		for (uint32_t n = 0; n < 70; n += 3) {
			fill(&s, n, n);
			(void) round_trip(c, n);
		}
}

/* Counts of Fibonacci make codes longer than the longest that is allowed. */
static void test_long_codes(void)
{
	uint32_t a = 1, b = 1, n = 0;

	for (int symbol = 0; symbol < 22 && n + a < SIZE; symbol++) {
		uint32_t next = a + b;

		memset(in + n, symbol, a);
		n += a;
		a = b;
		b = next;
	}
	for (int c = 0; c < _CODER_MAX; c++)
		(void) round_trip(c, n);
}

/* Any bytes: an error or some answer, never more than was asked for. */
static void test_hostile_codes(void)
{
	struct source s = SAMPLES_INIT;
	_cleanup_free_ uint8_t *packed = malloc(coder_bound(2000));

	fill(&s, 3, 2000);
	for (int c = 0; c < _CODER_MAX; c++)
		for (int round = 0; round < 400; round++) {
			size_t size = 0;

			CU_ASSERT_EQUAL(coder_pack(c, in, 2000, packed, &size), 0);
			for (int k = 0; k < 1 + round % 4; k++)
				packed[(size_t) (sample_uniform(&s) * (double) size)] ^=
					(uint8_t) (1 + sample_uniform(&s) * 255);
			size = round % 3 == 0 ? (size_t) (sample_uniform(&s) * (double) size) : size;
			back[2000] = 0x55;
			(void) coder_unpack(c, packed, size, back, 2000);
			CU_ASSERT_EQUAL(back[2000], 0x55);
		}
}

static char path[] = "/tmp/bitshed-pack-XXXXXX";
static uint8_t *model;
static size_t model_size;

static void make_model(void)
{
	static struct graph g;
	_cleanup_close_ int to = mkstemp(path);
	struct stat st;

	graph_init(&g, 3);
	graph_resnet20(&g, 3);
	_cleanup_close_ int fd = graph_memfd(&g);
	CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
	model_size = (size_t) st.st_size;
	model = malloc(model_size);
	CU_ASSERT_EQUAL_FATAL(fd_read_at(fd, model, model_size, 0), 0);
	CU_ASSERT_EQUAL_FATAL(fd_write_all(to, model, model_size), 0);
	graph_done(&g);
}

static void test_files_come_back(void)
{
	make_model();
	for (int c = 0; c < _CODER_MAX; c++) {
		_cleanup_free_ uint8_t *packed = NULL, *again = malloc(model_size);
		_cleanup_close_ int fd = -1;
		size_t size = 0;
		struct stat st;

		CU_ASSERT_EQUAL_FATAL(pack_model(&packed, &size, path, c, NULL), 0);
		CU_ASSERT_TRUE(pack_is_packed(packed, size));
		CU_ASSERT_EQUAL_FATAL(pack_unpack(&fd, packed, size, NULL), 0);
		CU_ASSERT_EQUAL(fstat(fd, &st), 0);
		CU_ASSERT_EQUAL_FATAL((size_t) st.st_size, model_size);
		CU_ASSERT_EQUAL(fd_read_at(fd, again, model_size, 0), 0);
		CU_ASSERT_EQUAL(memcmp(model, again, model_size), 0);
	}
}

static void expect_refused(const uint8_t *packed, size_t size)
{
	struct error e = {};
	int fd = -1, r = pack_unpack(&fd, packed, size, &e);

	CU_ASSERT_TRUE(r < 0);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_TRUE(r == -ENOMEM || e.text[0]);
}

static void test_hostile_files(void)
{
	struct source s = SAMPLES_INIT;

	for (int c = 0; c < _CODER_MAX; c++) {
		_cleanup_free_ uint8_t *packed = NULL;
		size_t size = 0;

		CU_ASSERT_EQUAL_FATAL(pack_model(&packed, &size, path, c, NULL), 0);
		for (size_t cut = 0; cut < size; cut += 1 + size / 40)
			expect_refused(packed, cut);
		for (int round = 0; round < 60; round++) {
			size_t at = (size_t) (sample_uniform(&s) * (double) (round < 30 ? 200 : size));
			uint8_t was = packed[at];

			packed[at] ^= (uint8_t) (1 + sample_uniform(&s) * 254);
			expect_refused(packed, size);
			packed[at] = was;
		}
	}
	(void) unlink(path);
	free(model);
}

TEST_MAIN("pack", TEST(coders_reach_the_entropy), TEST(odd_lengths), TEST(long_codes), TEST(hostile_codes),
	TEST(files_come_back), TEST(hostile_files))
