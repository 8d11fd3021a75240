/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "convert/evaluate.h"

#define CHANNELS_MAX 4

/**
 * struct loader - @table: what a pixel of a channel of the network is
 * @epoch: of the present order
 */
struct loader {
	struct loader_options options;
	struct shape shape;
	uint32_t count;
	bool pixels, bgr;
	uint8_t *bytes;
	float *floats, table[CHANNELS_MAX][256];
	int32_t *labels;
	uint32_t *order;
	uint64_t epoch;
};

/* SplitMix64's finaliser on a mixed counter. */
uint64_t draw_u64(uint64_t key, uint64_t counter)
{
	uint64_t z = key * UINT64_C(0xd1342543de82ef95) + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

struct loader *loader_free(struct loader *l)
{
	if (!l)
		return NULL;
	free(l->bytes);
	free(l->floats);
	free(l->labels);
	free(l->order);
	free(l);
	return NULL;
}

static void fill_table(struct loader *l, const struct preprocess *p)
{
	l->bgr = p->bgr && l->shape.channels == 3;
	for (uint32_t c = 0; c < MIN_OF(l->shape.channels, CHANNELS_MAX); c++) {
		uint32_t from = l->bgr ? 2 - c : c;

		for (uint32_t i = 0; i < 256; i++)
			l->table[c][i] = ((float) i * p->scale - p->mean[from]) / p->std[from];
	}
}

/* Features come as the net has them, CHW. */
static void to_hwc(struct shape s, const float *chw, float *hwc)
{
	size_t plane = (size_t) s.height * s.width;

	for (size_t i = 0; i < plane; i++)
		for (uint32_t c = 0; c < s.channels; c++)
			hwc[i * s.channels + c] = chw[c * plane + i];
}

static int read_item(struct loader *l, struct dataset *d, uint32_t i, float *scratch)
{
	size_t n = shape_elements(l->shape);
	int r;

	if (l->pixels)
		return dataset_pixels(d, i, l->bytes + i * n);
	r = dataset_floats(d, i, scratch);
	if (r >= 0)
		to_hwc(l->shape, scratch, l->floats + i * n);
	return r;
}

static int read_items(struct loader *l, struct dataset *d, uint32_t classes, struct error *reterr)
{
	size_t n = shape_elements(l->shape), all;
	_cleanup_free_ float *scratch = malloc(n * sizeof *scratch);
	int r = 0, offset = evaluate_label_offset(classes, d);

	if (!bytes_mul(&all, n, l->count))
		return -ENOMEM;
	if (l->pixels)
		l->bytes = malloc(all);
	else
		l->floats = reallocarray(NULL, all, sizeof *l->floats);
	l->labels = reallocarray(NULL, l->count, sizeof *l->labels);
	l->order = reallocarray(NULL, l->count, sizeof *l->order);
	if (!scratch || !(l->bytes || l->floats) || !l->labels || !l->order)
		return -ENOMEM;
	for (uint32_t i = 0; r >= 0 && i < l->count; i++) {
		l->order[i] = i;
		l->labels[i] = dataset_label(d, i);
		if (l->labels[i] < 0)
			return error_set(reterr, -EINVAL, "sample %u has no label", i);
		l->labels[i] += offset;
		if ((uint32_t) l->labels[i] >= classes)
			return error_set(reterr, -EINVAL, "sample %u has label %d, the network %u classes", i,
				l->labels[i], classes);
		r = read_item(l, d, i, scratch);
	}
	return r;
}

int loader_open(struct loader **ret, const char *data, const char *labels, const struct preprocess *p,
	struct shape shape, uint32_t classes, const struct loader_options *options, struct error *reterr)
{
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	_cleanup_(loader_freep) struct loader *l = calloc(1, sizeof *l);
	struct samples s = {};
	int r = l ? dataset_open(&d, data, labels, reterr) : -ENOMEM;

	if (r >= 0)
		r = samples_init(&s, d, p, shape, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", data);
	l->options = *options;
	l->pixels = s.pixels;
	l->shape = s.shape;
	if (s.pixels && s.shape.channels > CHANNELS_MAX)
		return error_set(reterr, -EINVAL, "%s: pictures of %u channels", data, s.shape.channels);
	l->count = dataset_count(d);
	if (options->limit)
		l->count = MIN_OF(l->count, options->limit);
	if (l->count == 0)
		return error_set(reterr, -EINVAL, "%s: no samples", data);
	fill_table(l, p);
	r = read_items(l, d, classes, reterr);
	if (r < 0)
		return error_prefix(reterr, r, "%s", data);
	*ret = take_ptr(l);
	return 0;
}

uint32_t loader_count(const struct loader *l)
{
	return l->count;
}

uint64_t loader_key(const struct loader *l)
{
	const struct loader_options *o = &l->options;

	return draw_u64(draw_u64(draw_u64(o->seed, o->crop), o->flip), l->count);
}

void loader_shuffle(struct loader *l, uint64_t epoch)
{
	uint64_t key = draw_u64(l->options.seed, epoch);

	l->epoch = epoch;
	for (uint32_t i = 0; i < l->count; i++)
		l->order[i] = i;
	for (uint32_t i = l->count; i-- > 1;) {
		uint32_t j = (uint32_t) (draw_u64(key, i) % (i + 1)), was = l->order[i];

		l->order[i] = l->order[j];
		l->order[j] = was;
	}
}

/* What the augmentation moved in from outside is black. */
static void picture(const struct loader *l, const uint8_t *from, int dy, int dx, bool mirror, float *out)
{
	int height = (int) l->shape.height, width = (int) l->shape.width;
	uint32_t channels = l->shape.channels;

	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++, out += channels) {
			int v = y + dy, u = (mirror ? width - 1 - x : x) + dx;
			bool inside = v >= 0 && v < height && u >= 0 && u < width;
			const uint8_t *p = inside ? from + ((size_t) v * (size_t) width + (size_t) u) * channels : NULL;

			for (uint32_t c = 0; c < channels; c++)
				out[c] = l->table[c][p ? p[l->bgr ? 2 - c : c] : 0];
		}
}

void loader_batch(const struct loader *l, uint32_t first, uint32_t n, bool augment, float *out,
	int32_t *labels)
{
	size_t each = shape_elements(l->shape);
	uint32_t side = 2 * l->options.crop + 1;

	for (uint32_t i = 0; i < n; i++, out += each) {
		uint32_t at = first + i < l->count ? l->order[first + i] : l->order[0];
		uint64_t drawn = augment ? draw_u64(draw_u64(l->options.seed + 1, l->epoch), at) : 0;
		int dy = 0, dx = 0;

		labels[i] = first + i < l->count ? l->labels[at] : -1;
		if (!l->pixels) {
			memcpy(out, l->floats + at * each, each * sizeof *out);
			continue;
		}
		if (augment) {
			dy = (int) (drawn % side) - (int) l->options.crop;
			dx = (int) (drawn / side % side) - (int) l->options.crop;
		}
		picture(l, l->bytes + at * each, dy, dx, augment && l->options.flip && drawn >> 63, out);
	}
}
