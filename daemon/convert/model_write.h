/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the model file that engine/model_format.md describes. */
#pragma once

#include "engine/model.h"

/**
 * model_write() - write @network with the planes in @words
 * @network: as network_open() would give it, but fd, offsets, bytes and checksums are filled in here;
 *	matrices' plane_word too
 * @planes: [n_matrices][matrix planes], each bits_plane_words() words
 *
 * Writes to a new file beside @path and renames it, so a file is whole or absent.
 */
int model_write(const char *path, struct network *network, uint64_t *const *const *planes,
	struct error *reterr);
