/* SPDX-License-Identifier: Apache-2.0 */
/* The kind of a data set is told by its first bytes; the readers fill struct dataset in. */
#include "convert/dataset_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "convert/image.h"

#define CIFAR_RECORD 3073
#define CIFAR_CLASSES 10

static uint32_t big_endian_u32(const uint8_t *p)
{
	return __builtin_bswap32(bytes_u32(p));
}

/* Label, then the R, G and B planes of 32 x 32. */
static int read_cifar(struct dataset *d, struct error *reterr)
{
	if (d->map.size / CIFAR_RECORD > INT32_MAX)
		return error_set(reterr, -EFBIG, "too many CIFAR-10 records");
	d->count = (uint32_t) (d->map.size / CIFAR_RECORD);
	d->labels = calloc(d->count, sizeof *d->labels);
	if (!d->labels)
		return -ENOMEM;
	for (size_t i = 0; i < d->count; i++) {
		d->labels[i] = d->map.data[i * CIFAR_RECORD];
		if (d->labels[i] >= CIFAR_CLASSES)
			return error_set(reterr, -EBADMSG, "CIFAR-10: label %d of record %zu",
				d->labels[i], i);
	}
	d->items = d->map.data + 1;
	d->stride = CIFAR_RECORD;
	d->height = d->width = 32;
	d->channels = 3;
	d->pixels = d->channels_first = true;
	return 0;
}

static int read_idx_images(struct dataset *d, struct error *reterr)
{
	size_t bytes;

	if (d->map.size < 16)
		return error_set(reterr, -EBADMSG, "idx: the header is cut short");
	d->count = big_endian_u32(d->map.data + 4);
	d->height = big_endian_u32(d->map.data + 8);
	d->width = big_endian_u32(d->map.data + 12);
	d->channels = 1;
	d->pixels = true;
	d->items = d->map.data + 16;
	if (d->height == 0 || d->width == 0 || d->height > DATASET_SIDE_MAX ||
		d->width > DATASET_SIDE_MAX)
		return error_set(reterr, -EBADMSG, "idx: images of %u x %u", d->width, d->height);
	d->stride = (size_t) d->height * d->width;
	if (d->count == 0 || d->count > INT32_MAX || !bytes_mul(&bytes, d->count, d->stride) ||
		bytes > d->map.size - 16)
		return error_set(
			reterr, -EBADMSG, "idx: the file is too short for %u images", d->count);
	return 0;
}

static int idx_labels(
	int32_t **ret_labels, uint32_t *ret_count, const struct file_map *map, struct error *reterr)
{
	uint32_t count = map->size < 8 ? 0 : big_endian_u32(map->data + 4);
	int32_t *labels;

	if (count == 0 || count > map->size - 8)
		return error_set(
			reterr, -EBADMSG, "idx: the file is too short for %u labels", count);
	labels = calloc(count, sizeof *labels);
	if (!labels)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		labels[i] = map->data[8 + i];
	*ret_labels = labels;
	*ret_count = count;
	return 0;
}

static bool begins_with(const struct file_map *m, const char *magic, size_t size)
{
	return m->size >= size && memcmp(m->data, magic, size) == 0;
}

static bool is_npy(const struct file_map *m)
{
	return begins_with(m, "\x93NUMPY", 6);
}

static int read_single_picture(struct dataset *d, const char *path)
{
	d->paths = calloc(1, sizeof *d->paths);
	if (!d->paths)
		return -ENOMEM;
	d->count = 1;
	d->paths[0] = strdup(path);
	d->pixels = true;
	d->height = d->width = 224;
	d->channels = 3;
	return d->paths[0] ? 0 : -ENOMEM;
}

static int read_data(struct dataset *d, const char *path, struct error *reterr)
{
	struct stat st;
	int r;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return dataset_read_folder(d, path, reterr);
	r = file_map(&d->map, path, reterr);
	if (r < 0)
		return r;
	if (is_npy(&d->map))
		return dataset_read_npy(d, reterr);
	if (begins_with(&d->map, "\0\0\x08\x03", 4))
		return read_idx_images(d, reterr);
	if (begins_with(&d->map, "\xff\xd8\xff", 3) || begins_with(&d->map, "\x89PNG", 4))
		return read_single_picture(d, path);
	if (d->map.size % CIFAR_RECORD == 0)
		return read_cifar(d, reterr);
	return error_set(reterr, -ENOTSUP,
		"data must be CIFAR-10 records, idx images, .npy, or a folder of"
		" JPEG and PNG files");
}

static int read_labels(struct dataset *d, const char *path, struct error *reterr)
{
	_cleanup_(file_unmap) struct file_map map = {0};
	_cleanup_free_ int32_t *labels = NULL;
	uint32_t count = 0;
	int r;

	r = file_map(&map, path, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "labels");
	if (is_npy(&map))
		r = npy_labels(&labels, &count, &map, reterr);
	else if (begins_with(&map, "\0\0\x08\x01", 4))
		r = idx_labels(&labels, &count, &map, reterr);
	else
		r = error_set(reterr, -ENOTSUP, "must be integers in .npy or idx");
	if (r < 0)
		return error_prefix(reterr, r, "labels");
	if (count != d->count)
		return error_set(reterr, -EINVAL, "%u labels for %u items", count, d->count);
	free(d->labels);
	d->labels = take_ptr(labels);
	return 0;
}

