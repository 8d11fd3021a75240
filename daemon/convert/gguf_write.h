/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the header of a GGUF file (engine/gguf.h) in memory. */
#pragma once

#include <stdint.h>

#include "engine/gguf.h"

/**
 * struct gguf_writer - a growing header
 * @error: first failure, 0 until then; later calls do nothing
 * @n_entries, @n_tensors: written so far; all entries come before the first tensor
 * @data_bytes: of the tensors so far, each padded to the alignment
 */
struct gguf_writer {
	uint8_t *data;
	size_t size, room;
	uint64_t n_entries, n_tensors, data_bytes;
	int error;
};

void gguf_writer_init(struct gguf_writer *w);
void gguf_writer_done(struct gguf_writer *w);

void gguf_put_scalar(struct gguf_writer *w, const char *key, enum gguf_type type, const void *value);
void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type element, const void *values,
	uint64_t count);
void gguf_put_text(struct gguf_writer *w, const char *key, const char *text);
void gguf_put_texts(struct gguf_writer *w, const char *key, char *const *texts, uint64_t count);

/** gguf_put_tensor() - one dimension; Return: where its data goes, from the start of the data */
uint64_t gguf_put_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint64_t bytes);

/** gguf_writer_finish() - fill in the counts, pad to the alignment. Return: 0 or the first failure */
int gguf_writer_finish(struct gguf_writer *w);
