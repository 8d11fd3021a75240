/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/model_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/replacement.h"
#include "convert/gguf_write.h"
#include "engine/model_fields.h"

#define FORMAT 1
#define PREFIX_MAX 48
#define PART_WORDS 8 /* a matrix begins on a cache line */
#define BLOBS_MAX (1 + BITS_PLANES_MAX)
#define CRC_STEP ((size_t) 1 << 30)

/* The fixed planes, then plane 1, 2, ... as they will lie in the file. */
struct blobs {
	uint64_t *data[BLOBS_MAX];
	uint64_t bytes[BLOBS_MAX];
	uint32_t crc[BLOBS_MAX];
};

static void blobs_done(struct blobs *b)
{
	for (size_t i = 0; i < BLOBS_MAX; i++)
		free(b->data[i]);
}

/*
 * Matrices with more planes come first, so that those of the last planes form a prefix: a matrix begins
 * at the same word in every plane, and no plane has holes.
 */
static void place_matrices(struct network *n, struct blobs *b)
{
	uint64_t fixed = 0, shed = 0;

	n->planes_max = 1;
	for (uint32_t p = BITS_PLANES_MAX; p > 0; p--)
		for (uint32_t i = 0; i < n->n_matrices; i++) {
			struct matrix *m = &n->matrices[i];
			uint64_t words = bits_plane_words(m->rows, m->row_bits);

			if (m->planes != p)
				continue;
			m->plane_word = m->fixed ? fixed : shed;
			if (m->fixed) {
				fixed = bytes_align(fixed + words * p, PART_WORDS);
				continue;
			}
			shed = bytes_align(shed + words, PART_WORDS);
			n->planes_max = MAX_OF(n->planes_max, p);
			for (uint32_t q = 1; q <= p; q++)
				b->bytes[q] = bytes_align(shed * sizeof(uint64_t), GGUF_ALIGNMENT);
		}
	b->bytes[0] = bytes_align(fixed * sizeof(uint64_t), GGUF_ALIGNMENT);
}

static void copy_matrix(const struct matrix *m, uint64_t *const *planes, struct blobs *b)
{
	uint64_t words = bits_plane_words(m->rows, m->row_bits);

	for (uint32_t p = 0; p < m->planes; p++) {
		uint64_t *to = m->fixed ? b->data[0] + m->plane_word + p * words
					: b->data[1 + p] + m->plane_word;

		memcpy(to, planes[p], words * sizeof *to);
	}
}

static int make_blobs(struct network *n, uint64_t *const *const *planes, struct blobs *b)
{
	for (size_t i = 0; i < BLOBS_MAX; i++) {
		b->data[i] = b->bytes[i] > 0 ? calloc(1, b->bytes[i]) : NULL;
		if (!b->data[i] && b->bytes[i] > 0)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < n->n_matrices; i++)
		copy_matrix(&n->matrices[i], planes[i], b);
	for (size_t i = 0; i < BLOBS_MAX; i++) {
		uLong crc = crc32(0, NULL, 0);

		for (size_t done = 0; done < b->bytes[i]; done += CRC_STEP)
			crc = crc32(crc, (const uint8_t *) b->data[i] + done,
				(uInt) MIN_OF(CRC_STEP, b->bytes[i] - done));
		b->crc[i] = b->bytes[i] > 0 ? (uint32_t) crc : 0;
	}
	return 0;
}

static void put_field(struct gguf_writer *w, const struct field *f, const char *prefix, const void *base)
{
	const char *member = (const char *) base + f->offset;
	char key[GGUF_KEY_MAX + 1];

	(void) snprintf(key, sizeof key, "%s%s", prefix, f->key);
	if (f->type == FIELD_TEXT)
		gguf_put_text(w, key, member);
	else if (f->type == FIELD_ENUM)
		gguf_put_text(w, key, f->names[bytes_u32(member)]);
	else if (f->count == 1)
		gguf_put_scalar(w, key, field_gguf_type(f), member);
	else
		gguf_put_array(w, key, field_gguf_type(f), member,
			f->n_offset == FIELD_NOT_COUNTED ? f->count
							 : bytes_u32((const char *) base + f->n_offset));
}

