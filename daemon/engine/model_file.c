/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a model file to a network: keys into structs by the tables of model_fields.c, scales into one
 * block, planes only located. Relations between the parts are checked in model_check.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "engine/model_check.h"
#include "engine/model_fields.h"

#define FORMAT 1
#define PARTS_MAX 65536
#define LABELS_MAX 65536
#define PREFIX_MAX 48

static int expect_u32(struct gguf *g, const char *key, uint32_t expected, struct error *reterr)
{
	const uint8_t *data = NULL;
	int r;

	r = gguf_scalar(g, key, GGUF_U32, &data, reterr);
	if (r < 0)
		return r;
	if (bytes_u32(data) != expected)
		return error_set(reterr, -ENOTSUP, "key '%s': %u, not %u", key, bytes_u32(data), expected);
	return 0;
}

static int check_kind_of_file(struct gguf *g, struct error *reterr)
{
	char architecture[64];
	int r;

	r = gguf_text(g, "general.architecture", architecture, sizeof architecture, reterr);
	if (r < 0)
		return r;
	if (strcmp(architecture, "bitshed") != 0)
		return error_set(reterr, -ENOTSUP, "key 'general.architecture': '%s', not 'bitshed'",
			architecture);
	r = expect_u32(g, "general.alignment", GGUF_ALIGNMENT, reterr);
	if (r < 0)
		return r;
	return expect_u32(g, "bitshed.format", FORMAT, reterr);
}

/* How many there are. Each one has keys of its own, so a small file cannot make us allocate for many. */
static int read_count(struct gguf *g, const char *key, uint32_t min, uint32_t *ret,
	struct error *reterr)
{
	const uint8_t *data = NULL;
	uint32_t count;
	int r;

	r = gguf_scalar(g, key, GGUF_U32, &data, reterr);
	if (r < 0)
		return r;
	count = bytes_u32(data);
	if (count < min || count > PARTS_MAX || count > g->n_entries)
		return error_set(reterr, -EBADMSG, "key '%s': %u are too %s", key, count,
			count < min ? "few" : "many");
	*ret = count;
	return 0;
}

static int read_values(struct network *n, struct gguf *g, struct error *reterr)
{
	char prefix[PREFIX_MAX];
	uint32_t count = 0;
	int r;

	r = read_count(g, "bitshed.values", 1, &count, reterr);
	if (r < 0)
		return r;
	n->values = calloc((size_t) count + 1, sizeof *n->values);
	if (!n->values)
		return -ENOMEM;
	n->n_values = count;
	for (uint32_t i = 0; r >= 0 && i < n->n_values; i++) {
		(void) snprintf(prefix, sizeof prefix, "bitshed.value.%u.", i);
		r = fields_read(&value_table, g, prefix, &n->values[i], reterr);
	}
	return r;
}

static int read_tables(struct op *op, struct gguf *g, const char *prefix, struct error *reterr)
{
	char key[GGUF_KEY_MAX];
	const uint8_t *data = NULL;
	uint64_t count = 0;
	int r;

	(void) snprintf(key, sizeof key, "%stables", prefix);
	if (!gguf_has(g, key))
		return 0;
	r = gguf_array(g, key, GGUF_U8, OP_INPUTS_MAX * 256, &data, &count, reterr);
	if (r < 0)
		return r;
	if (count == 0 || count % 256 != 0)
		return error_set(reterr, -EBADMSG, "key '%s': %lu bytes are no tables of 256", key, count);
	op->table = malloc(count);
	if (!op->table)
		return -ENOMEM;
	memcpy(op->table, data, count);
	op->n_tables = (uint32_t) (count / 256);
	return 0;
}

static int read_ops(struct network *n, struct gguf *g, struct error *reterr)
{
	char prefix[PREFIX_MAX];
	uint32_t count = 0;
	int r;

	r = read_count(g, "bitshed.ops", 1, &count, reterr);
	if (r < 0)
		return r;
	n->ops = calloc((size_t) count + 1, sizeof *n->ops);
	if (!n->ops)
		return -ENOMEM;
	n->n_ops = count;
	for (uint32_t i = 0; r >= 0 && i < n->n_ops; i++) {
		(void) snprintf(prefix, sizeof prefix, "bitshed.op.%u.", i);
		r = fields_read(&op_table, g, prefix, &n->ops[i], reterr);
		if (r >= 0)
			r = read_tables(&n->ops[i], g, prefix, reterr);
	}
	return r;
}

