/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader deals: pictures as they are, or changed as was asked for, by seed and epoch alone. */
#include "nets.h"

#define COUNT 200
#define SIDE 8
#define CHANNELS 3
#define PICTURE ((size_t) SIDE * SIDE * CHANNELS)

static char folder[128] = "/tmp/bitshed-loader-XXXXXX";
static char data[192], labels[192];

static void make_data(void)
{
	if (data[0])
		return;
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	write_stripes(folder, COUNT, 1, data, labels, sizeof data);
}

static struct loader *open_loader(float cutmix, uint32_t crop, uint64_t seed)
{
	const struct preprocess as_they_are = {.scale = 1, .std = {1, 1, 1, 1}};
	const struct loader_options options = {.cutmix = cutmix, .crop = crop, .seed = seed};
	struct loader *l = NULL;

	make_data();
	CU_ASSERT_EQUAL_FATAL(loader_open(&l, data, labels, &as_they_are, (struct shape){SIDE, SIDE, CHANNELS}, 4,
		&options, NULL), 0);
	return l;
}

/* All pictures, the first first. */
static float *deal(const struct loader *l, bool augment)
{
	float *ret = calloc(COUNT * PICTURE, sizeof *ret);
	int32_t of[COUNT];

	loader_batch(l, 0, COUNT, augment, ret, of);
	return ret;
}

static bool same_pixel(const float *a, const float *b, uint32_t y, uint32_t x)
{
	size_t at = ((size_t) y * SIDE + x) * CHANNELS;

	return memcmp(a + at, b + at, CHANNELS * sizeof *a) == 0;
}

/* Whether @made is @own with a rectangle of @other in it; @ret_area: its pixels. */
static bool is_patched(const float *made, const float *own, const float *other, uint32_t *ret_area)
{
	uint32_t top = SIDE, bottom = 0, left = SIDE, right = 0;
	bool ret = true;

	for (uint32_t y = 0; y < SIDE; y++)
		for (uint32_t x = 0; x < SIDE; x++) {
			if (same_pixel(made, own, y, x))
				continue;
			top = MIN_OF(top, y);
			bottom = y + 1;
			left = MIN_OF(left, x);
			right = MAX_OF(right, x + 1);
		}
	for (uint32_t y = top; y < bottom; y++)
		for (uint32_t x = left; x < right; x++)
			ret = ret && same_pixel(made, other, y, x);
	*ret_area = bottom > top ? (bottom - top) * (right - left) : 0;
	return ret;
}

/* As many as were asked for have another picture's rectangle in its place, of any size. */
static void test_rectangles_of_others(void)
{
	_cleanup_(loader_freep) struct loader *l = open_loader(0.5f, 0, 1);
	_cleanup_free_ float *plain = deal(l, false), *made = deal(l, true);
	uint32_t patched = 0, small = 0, large = 0;

	for (size_t i = 0; i < COUNT; i++) {
		const float *own = plain + i * PICTURE, *m = made + i * PICTURE;
		uint32_t area = 0, found = 0;

		if (memcmp(own, m, PICTURE * sizeof *m) == 0)
			continue;
		for (size_t k = 0; k < COUNT && !found; k++)
			found = k != i && is_patched(m, own, plain + k * PICTURE, &area);
		CU_ASSERT(found);
		patched++;
		small += area <= SIDE * SIDE / 4;
		large += area >= SIDE * SIDE / 2;
	}
	CU_ASSERT(patched > COUNT / 3 && patched < COUNT * 2 / 3);
	CU_ASSERT(small > patched / 10 && large > patched / 10);
}

/* The rectangle is a part of the other picture as that is shifted; what is not asked for does not happen. */
static void test_only_what_is_asked_for(void)
{
	_cleanup_(loader_freep) struct loader *shifting = open_loader(0, 2, 1), *both = open_loader(1, 2, 1),
		*neither = open_loader(0, 0, 1);
	_cleanup_free_ float *plain = deal(neither, false), *shifted = deal(shifting, true),
		*made = deal(both, true), *still = deal(neither, true), *asked = deal(both, false);
	uint32_t found = 0, area;

	CU_ASSERT_EQUAL(memcmp(plain, still, COUNT * PICTURE * sizeof *plain), 0);
	CU_ASSERT_EQUAL(memcmp(plain, asked, COUNT * PICTURE * sizeof *plain), 0);
	for (size_t i = 0; i < COUNT; i++)
		for (size_t k = 0; k < COUNT; k++)
			if (is_patched(made + i * PICTURE, shifted + i * PICTURE, shifted + k * PICTURE, &area)) {
				found++;
				break;
			}
	CU_ASSERT_EQUAL(found, COUNT);
}

/* Of all pixels: whole numbers, so their order does not matter. */
static double total(const float *x)
{
	double sum = 0;

	for (size_t i = 0; i < COUNT * PICTURE; i++)
		sum += (double) x[i];
	return sum;
}

static float *deal_epoch(struct loader *l, uint64_t epoch)
{
	loader_shuffle(l, epoch);
	return deal(l, true);
}

static void test_seed_and_epoch_say_all(void)
{
	_cleanup_(loader_freep) struct loader *a = open_loader(1, 0, 1), *b = open_loader(1, 0, 1),
		*c = open_loader(1, 0, 2), *d = open_loader(0.5f, 0, 1);
	_cleanup_free_ float *first = deal_epoch(a, 3), *later = deal_epoch(b, 2), *again = deal_epoch(b, 3),
		*others = deal_epoch(c, 3);

	CU_ASSERT_EQUAL(memcmp(first, again, COUNT * PICTURE * sizeof *first), 0);
	CU_ASSERT_NOT_EQUAL(total(first), total(later));
	CU_ASSERT_NOT_EQUAL(total(first), total(others));
	CU_ASSERT_EQUAL(loader_key(a), loader_key(b));
	CU_ASSERT_NOT_EQUAL(loader_key(a), loader_key(c));
	CU_ASSERT_NOT_EQUAL(loader_key(a), loader_key(d));
}

static void test_cleanup(void)
{
	char command[256];

	(void) snprintf(command, sizeof command, "rm -rf %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("loader", TEST(rectangles_of_others), TEST(only_what_is_asked_for), TEST(seed_and_epoch_say_all),
	TEST(cleanup))