static void put_fields(struct gguf_writer *w, const struct field_table *t, const char *prefix,
	const void *base)
{
	uint32_t kinds = fields_kinds(t, base);

	for (size_t i = 0; i < t->n_fields; i++)
		if (t->fields[i].kinds & kinds)
			put_field(w, &t->fields[i], prefix, base);
}

static void put_op(struct gguf_writer *w, const struct op *op, uint32_t i)
{
	char prefix[PREFIX_MAX], key[GGUF_KEY_MAX];

	(void) snprintf(prefix, sizeof prefix, "bitshed.op.%u.", i);
	put_fields(w, &op_table, prefix, op);
	(void) snprintf(key, sizeof key, "%stables", prefix);
	if (op->n_tables > 0)
		gguf_put_array(w, key, GGUF_U8, op->table, (uint64_t) op->n_tables * 256);
}

static void put_matrix(struct gguf_writer *w, const struct matrix *m, uint32_t i)
{
	char prefix[PREFIX_MAX], key[GGUF_KEY_MAX];

	(void) snprintf(prefix, sizeof prefix, "bitshed.matrix.%u.", i);
	put_fields(w, &matrix_table, prefix, m);
	for (size_t j = 0; j < MATRIX_PARTS; j++) {
		uint8_t there = matrix_part_get(m, &matrix_parts[j]) != NULL;

		(void) snprintf(key, sizeof key, "%s%s", prefix, matrix_parts[j].key ?: "");
		if (matrix_parts[j].key && (matrix_parts[j].codings & UINT32_C(1) << m->coding))
			gguf_put_scalar(w, key, GGUF_BOOL, &there);
	}
}

static int put_accuracies(struct gguf_writer *w, const struct network *n)
{
	static const char *const keys[] = {"bitshed.accuracy.bits", "bitshed.accuracy.top1",
		"bitshed.accuracy.top5", "bitshed.accuracy.snr"};
	uint32_t count = n->n_accuracies;
	bool any_snr = false; /* the last key */
	_cleanup_free_ float *numbers = malloc((4 * (size_t) count + 1) * sizeof *numbers);
	_cleanup_free_ uint32_t *images = malloc(((size_t) count + 1) * sizeof *images);

	if (!numbers || !images)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		numbers[i] = n->accuracies[i].bits;
		numbers[count + i] = n->accuracies[i].top1;
		numbers[2 * count + i] = n->accuracies[i].top5;
		numbers[3 * count + i] = n->accuracies[i].snr;
		images[i] = n->accuracies[i].images;
		any_snr |= n->accuracies[i].snr != 0;
	}
	for (uint32_t k = 0; k < ARRAY_SIZE(keys) - !any_snr; k++)
		gguf_put_array(w, keys[k], GGUF_F32, numbers + (size_t) k * count, count);
	gguf_put_array(w, "bitshed.accuracy.images", GGUF_U32, images, count);
	if (n->accuracy_data[0])
		gguf_put_text(w, "bitshed.accuracy.data", n->accuracy_data);
	if (count > 0 && n->accuracies[0].against == ACCURACY_FP32)
		gguf_put_text(w, "bitshed.accuracy.against", "fp32");
	return 0;
}

static void put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
	gguf_put_scalar(w, key, GGUF_U32, &v);
}

static int put_network(struct gguf_writer *w, const struct network *n)
{
	char prefix[PREFIX_MAX];

	gguf_put_text(w, "general.architecture", "bitshed");
	put_u32(w, "general.alignment", GGUF_ALIGNMENT);
	put_u32(w, "bitshed.format", FORMAT);
	put_fields(w, &network_table, "", n);
	gguf_put_texts(w, "bitshed.labels", n->labels, n->n_labels);
	put_u32(w, "bitshed.values", n->n_values);
	put_u32(w, "bitshed.ops", n->n_ops);
	put_u32(w, "bitshed.matrices", n->n_matrices);
	for (uint32_t i = 0; i < n->n_values; i++) {
		(void) snprintf(prefix, sizeof prefix, "bitshed.value.%u.", i);
		put_fields(w, &value_table, prefix, &n->values[i]);
	}
	for (uint32_t i = 0; i < n->n_ops; i++)
		put_op(w, &n->ops[i], i);
	for (uint32_t i = 0; i < n->n_matrices; i++)
		put_matrix(w, &n->matrices[i], i);
	return put_accuracies(w, n);
}

