/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a run in a file, so that one that was killed goes on where it was. Written beside the file
 * and renamed: whole, or the one before. For the machine that wrote it: no format for exchange.
 */
#pragma once

#include "base/error.h"
#include "convert/train/store.h"

/**
 * checkpoint_save() - all blocks of @s
 * @key: what the run is; another run does not read it
 */
int checkpoint_save(const char *path, const struct train_store *s, uint64_t key, struct error *reterr);

/**
 * checkpoint_load() - Return: 1 read; 0 there is none; -ESTALE of another run; -EBADMSG broken; an errno
 *
 * Blocks are written only when the file is sound.
 */
int checkpoint_load(const char *path, struct train_store *s, uint64_t key, struct error *reterr);
