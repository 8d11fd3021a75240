/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libjpeg's fatal errors come back through one longjmp; what it could leak lives in struct image.
 */
#include "convert/image.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include "convert/file.h"

struct jpeg_failure {
	struct jpeg_error_mgr manager;
	jmp_buf back;
	char text[JMSG_LENGTH_MAX];
};

void image_done(struct image *i)
{
	free(i->rgb);
	*i = (struct image){0};
}

static int image_allocate(struct image *i, uint64_t height, uint64_t width, struct error *reterr)
{
	if (height == 0 || width == 0)
		return error_set(reterr, -EBADMSG, "the picture has no pixels");
	if (height > IMAGE_SIDE_MAX || width > IMAGE_SIDE_MAX || height * width > IMAGE_PIXELS_MAX)
		return error_set(reterr, -EFBIG, "the picture is too large: %llu x %llu",
			(unsigned long long) width, (unsigned long long) height);
	i->rgb = malloc((size_t) (height * width * 3));
	if (!i->rgb)
		return -ENOMEM;
	i->height = (uint32_t) height;
	i->width = (uint32_t) width;
	return 0;
}

__attribute__((noreturn)) static void jpeg_fail(j_common_ptr common)
{
	struct jpeg_failure *failure = (struct jpeg_failure *) common->err;

	common->err->format_message(common, failure->text);
	longjmp(failure->back, 1);
}

/* Warnings (a file cut short fills with grey) are errors too: a broken picture must not be
 * measured. */
static void jpeg_warn(j_common_ptr common, int level)
{
	if (level < 0)
		jpeg_fail(common);
}

static int jpeg_rows(struct jpeg_decompress_struct *jpeg, struct image *i, struct error *reterr)
{
	int r;

	if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
		return error_set(reterr, -ENOTSUP, "CMYK pictures are not supported");
	r = image_allocate(i, jpeg->image_height, jpeg->image_width, reterr);
	if (r < 0)
		return r;
	jpeg->out_color_space = JCS_RGB;
	(void) jpeg_start_decompress(jpeg);
	while (jpeg->output_scanline < jpeg->output_height) {
		JSAMPROW row = i->rgb + (size_t) jpeg->output_scanline * i->width * 3;

		(void) jpeg_read_scanlines(jpeg, &row, 1);
	}
	(void) jpeg_finish_decompress(jpeg);
	return 0;
}

static int jpeg_decode(struct image *i, const uint8_t *data, size_t size, struct error *reterr)
{
	struct jpeg_decompress_struct jpeg = {0};
	struct jpeg_failure failure;
	int r;

	jpeg.err = jpeg_std_error(&failure.manager);
	failure.manager.error_exit = jpeg_fail;
	failure.manager.emit_message = jpeg_warn;
	if (setjmp(failure.back)) {
		jpeg_destroy_decompress(&jpeg);
		return error_set(reterr, -EBADMSG, "broken JPEG: %.160s", failure.text);
	}
	jpeg_create_decompress(&jpeg);
	jpeg_mem_src(&jpeg, data, size);
	(void) jpeg_read_header(&jpeg, TRUE);
	r = jpeg_rows(&jpeg, i, reterr);
	jpeg_destroy_decompress(&jpeg);
	return r;
}

static int png_decode(struct image *i, const uint8_t *data, size_t size, struct error *reterr)
{
	static const png_color black = {0};
	png_image png = {.version = PNG_IMAGE_VERSION};
	int r;

	if (!png_image_begin_read_from_memory(&png, data, size))
		return error_set(reterr, -EBADMSG, "broken PNG: %.60s", png.message);
	png.format = PNG_FORMAT_RGB;
	r = image_allocate(i, png.height, png.width, reterr);
	if (r < 0) {
		png_image_free(&png);
		return r;
	}
	/* Warnings count, as with JPEG; both leave png freed. */
	if (!png_image_finish_read(&png, &black, i->rgb, 0, NULL) || PNG_IMAGE_FAILED(png))
		return error_set(reterr, -EBADMSG, "broken PNG: %.60s", png.message);
	return 0;
}

