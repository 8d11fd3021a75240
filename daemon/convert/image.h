/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: JPEG and PNG to RGB bytes, and the resize that classification networks expect. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define IMAGE_SIDE_MAX 16384
#define IMAGE_PIXELS_MAX (UINT64_C(1) << 26)

/**
 * struct image - [height][width][3] bytes R, G, B; owned, image_done() frees
 */
struct image {
	uint32_t height, width;
	uint8_t *rgb;
};

void image_done(struct image *i);

/**
 * image_decode() - a JPEG or PNG in memory; recognised by its first bytes
 *
 * Alpha is laid over black, grey becomes RGB. @ret is written only on success.
 * Return: 0; -EBADMSG when broken; -EFBIG above IMAGE_SIDE_MAX or IMAGE_PIXELS_MAX; -ENOTSUP for
 * other kinds of files and for CMYK; -ENOMEM. Any thread.
 */
int image_decode(struct image *ret, const uint8_t *data, size_t size, struct error *reterr);

/** image_load() - image_decode() of a file. Return: as image_decode(), or an errno of reading. */
int image_load(struct image *ret, const char *path, struct error *reterr);

/**
 * image_resize() - scale until the picture just covers @out, then cut out its centre
 * @in: [in_height][in_width][channels]; any size of at least 1x1
 * @out: [height][width][channels]; must not overlap @in
 *
 * Bilinear; where the picture shrinks the triangle is as wide as an output pixel, so nothing
 * aliases. The bytes are those of Pillow's Image.resize(BILINEAR). Return: 0 or -ENOMEM. Any thread.
 */
int image_resize(uint8_t *out, uint32_t height, uint32_t width, const uint8_t *in,
	uint32_t in_height, uint32_t in_width, uint32_t channels);