/* Which optional runs of floats there are. Until the block is read, a present part points to here. */
static int read_parts(struct matrix *m, struct gguf *g, const char *prefix, struct error *reterr)
{
	static const float present = 0;
	char key[GGUF_KEY_MAX];
	const uint8_t *data = NULL;
	int r;

	for (size_t i = 0; i < MATRIX_PARTS; i++) {
		const struct matrix_part *part = &matrix_parts[i];
		bool there = part->codings & (UINT32_C(1) << m->coding);

		if (there && part->key) {
			(void) snprintf(key, sizeof key, "%s%s", prefix, part->key);
			r = gguf_scalar(g, key, GGUF_BOOL, &data, reterr);
			if (r < 0)
				return r;
			there = *data;
		}
		matrix_part_set(m, part, there ? &present : NULL);
	}
	return 0;
}

static int read_matrices(struct network *n, struct gguf *g, struct error *reterr)
{
	char prefix[PREFIX_MAX];
	uint32_t count = 0;
	int r;

	r = read_count(g, "bitshed.matrices", 0, &count, reterr);
	if (r < 0)
		return r;
	n->matrices = calloc((size_t) count + 1, sizeof *n->matrices);
	if (!n->matrices)
		return -ENOMEM;
	n->n_matrices = count;
	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++) {
		(void) snprintf(prefix, sizeof prefix, "bitshed.matrix.%u.", i);
		r = fields_read(&matrix_table, g, prefix, &n->matrices[i], reterr);
		if (r >= 0)
			r = read_parts(&n->matrices[i], g, prefix, reterr);
		if (r < 0)
			break;
		r = matrix_check(&n->matrices[i], reterr);
		if (r < 0)
			return error_prefix(reterr, r, "matrix %u", i);
	}
	return r;
}

static uint64_t count_scales(const struct network *n)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		for (size_t j = 0; j < MATRIX_PARTS; j++)
			if (matrix_part_get(&n->matrices[i], &matrix_parts[j]))
				total += matrix_parts[j].count(&n->matrices[i]);
	return total;
}

static void place_scales(struct network *n)
{
	const float *p = n->scales;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		struct matrix *m = &n->matrices[i];

		for (size_t j = 0; j < MATRIX_PARTS; j++) {
			if (!matrix_part_get(m, &matrix_parts[j]))
				continue;
			matrix_part_set(m, &matrix_parts[j], p);
			p += matrix_parts[j].count(m);
		}
	}
}

static int check_finite(const struct network *n, struct error *reterr)
{
	const float *p = n->scales;

	for (size_t i = 0; i < n->scales_bytes / sizeof *p; i++)
		if (!isfinite(p[i]))
			return error_set(reterr, -EBADMSG, "tensor 'scales': element %zu is not finite", i);
	return 0;
}

static int read_scales(struct network *n, const struct gguf *g, struct error *reterr)
{
	const struct gguf_tensor *t = gguf_find_tensor(g, "scales");
	/* At most 2^16 matrices of 2^40 floats each: the sum cannot wrap. */
	uint64_t bytes = count_scales(n) * sizeof(float);
	int r;

	if (bytes == 0)
		return 0;
	if (!t)
		return error_set(reterr, -EBADMSG, "tensor 'scales' is missing");
	if (t->type != GGUF_TENSOR_F32 || t->bytes != bytes)
		return error_set(reterr, -EBADMSG, "tensor 'scales': %lu bytes, the matrices need %lu of f32",
			t->bytes, bytes);
	n->scales = malloc(bytes);
	if (!n->scales)
		return -ENOMEM;
	n->scales_bytes = bytes;
	r = fd_read_at(n->fd, n->scales, bytes, t->offset);
	if (r < 0)
		return error_prefix(reterr, r == -ENODATA ? -EBADMSG : r, "tensor 'scales'");
	place_scales(n);
	return check_finite(n, reterr);
}

static int locate_blob(const struct gguf *g, const char *name, uint64_t *ret_offset,
	uint64_t *ret_bytes, struct error *reterr)
{
	const struct gguf_tensor *t = gguf_find_tensor(g, name);

	if (!t)
		return 0;
	if (t->type != GGUF_TENSOR_I8 || t->bytes % GGUF_ALIGNMENT != 0)
		return error_set(reterr, -EBADMSG, "tensor '%s': not whole pages of I8", name);
	*ret_offset = t->offset;
	*ret_bytes = t->bytes;
	return 0;
}

static int locate_planes(struct network *n, const struct gguf *g, struct error *reterr)
{
	char name[32];
	int r;

	r = locate_blob(g, "planes.fixed", &n->fixed_offset, &n->fixed_bytes, reterr);
	for (uint32_t i = 0; r >= 0 && i < n->planes_max; i++) {
		(void) snprintf(name, sizeof name, "planes.%u", i + 1);
		r = locate_blob(g, name, &n->plane_offset[i], &n->plane_bytes[i], reterr);
	}
	return r;
}

static int accuracy_floats(struct gguf *g, const char *key, uint64_t count, const uint8_t **ret,
	struct error *reterr)
{
	uint64_t n = 0;
	int r;

