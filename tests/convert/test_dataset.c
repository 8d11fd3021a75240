/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <jpeglib.h>
#include <png.h>

#include "base/fd.h"
#include "convert/image.h"
#include "support/test.h"

static char folder[] = "/tmp/test_dataset.XXXXXX";

static const char *at(const char *name)
{
	static char path[2][256];
	static unsigned turn;

	turn ^= 1;
	(void) snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

static void write_file(const char *path, const void *data, size_t size)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(fd_write_all(fd, data, size), 0);
}

/* Version 1 header padded to 128 bytes, then @size bytes that count up. Return: bytes written. */
static size_t make_npy(uint8_t *out, const char *type, const char *shape, size_t size)
{
	memset(out, ' ', 128);
	memcpy(out, "\x93NUMPY\1\0", 8);
	out[8] = 118;
	out[9] = 0;
	int n = sprintf((char *) out + 10,
		"{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
	out[10 + n] = ' ';
	out[127] = '\n';
	for (size_t i = 0; i < size; i++)
		out[128 + i] = (uint8_t) i;
	return 128 + size;
}

static void write_npy(const char *path, const char *type, const char *shape, size_t size)
{
	uint8_t bytes[1024];

	write_file(path, bytes, make_npy(bytes, type, shape, size));
}

static int open_error(const char *data, const char *labels, const char *words)
{
	struct dataset *d = NULL;
	struct error e = {0};
	int r = dataset_open(&d, data, labels, &e);

	CU_ASSERT_PTR_NULL(d);
	if (!strstr(error_text(&e, r), words)) {
		printf("[%s] lacks [%s]\n", error_text(&e, r), words);
		CU_FAIL("other words");
	}
	return r;
}

static void test_cifar_records(void)
{
	static uint8_t records[2 * 3073];
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	uint8_t pixels[32 * 32 * 3];
	uint32_t h, w, c;

	records[3073] = 7;
	records[3073 + 1 + 5] = 1;	  /* R of pixel 5 */
	records[3073 + 1 + 1024 + 5] = 2; /* G */
	records[3073 + 1 + 2048 + 5] = 3; /* B */
	write_file(at("c.bin"), records, sizeof records);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, at("c.bin"), NULL, NULL), 0);
	CU_ASSERT_EQUAL(dataset_count(d), 2);
	CU_ASSERT_TRUE(dataset_is_pixels(d));
	dataset_shape(d, &h, &w, &c);
	CU_ASSERT_TRUE(h == 32 && w == 32 && c == 3);
	CU_ASSERT_EQUAL(dataset_label(d, 0), 0);
	CU_ASSERT_EQUAL(dataset_label(d, 1), 7);
	CU_ASSERT_EQUAL(dataset_label(d, 2), -1);
	CU_ASSERT_EQUAL(dataset_pixels(d, 1, pixels), 0);
	CU_ASSERT_EQUAL(memcmp(pixels + 15, "\1\2\3", 3), 0);
	CU_ASSERT_EQUAL(dataset_pixels(d, 2, pixels), -EINVAL);
	records[0] = 10;
	write_file(at("bad.bin"), records, sizeof records);
	CU_ASSERT_EQUAL(open_error(at("bad.bin"), NULL, "label 10 of record 0"), -EBADMSG);
}

