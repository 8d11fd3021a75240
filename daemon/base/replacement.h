/* SPDX-License-Identifier: Apache-2.0 */
/* A file that takes a name's place whole or not at all. */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"

/**
 * struct replacement - REPLACEMENT_NONE, or what replacement_begin() has made; _cleanup_(replacement_done)
 * @fd: to write to and to read from; the replacement's
 */
struct replacement {
	int fd, folder;
	const char *path;
	char *temporary;
};

#define REPLACEMENT_NONE {.fd = -1}

/**
 * replacement_begin() - a new file beside @path, that nobody else had in his hands before
 * @folder: what @path starts from, AT_FDCWD too; outlives @r, as @path does
 * @mode: less the process' umask
 *
 * Return: 0 or negative errno. Any thread.
 */
int replacement_begin(struct replacement *r, int folder, const char *path, mode_t mode);

/**
 * replacement_finish() - on disk, and then in @path's place: a power cut leaves the old file or the new one
 *
 * Return: 0 or negative errno.
 */
int replacement_finish(struct replacement *r);

/** replacement_done() - what was not finished is removed */
void replacement_done(struct replacement *r);