	r = gguf_array(g, key, GGUF_F32, ACCURACIES_MAX, ret, &n, reterr);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < n; i++)
		if (!isfinite(bytes_f32(*ret + i * 4)))
			return error_set(reterr, -EBADMSG, "key '%s': element %lu is not finite", key, i);
	if (n != count)
		return error_set(reterr, -EBADMSG, "key '%s': %lu elements, not %lu", key, n, count);
	return 0;
}

/* What files of the first days do not say. */
static int read_card_words(struct network *n, struct gguf *g, struct error *reterr)
{
	static const char *const names[_ACCURACY_AGAINST_MAX] = {"labels", "fp32"};
	char against[16] = "labels";
	int r = 0;

	if (gguf_has(g, "bitshed.accuracy.data"))
		r = gguf_text(g, "bitshed.accuracy.data", n->accuracy_data, sizeof n->accuracy_data, reterr);
	if (r >= 0 && gguf_has(g, "bitshed.accuracy.against"))
		r = gguf_text(g, "bitshed.accuracy.against", against, sizeof against, reterr);
	if (r < 0)
		return r;
	for (uint32_t k = 0; k < _ACCURACY_AGAINST_MAX; k++)
		if (strcmp(against, names[k]) == 0) {
			for (uint32_t i = 0; i < n->n_accuracies; i++)
				n->accuracies[i].against = k;
			return 0;
		}
	return error_set(reterr, -ENOTSUP, "key 'bitshed.accuracy.against': '%s' is not known", against);
}

static int read_accuracies(struct network *n, struct gguf *g, struct error *reterr)
{
	const uint8_t *images = NULL, *bits = NULL, *top1 = NULL, *top5 = NULL, *snr = NULL;
	uint64_t count = 0;
	int r;

	r = gguf_array(g, "bitshed.accuracy.images", GGUF_U32, ACCURACIES_MAX, &images, &count, reterr);
	if (r >= 0)
		r = accuracy_floats(g, "bitshed.accuracy.bits", count, &bits, reterr);
	if (r >= 0)
		r = accuracy_floats(g, "bitshed.accuracy.top1", count, &top1, reterr);
	if (r >= 0)
		r = accuracy_floats(g, "bitshed.accuracy.top5", count, &top5, reterr);
	if (r >= 0 && gguf_has(g, "bitshed.accuracy.snr"))
		r = accuracy_floats(g, "bitshed.accuracy.snr", count, &snr, reterr);
	if (r < 0)
		return r;
	n->accuracies = calloc(count + 1, sizeof *n->accuracies);
	if (!n->accuracies)
		return -ENOMEM;
	n->n_accuracies = (uint32_t) count;
	for (uint64_t i = 0; i < count; i++)
		n->accuracies[i] = (struct accuracy) {
			.bits = bytes_f32(bits + i * 4),
			.top1 = bytes_f32(top1 + i * 4),
			.top5 = bytes_f32(top5 + i * 4),
			.snr = snr ? bytes_f32(snr + i * 4) : 0,
			.images = bytes_u32(images + i * 4),
		};
	return read_card_words(n, g, reterr);
}

static int read_network(struct network *n, struct gguf *g, struct error *reterr)
{
	int r;

	r = check_kind_of_file(g, reterr);
	if (r >= 0)
		r = fields_read(&network_table, g, "", n, reterr);
	if (r >= 0)
		r = gguf_texts(g, "bitshed.labels", LABELS_MAX, &n->labels, &n->n_labels, reterr);
	if (r >= 0)
		r = read_accuracies(n, g, reterr);
	if (r >= 0)
		r = read_values(n, g, reterr);
	if (r >= 0)
		r = read_ops(n, g, reterr);
	if (r >= 0)
		r = read_matrices(n, g, reterr);
	if (r >= 0)
		r = gguf_check_used(g, "bitshed.", reterr);
	if (r >= 0)
		r = read_scales(n, g, reterr);
	if (r >= 0)
		r = locate_planes(n, g, reterr);
	if (r >= 0)
		r = network_check(n, reterr);
	return r;
}

int network_open_head(struct network **ret, int head, int fd, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(gguf_done) struct gguf g = {0};
	int r, planes;

	n = calloc(1, sizeof *n);
	if (!n)
		return -ENOMEM;
	atomic_init(&n->refs, 1);
	n->fd = fcntl(head, F_DUPFD_CLOEXEC, 3);
	if (n->fd < 0)
		return -errno;
	r = gguf_read(&g, n->fd, reterr);
	if (r < 0)
		return r;
	r = read_network(n, &g, reterr);
	if (r < 0)
		return r;
	planes = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (planes < 0)
		return -errno;
	(void) close(n->fd);
	n->fd = planes;
	n->store = plane_store_new();
	if (!n->store)
		return -ENOMEM;
	*ret = take_ptr(n);
	return 0;
}

int network_open(struct network **ret, int fd, struct error *reterr)
{
	return network_open_head(ret, fd, fd, reterr);
}