static void replace_last(char *name, const char *from, const char *to)
{
	char *found = NULL;

	for (char *p = name; (p = strstr(p, from)); p++)
		found = p;
	if (found)
		memcpy(found, to, strlen(to));
}

/* images-idx3 -> labels-idx1, as MNIST names them. Return: NULL when that is no other, existing
 * file. */
static char *idx_labels_beside(const char *path)
{
	_cleanup_free_ char *labels = strdup(path);
	struct stat st;
	char *name;

	if (!labels)
		return NULL;
	name = strrchr(labels, '/') ?: labels;
	replace_last(name, "images", "labels");
	replace_last(name, "idx3", "idx1");
	if (strcmp(labels, path) == 0 || stat(labels, &st) < 0)
		return NULL;
	return take_ptr(labels);
}

int dataset_open(struct dataset **ret, const char *data, const char *labels, struct error *reterr)
{
	_cleanup_(dataset_freep) struct dataset *d = calloc(1, sizeof *d);
	_cleanup_free_ char *beside = NULL;
	int r;

	if (!d)
		return -ENOMEM;
	r = read_data(d, data, reterr);
	if (r < 0)
		return r;
	if (!labels && begins_with(&d->map, "\0\0\x08\x03", 4))
		labels = beside = idx_labels_beside(data);
	if (labels) {
		r = read_labels(d, labels, reterr);
		if (r < 0)
			return r;
	}
	d->out_height = d->height;
	d->out_width = d->width;
	*ret = take_ptr(d);
	return 0;
}

struct dataset *dataset_free(struct dataset *d)
{
	if (!d)
		return NULL;
	for (uint32_t i = 0; d->paths && i < d->count; i++)
		free(d->paths[i]);
	free(d->paths);
	free(d->labels);
	file_unmap(&d->map);
	free(d);
	return NULL;
}

uint32_t dataset_count(const struct dataset *d)
{
	return d->count;
}

bool dataset_is_pixels(const struct dataset *d)
{
	return d->pixels;
}

void dataset_shape(const struct dataset *d, uint32_t *height, uint32_t *width, uint32_t *channels)
{
	*height = d->out_height;
	*width = d->out_width;
	*channels = d->channels;
}

int dataset_resize(struct dataset *d, uint32_t height, uint32_t width)
{
	if (!d->pixels)
		return -ENOTSUP;
	if (height == 0 || width == 0 || height > DATASET_SIDE_MAX || width > DATASET_SIDE_MAX)
		return -EINVAL;
	d->out_height = height;
	d->out_width = width;
	return 0;
}

static void copy_channels_last(const struct dataset *d, const uint8_t *in, uint8_t *out)
{
	size_t area = (size_t) d->height * d->width;

	for (uint32_t c = 0; c < d->channels; c++)
		for (size_t t = 0; t < area; t++)
			out[t * d->channels + c] = in[c * area + t];
}

static int picture_pixels(const struct dataset *d, uint32_t i, uint8_t *out)
{
	_cleanup_(image_done) struct image image = {0};
	int r = image_load(&image, d->paths[i], NULL);

	if (r < 0)
		return r;
	return image_resize(
		out, d->out_height, d->out_width, image.rgb, image.height, image.width, 3);
}

int dataset_pixels(struct dataset *d, uint32_t i, uint8_t *out)
{
	bool same = d->out_height == d->height && d->out_width == d->width;
	_cleanup_free_ uint8_t *last = NULL;
	const uint8_t *item;

	if (!d->pixels || i >= d->count)
		return -EINVAL;
	if (d->paths)
		return picture_pixels(d, i, out);
	item = d->items + i * d->stride;
	if (d->channels_first) {
		if (same) {
			copy_channels_last(d, item, out);
			return 0;
		}
		last = malloc((size_t) d->height * d->width * d->channels);
		if (!last)
			return -ENOMEM;
		copy_channels_last(d, item, last);
		item = last;
	}
	return image_resize(
		out, d->out_height, d->out_width, item, d->height, d->width, d->channels);
}

int dataset_floats(struct dataset *d, uint32_t i, float *out)
{
	if (d->pixels || i >= d->count)
		return -EINVAL;
	memcpy(out, d->items + i * d->stride, d->stride);
	return 0;
}

int dataset_label(const struct dataset *d, uint32_t i)
{
	return d->labels && i < d->count ? d->labels[i] : -1;
}

void preprocess_chw(const struct preprocess *p, const uint8_t *pixels, uint32_t height,
	uint32_t width, uint32_t channels, float *out)
{
	size_t area = (size_t) height * width;

	for (uint32_t c = 0; c < channels; c++) {
		bool swap = p->bgr && channels >= 3 && c < 3;
		float *to = out + (swap ? 2 - c : c) * area;

		for (size_t t = 0; t < area; t++)
			to[t] = ((float) pixels[t * channels + c] * p->scale - p->mean[c]) /
				p->std[c];
	}
}