static void test_idx_finds_its_labels(void)
{
	static const uint8_t images[16 + 12] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1,
		2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	static const uint8_t labels[10] = {0, 0, 8, 1, 0, 0, 0, 2, 4, 9};
	_cleanup_(dataset_freep) struct dataset *d = NULL, *alone = NULL;
	uint8_t pixels[6];
	uint32_t h, w, c;

	write_file(at("t-images-idx3-ubyte"), images, sizeof images);
	write_file(at("t-labels-idx1-ubyte"), labels, sizeof labels);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, at("t-images-idx3-ubyte"), NULL, NULL), 0);
	dataset_shape(d, &h, &w, &c);
	CU_ASSERT_TRUE(dataset_count(d) == 2 && h == 2 && w == 3 && c == 1);
	CU_ASSERT_EQUAL(dataset_label(d, 1), 9);
	CU_ASSERT_EQUAL(dataset_pixels(d, 1, pixels), 0);
	CU_ASSERT_EQUAL(memcmp(pixels, images + 22, 6), 0);
	write_file(at("alone"), images, sizeof images);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&alone, at("alone"), NULL, NULL), 0);
	CU_ASSERT_EQUAL(dataset_label(alone, 0), -1);
	write_file(at("short"), images, sizeof images - 1);
	CU_ASSERT_EQUAL(open_error(at("short"), NULL, "too short for 2 images"), -EBADMSG);
	CU_ASSERT_EQUAL(open_error(at("alone"), at("alone"), "integers in .npy or idx"), -ENOTSUP);
}

static void check_npy(
	const char *type, const char *shape, size_t size, uint32_t h, uint32_t w, uint32_t c)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	struct error e = {0};
	uint32_t got[3];

	write_npy(at("x.npy"), type, shape, size);
	int r = dataset_open(&d, at("x.npy"), NULL, &e);
	if (r < 0)
		printf("%s: %s\n", shape, error_text(&e, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	CU_ASSERT_EQUAL(dataset_count(d), 2);
	dataset_shape(d, &got[0], &got[1], &got[2]);
	CU_ASSERT_TRUE(got[0] == h && got[1] == w && got[2] == c);
	CU_ASSERT_EQUAL(dataset_is_pixels(d), type[1] == 'u');
}

static void test_npy_shapes(void)
{
	check_npy("|u1", "2, 4, 5, 3", 120, 4, 5, 3);
	check_npy("|u1", "2, 3, 4, 5", 120, 4, 5, 3);
	check_npy("|u1", "2, 4, 5, 1", 40, 4, 5, 1);
	check_npy("|u1", "2, 4, 5", 40, 4, 5, 1);
	check_npy("<f4", "2, 6", 48, 1, 1, 6);
	check_npy("<f4", "2, 3, 2", 48, 3, 2, 1);
}

static void test_npy_layouts_give_the_same_pixels(void)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	uint8_t pixels[4 * 5 * 3];

	write_npy(at("n.npy"), "|u1", "2, 3, 4, 5", 120);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, at("n.npy"), NULL, NULL), 0);
	CU_ASSERT_EQUAL(dataset_pixels(d, 1, pixels), 0);
	for (int c = 0; c < 3; c++)
		for (int t = 0; t < 20; t++)
			CU_ASSERT_EQUAL(pixels[t * 3 + c], 60 + c * 20 + t);
}

static void test_npy_features_and_labels(void)
{
	static const char *const types[] = {"|i1", "|u1", "<i2", "<i4", "<i8", "<u8"};

	write_npy(at("f.npy"), "<f4", "2, 3", 24);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		uint8_t bytes[256];
		size_t size = (size_t) (types[i][2] - '0');
		float x[3];

		(void) make_npy(bytes, types[i], "2,", 0);
		memset(bytes + 128, 0, 2 * size);
		bytes[128] = 3;
		bytes[128 + size] = 11;
		write_file(at("l.npy"), bytes, 128 + 2 * size);
		CU_ASSERT_EQUAL_FATAL(dataset_open(&d, at("f.npy"), at("l.npy"), NULL), 0);
		CU_ASSERT_TRUE(dataset_label(d, 0) == 3 && dataset_label(d, 1) == 11);
		CU_ASSERT_EQUAL(dataset_floats(d, 1, x), 0);
		CU_ASSERT_EQUAL(memcmp(x, "\x0c\x0d\x0e\x0f", 4), 0);
		CU_ASSERT_EQUAL(dataset_pixels(d, 0, bytes), -EINVAL);
		CU_ASSERT_EQUAL(dataset_resize(d, 4, 4), -ENOTSUP);
	}
	write_npy(at("l3.npy"), "|u1", "3,", 3);
	CU_ASSERT_EQUAL(open_error(at("f.npy"), at("l3.npy"), "3 labels for 2 items"), -EINVAL);
	CU_ASSERT_EQUAL(
		open_error(at("f.npy"), at("f.npy"), "labels: .npy: labels must be integers"),
		-ENOTSUP);
}