int image_decode(struct image *ret, const uint8_t *data, size_t size, struct error *reterr)
{
	_cleanup_(image_done) struct image i = {0};
	int r;

	if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
		r = jpeg_decode(&i, data, size, reterr);
	else if (size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0)
		r = png_decode(&i, data, size, reterr);
	else
		r = error_set(reterr, -ENOTSUP, "neither JPEG nor PNG");
	if (r < 0)
		return r;
	*ret = i;
	i.rgb = NULL;
	return 0;
}

int image_load(struct image *ret, const char *path, struct error *reterr)
{
	_cleanup_(file_unmap) struct file_map map = {0};
	int r = file_map(&map, path, reterr);

	return r < 0 ? r : image_decode(ret, map.data, map.size, reterr);
}

/*
 * The arithmetic is Pillow's, to the bit: networks were trained and measured on pictures that its bilinear
 * filter scaled, and a rounding more or less moves some of them to another class. So: the triangle is as
 * wide as an output pixel where the picture shrinks, weights are whole numbers of 1/2^22, the rows are
 * scaled first, and what lies between the two passes is rounded to bytes.
 */
#define WEIGHT_BITS 22

/* One axis: output pixel o is centred at (o + crop + 0.5) * step input pixels. */
struct axis {
	double step, crop;
	uint32_t in;
};

static struct axis axis_make(uint32_t in, uint32_t out, double step)
{
	return (struct axis){.step = step, .crop = ((double) in / step - out) / 2, .in = in};
}

/* The normalised triangle of output pixel @o. Return: number of weights; *ret_first, where they
 * begin. */
static uint32_t axis_weights(const struct axis *a, uint32_t o, int32_t *weights, uint32_t *ret_first)
{
	double centre = (o + a->crop + 0.5) * a->step, support = fmax(a->step, 1), sum = 0;
	double low = floor(centre - support + 0.5), high = floor(centre + support + 0.5);
	uint32_t first = low < 0 ? 0 : MIN_OF((uint32_t) low, a->in - 1);
	uint32_t end = high > a->in ? a->in : MAX_OF((uint32_t) high, first + 1);

	for (uint32_t i = first; i < end; i++)
		sum += fmax(1 - fabs(i + 0.5 - centre) / support, 0);
	for (uint32_t i = first; i < end; i++) {
		double weight = fmax(1 - fabs(i + 0.5 - centre) / support, 0) / sum;

		weights[i - first] = (int32_t) (weight * (1 << WEIGHT_BITS) + 0.5);
	}
	*ret_first = first;
	return end - first;
}

/* @in: the first of @n bytes, @stride apart */
static uint8_t weigh(const uint8_t *in, size_t stride, const int32_t *weights, uint32_t n)
{
	int32_t sum = 1 << (WEIGHT_BITS - 1);

	for (uint32_t i = 0; i < n; i++)
		sum += weights[i] * in[i * stride];
	return (uint8_t) MIN_OF(sum >> WEIGHT_BITS, 255);
}

int image_resize(uint8_t *out, uint32_t height, uint32_t width, const uint8_t *in,
	uint32_t in_height, uint32_t in_width, uint32_t channels)
{
	double step = fmin((double) in_height / height, (double) in_width / width);
	struct axis x = axis_make(in_width, width, step), y = axis_make(in_height, height, step);
	size_t stride = (size_t) width * channels, in_stride = (size_t) in_width * channels;
	_cleanup_free_ uint8_t *lines = NULL;
	_cleanup_free_ int32_t *weights = NULL;
	uint32_t first, n;

	if (in_height == height && in_width == width) {
		memcpy(out, in, height * stride);
		return 0;
	}
	lines = malloc(in_height * stride);
	weights = calloc((size_t) (2 * fmax(step, 1)) + 4, sizeof *weights);
	if (!lines || !weights)
		return -ENOMEM;
	for (uint32_t o = 0; o < width; o++) {
		n = axis_weights(&x, o, weights, &first);
		for (uint32_t l = 0; l < in_height; l++)
			for (uint32_t c = 0; c < channels; c++)
				lines[l * stride + (size_t) o * channels + c] =
					weigh(in + l * in_stride + (size_t) first * channels + c,
						channels, weights, n);
	}
	for (uint32_t o = 0; o < height; o++) {
		n = axis_weights(&y, o, weights, &first);
		for (size_t t = 0; t < stride; t++)
			out[o * stride + t] = weigh(lines + first * stride + t, stride, weights, n);
	}
	return 0;
}
