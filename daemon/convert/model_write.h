/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the model file that engine/model_format.md describes. */
#pragma once

#include "engine/model.h"

/**
 * model_write() - write @network with the planes in @words
 * @network: as network_open() would give it, but planes_max, offsets, bytes and checksums are filled in
 *	here, matrices' plane_word too; fd and store are not looked at
 * @planes: [n_matrices][matrix planes], each bits_plane_words() words
 *
 * Writes to a new file beside @path, reads it back with network_open() and renames it, so a file is
 * whole and sound or absent. Return: 0; -EBADMSG and the like when @network is not sound; an errno.
 */
int model_write(const char *path, struct network *network, uint64_t *const *const *planes,
	struct error *reterr);

/**
 * model_write_fd() - the same into @fd, at its position 0, without reading it back
 *
 * For memfds, and for tests that need files which must be refused.
 */
int model_write_fd(int fd, struct network *network, uint64_t *const *const *planes, struct error *reterr);