static void test_npy_refuses(void)
{
	uint8_t bytes[512];
	size_t size = make_npy(bytes, "|u1", "2, 4, 5, 3", 120);

	write_npy(at("b.npy"), ">f4", "2, 3", 24);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "big-endian"), -ENOTSUP);
	write_npy(at("b.npy"), "<f4", "2, 7", 24);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "needs 56 bytes"), -EBADMSG);
	write_npy(at("b.npy"), "<f4", "4294967296, 4294967296, 4", 24);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "does not fit"), -EBADMSG);
	write_npy(at("b.npy"), "|u1", "2, 0", 24);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "dimension 1 is 0"), -EBADMSG);
	write_npy(at("b.npy"), "|u1", "2, 4, 5, 7", 280);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "uint8 images must be"), -ENOTSUP);
	write_npy(at("b.npy"), "|u1", "-2, 4", 80);
	CU_ASSERT_EQUAL(open_error(at("b.npy"), NULL, "not a list of numbers"), -EBADMSG);
	for (size_t i = 6; i < size; i++) {
		struct dataset *d = NULL;

		write_file(at("cut.npy"), bytes, i);
		CU_ASSERT_TRUE(dataset_open(&d, at("cut.npy"), NULL, NULL) < 0);
	}
	for (size_t i = 6; i < 128; i++) { /* any answer, no crash */
		_cleanup_(dataset_freep) struct dataset *d = NULL;
		uint8_t was = bytes[i];

		bytes[i] ^= 0x15;
		write_file(at("flip.npy"), bytes, size);
		(void) dataset_open(&d, at("flip.npy"), NULL, NULL);
		bytes[i] = was;
	}
}

static void test_unknown_files_are_refused(void)
{
	write_file(at("text"), "hello", 5);
	CU_ASSERT_EQUAL(open_error(at("text"), NULL, "data must be"), -ENOTSUP);
	write_file(at("empty"), "", 0);
	CU_ASSERT_EQUAL(open_error(at("empty"), NULL, "the file is empty"), -ENODATA);
	CU_ASSERT_EQUAL(open_error(at("none"), NULL, "No such file"), -ENOENT);
	CU_ASSERT_EQUAL(open_error("/dev/null", NULL, "not a regular file"), -EINVAL);
}

static void write_png(const char *path, uint32_t height, uint32_t width, const uint8_t *rgb)
{
	png_image png = {.version = PNG_IMAGE_VERSION,
		.width = width,
		.height = height,
		.format = PNG_FORMAT_RGB};

	CU_ASSERT_FATAL(png_image_write_to_file(&png, path, 0, rgb, 0, NULL));
}

static void write_jpeg(const char *path, uint32_t height, uint32_t width, const uint8_t *rgb)
{
	struct jpeg_compress_struct jpeg;
	struct jpeg_error_mgr errors;
	FILE *f = fopen(path, "we");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	jpeg.err = jpeg_std_error(&errors);
	jpeg_create_compress(&jpeg);
	jpeg_stdio_dest(&jpeg, f);
	jpeg.image_width = width;
	jpeg.image_height = height;
	jpeg.input_components = 3;
	jpeg.in_color_space = JCS_RGB;
	jpeg_set_defaults(&jpeg);
	jpeg_set_quality(&jpeg, 98, TRUE);
	jpeg_start_compress(&jpeg, TRUE);
	while (jpeg.next_scanline < height) {
		JSAMPROW row = (JSAMPROW) (uintptr_t) (rgb + jpeg.next_scanline * width * 3);

		(void) jpeg_write_scanlines(&jpeg, &row, 1);
	}
	jpeg_finish_compress(&jpeg);
	jpeg_destroy_compress(&jpeg);
	(void) fclose(f);
}