static uint64_t scales_bytes(const struct network *n)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		for (size_t j = 0; j < MATRIX_PARTS; j++)
			if (matrix_part_get(&n->matrices[i], &matrix_parts[j]))
				count += matrix_parts[j].count(&n->matrices[i]);
	return count * sizeof(float);
}

static int write_padding(int fd, uint64_t bytes)
{
	static const uint8_t zeros[GGUF_ALIGNMENT];

	return fd_write_all(fd, zeros, bytes_align(bytes, GGUF_ALIGNMENT) - bytes);
}

static int write_scales(int fd, const struct network *n)
{
	int r = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++)
		for (size_t j = 0; r >= 0 && j < MATRIX_PARTS; j++) {
			const float *numbers = matrix_part_get(&n->matrices[i], &matrix_parts[j]);

			if (numbers)
				r = fd_write_all(fd, numbers,
					matrix_parts[j].count(&n->matrices[i]) * sizeof *numbers);
		}
	return r < 0 ? r : write_padding(fd, scales_bytes(n));
}

/* Names the tensors; offsets in @network become those of the file when the header's size is known. */
static void put_tensors(struct gguf_writer *w, struct network *n, const struct blobs *b)
{
	char name[32];

	if (scales_bytes(n) > 0)
		(void) gguf_put_tensor(w, "scales", GGUF_TENSOR_F32, scales_bytes(n));
	n->fixed_bytes = b->bytes[0];
	if (b->bytes[0] > 0)
		n->fixed_offset = gguf_put_tensor(w, "planes.fixed", GGUF_TENSOR_I8, b->bytes[0]);
	for (uint32_t p = 0; p < BITS_PLANES_MAX; p++) {
		(void) snprintf(name, sizeof name, "planes.%u", p + 1);
		n->plane_bytes[p] = b->bytes[1 + p];
		if (b->bytes[1 + p] > 0)
			n->plane_offset[p] = gguf_put_tensor(w, name, GGUF_TENSOR_I8, b->bytes[1 + p]);
	}
}

static int write_file(int fd, struct gguf_writer *w, struct network *n, const struct blobs *b)
{
	int r;

	r = fd_write_all(fd, w->data, w->size);
	if (r >= 0)
		r = write_scales(fd, n);
	for (size_t i = 0; r >= 0 && i < BLOBS_MAX; i++)
		r = fd_write_all(fd, b->data[i], b->bytes[i]);
	n->fixed_offset += w->size;
	for (uint32_t p = 0; p < BITS_PLANES_MAX; p++)
		n->plane_offset[p] += w->size;
	return r;
}

int model_write_fd(int fd, struct network *network, uint64_t *const *const *planes, struct error *reterr)
{
	_cleanup_(gguf_writer_done) struct gguf_writer w = {0};
	_cleanup_(blobs_done) struct blobs b = {0};
	int r;

	place_matrices(network, &b);
	r = make_blobs(network, planes, &b);
	if (r < 0)
		return r;
	network->fixed_crc = b.crc[0];
	memcpy(network->plane_crc, b.crc + 1, sizeof network->plane_crc);
	gguf_writer_init(&w);
	r = put_network(&w, network);
	if (r < 0)
		return r;
	put_tensors(&w, network, &b);
	r = gguf_writer_finish(&w);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	r = write_file(fd, &w, network, &b);
	return r < 0 ? error_set(reterr, r, "cannot write: %s", error_text(NULL, r)) : 0;
}

static int write_checked(int fd, struct network *network, uint64_t *const *const *planes,
	struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *back = NULL;
	int r;

	r = model_write_fd(fd, network, planes, reterr);
	if (r < 0)
		return r;
	r = network_open(&back, fd, reterr);
	return r < 0 ? error_prefix(reterr, r, "the network is not sound") : 0;
}

int model_write(const char *path, struct network *network, uint64_t *const *const *planes,
	struct error *reterr)
{
	_cleanup_(replacement_done) struct replacement file = REPLACEMENT_NONE;
	int r = replacement_begin(&file, AT_FDCWD, path, 0666);

	if (r < 0)
		return error_set(reterr, r, "cannot write: %s", error_text(NULL, r));
	r = write_checked(file.fd, network, planes, reterr);
	if (r < 0)
		return r;
	r = replacement_finish(&file);
	return r < 0 ? error_set(reterr, r, "cannot write: %s", error_text(NULL, r)) : 0;
}
