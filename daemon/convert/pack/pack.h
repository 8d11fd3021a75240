/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model files for distribution: planes packed, everything else by zstd. Lossless: unpacking gives the same file,
 * byte for byte. Only files are packed; what is in memory stays plain planes.
 *
 * The packed file, little-endian:
 *
 *	"BSHPACK1"  u32 coder  u32 CRC-32 of the model file  u64 its size
 *	u64 size and bytes: the model file with all planes zero, by zstd
 *	for each matrix in order: u64 size and bytes: its codes [rows][columns], plane 1 the most significant bit
 */
#pragma once

#include "convert/pack/coder.h"
#include "engine/model.h"

#define PACK_BYTES_MAX (UINT64_C(1) << 31)

/** pack_is_packed() - does the file begin as packed ones do? */
bool pack_is_packed(const uint8_t *data, size_t size);

/**
 * pack_model() - pack the model file at @path
 * @ret, @ret_size: owned by the caller
 *
 * Return: 0; -EFBIG above PACK_BYTES_MAX; -ENOMEM; or as network_open().
 */
int pack_model(uint8_t **ret, size_t *ret_size, const char *path, enum coder coder, struct error *reterr);

/**
 * pack_unpack() - the model file from a packed one, which may be hostile
 * @ret_fd: a memfd with it, owned by the caller
 *
 * Return: 0; -EBADMSG with words for what is broken; -EFBIG; -ENOMEM.
 */
int pack_unpack(int *ret_fd, const uint8_t *data, size_t size, struct error *reterr);