static void fill(uint8_t *rgb, size_t pixels, uint8_t r, uint8_t g, uint8_t b)
{
	for (size_t i = 0; i < pixels; i++)
		memcpy(rgb + 3 * i, (uint8_t[]){r, g, b}, 3);
}

static void test_folder_of_classes(void)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	uint8_t rgb[16 * 24 * 3], out[8 * 8 * 3];

	(void) mkdir(at("classes"), 0700);
	(void) mkdir(at("classes/b-dog"), 0700);
	(void) mkdir(at("classes/a-cat"), 0700);
	fill(rgb, 16 * 24, 200, 100, 50);
	write_png(at("classes/b-dog/1.png"), 16, 24, rgb);
	fill(rgb, 16 * 24, 10, 20, 30);
	write_jpeg(at("classes/a-cat/2.JPEG"), 16, 24, rgb);
	write_png(at("classes/a-cat/1.png"), 16, 24, rgb);
	write_file(at("classes/a-cat/notes.txt"), "x", 1);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, at("classes"), NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(dataset_count(d), 3);
	CU_ASSERT_TRUE(
		dataset_label(d, 0) == 0 && dataset_label(d, 1) == 0 && dataset_label(d, 2) == 1);
	CU_ASSERT_EQUAL(dataset_resize(d, 8, 8), 0);
	CU_ASSERT_EQUAL(dataset_pixels(d, 2, out), 0);
	CU_ASSERT_EQUAL(memcmp(out + 3 * 63, (uint8_t[]){200, 100, 50}, 3), 0);
	CU_ASSERT_EQUAL(dataset_pixels(d, 1, out), 0); /* JPEG: nearly */
	CU_ASSERT_TRUE(abs(out[0] - 10) <= 3 && abs(out[1] - 20) <= 3 && abs(out[2] - 30) <= 3);
	CU_ASSERT_EQUAL(open_error(folder, NULL, "no JPEG or PNG"), -ENODATA);
}

static void test_broken_pictures_are_refused(void)
{
	static const char *const names[] = {"p.png", "p.jpg"};
	uint8_t rgb[16 * 24 * 3], bytes[8192];

	for (size_t i = 0; i < sizeof rgb; i++)
		rgb[i] = (uint8_t) (i * i * 7 >> 4);
	write_png(at("p.png"), 16, 24, rgb);
	write_jpeg(at("p.jpg"), 16, 24, rgb);
	for (int k = 0; k < 2; k++) {
		_cleanup_(image_done) struct image whole = {0};
		_cleanup_close_ int fd = open(at(names[k]), O_RDONLY | O_CLOEXEC);
		ssize_t size = read(fd, bytes, sizeof bytes);

		CU_ASSERT_FATAL(size > 100 && size < (ssize_t) sizeof bytes);
		CU_ASSERT_EQUAL(image_decode(&whole, bytes, (size_t) size, NULL), 0);
		CU_ASSERT_TRUE(whole.height == 16 && whole.width == 24);
		for (ssize_t cut = 0; cut < size - 2; cut += 7) {
			struct image i = {0};

			/* A PNG may lack its last chunk, which says nothing. */
			if (image_decode(&i, bytes, (size_t) cut, NULL) == 0) {
				CU_ASSERT_TRUE(k == 0 && cut > size - 16);
				image_done(&i);
			}
		}
		for (ssize_t at_byte = 0; at_byte < size; at_byte += 3) { /* any answer, no crash */
			_cleanup_(image_done) struct image i = {0};
			uint8_t was = bytes[at_byte];

			bytes[at_byte] ^= 0x2d;
			(void) image_decode(&i, bytes, (size_t) size, NULL);
			bytes[at_byte] = was;
		}
	}
	struct image i = {0};
	CU_ASSERT_EQUAL(image_decode(&i, (const uint8_t *) "GIF89a", 6, NULL), -ENOTSUP);
}

