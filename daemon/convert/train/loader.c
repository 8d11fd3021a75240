/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/loader.h"

#include <errno.h>
#include <math.h>
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

	uint64_t key = draw_u64(draw_u64(draw_u64(o->seed, o->crop), o->flip), l->count);

	return draw_u64(key, (uint64_t) (o->cutmix * 1e6f));
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

/* A picture of the set as it is seen this time: shifted, mirrored. */
struct view {
	const uint8_t *from;
	int dy, dx;
	bool mirror;
};

struct rectangle {
	uint32_t top, bottom, left, right;
};

static struct view view_of(const struct loader *l, uint32_t at, bool augment)
{
	uint64_t drawn = augment ? draw_u64(draw_u64(l->options.seed + 1, l->epoch), at) : 0;
	uint32_t crop = augment ? l->options.crop : 0, side = 2 * crop + 1;

	return (struct view){.from = l->bytes + at * shape_elements(l->shape),
		.dy = (int) (drawn % side) - (int) crop, .dx = (int) (drawn / side % side) - (int) crop,
		.mirror = augment && l->options.flip && drawn >> 63};
}

/* What the augmentation moved in from outside is black. */
static void draw_view(const struct loader *l, const struct view *v, struct rectangle r, float *picture)
{
	uint32_t channels = l->shape.channels;

	for (uint32_t y = r.top; y < r.bottom; y++) {
		float *out = picture + ((size_t) y * l->shape.width + r.left) * channels;

		for (uint32_t x = r.left; x < r.right; x++, out += channels) {
			uint32_t row = y + (uint32_t) v->dy;
			uint32_t column = (v->mirror ? l->shape.width - 1 - x : x) + (uint32_t) v->dx;
			bool inside = row < l->shape.height && column < l->shape.width;
			const uint8_t *p = inside ? v->from + ((size_t) row * l->shape.width + column) * channels : NULL;

			for (uint32_t c = 0; c < channels; c++)
				out[c] = l->table[c][p ? p[l->bgr ? 2 - c : c] : 0];
		}
	}
}

static float draw_part(uint64_t key, uint64_t counter)
{
	return (float) (draw_u64(key, counter) >> 40) * 0x1p-24f;
}

/* Around any place, cut off at the edge; what it would cover is drawn evenly from 0 to 1. */
static struct rectangle draw_rectangle(const struct loader *l, uint64_t key)
{
	float side = 0.5f * sqrtf(draw_part(key, 0)), y = draw_part(key, 1), x = draw_part(key, 2);
	float height = (float) l->shape.height, width = (float) l->shape.width;

	return (struct rectangle){.top = (uint32_t) (fmaxf(y - side, 0) * height + 0.5f),
		.bottom = (uint32_t) (fminf(y + side, 1) * height + 0.5f),
		.left = (uint32_t) (fmaxf(x - side, 0) * width + 0.5f),
		.right = (uint32_t) (fminf(x + side, 1) * width + 0.5f)};
}

static void draw_picture(const struct loader *l, uint32_t at, bool augment, float *out)
{
	struct view view = view_of(l, at, augment);
	uint64_t key = draw_u64(draw_u64(l->options.seed + 2, l->epoch), at);

	draw_view(l, &view, (struct rectangle){0, l->shape.height, 0, l->shape.width}, out);
	if (!augment || draw_part(key, 3) >= l->options.cutmix)
		return;
	view = view_of(l, (uint32_t) (draw_u64(key, 4) % l->count), true);
	draw_view(l, &view, draw_rectangle(l, key), out);
}

void loader_batch(const struct loader *l, uint32_t first, uint32_t n, bool augment, float *out,
	int32_t *labels)
{
	size_t each = shape_elements(l->shape);

	for (uint32_t i = 0; i < n; i++, out += each) {
		uint32_t at = first + i < l->count ? l->order[first + i] : l->order[0];

		labels[i] = first + i < l->count ? l->labels[at] : -1;
		if (l->pixels)
			draw_picture(l, at, augment, out);
		else
			memcpy(out, l->floats + at * each, each * sizeof *out);
	}
}