static void test_resize(void)
{
	static const uint8_t ramp[4] = {0, 10, 20, 30};
	static const uint8_t wide[6] = {90, 10, 20, 30, 40, 90}; /* 1 x 6 */
	uint8_t out[16], same[4];

	CU_ASSERT_EQUAL(image_resize(same, 1, 4, ramp, 1, 4, 1), 0);
	CU_ASSERT_EQUAL(memcmp(same, ramp, 4), 0);
	/* Twice as large: samples at quarters between the pixels. */
	CU_ASSERT_EQUAL(image_resize(out, 2, 8, ramp, 1, 4, 1), 0);
	CU_ASSERT_EQUAL(memcmp(out, (uint8_t[]){0, 3, 8, 13, 18, 23, 28, 30}, 8), 0);
	CU_ASSERT_EQUAL(memcmp(out + 8, out, 8), 0);
	/* A wide picture loses its sides, not its proportions. */
	CU_ASSERT_EQUAL(image_resize(out, 1, 4, wide, 1, 6, 1), 0);
	CU_ASSERT_EQUAL(memcmp(out, (uint8_t[]){10, 20, 30, 40}, 4), 0);
}

static void test_preprocess(void)
{
	struct preprocess p = {.scale = 0.5f, .mean = {1, 2, 3}, .std = {1, 2, 4}};
	const uint8_t pixels[6] = {10, 20, 30, 12, 24, 38};
	float out[6];

	preprocess_chw(&p, pixels, 1, 2, 3, out);
	CU_ASSERT_TRUE(out[0] == 4 && out[1] == 5 && out[2] == 4 && out[3] == 5 && out[4] == 3 &&
		       out[5] == 4);
	p.bgr = true;
	preprocess_chw(&p, pixels, 1, 2, 3, out);
	CU_ASSERT_TRUE(out[0] == 3 && out[1] == 4 && out[2] == 4 && out[3] == 5 && out[4] == 4 &&
		       out[5] == 5);
}

static void check_real(
	const char *data, const char *labels, uint32_t count, uint32_t side, uint32_t classes)
{
	const char *root = getenv("BITSHED_TEST_DATA");
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	_cleanup_free_ uint8_t *pixels = NULL;
	char data_path[512], labels_path[512];
	uint32_t h, w, c;

	(void) snprintf(data_path, sizeof data_path, "%s/%s", root, data);
	(void) snprintf(labels_path, sizeof labels_path, "%s/%s", root, labels ?: "");
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, data_path, labels ? labels_path : NULL, NULL), 0);
	dataset_shape(d, &h, &w, &c);
	CU_ASSERT_EQUAL(dataset_count(d), count);
	CU_ASSERT_TRUE(h == side && w == side);
	pixels = malloc(h * w * c);
	for (uint32_t i = 0; i < count; i += 37) {
		CU_ASSERT_EQUAL(dataset_pixels(d, i, pixels), 0);
		CU_ASSERT_TRUE(dataset_label(d, i) >= 0 && dataset_label(d, i) < (int) classes);
	}
}

static void test_real_files(void)
{
	const char *root = getenv("BITSHED_TEST_DATA");

	if (!root || !root[0])
		return;
	check_real("cifar10_test_5000.bin", NULL, 5000, 32, 10);
	check_real("mnist-test-5000-images-idx3-ubyte", NULL, 5000, 28, 10);
	check_real("imagenet_val_325.npy", "imagenet_val_325_labels.npy", 325, 224, 1000);
}

/* Both ends of the suite: the folder is made before the first test and removed after the last. */
static void test_make_folder(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

static void test_remove_folder(void)
{
	char command[128];

	(void) snprintf(command, sizeof command, "rm -r %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

TEST_MAIN("dataset", TEST(make_folder), TEST(cifar_records), TEST(idx_finds_its_labels),
	TEST(npy_shapes), TEST(npy_layouts_give_the_same_pixels), TEST(npy_features_and_labels),
	TEST(npy_refuses), TEST(unknown_files_are_refused), TEST(folder_of_classes),
	TEST(broken_pictures_are_refused), TEST(resize), TEST(preprocess), TEST(real_files),
	TEST(remove_folder))
