/* SPDX-License-Identifier: Apache-2.0 */
/* A whole file, mapped read-only, for the offline readers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct file_map {
	const uint8_t *data;
	size_t size;
};

/**
 * file_map() - map a regular, not empty file
 *
 * The mapping stays when the file is renamed or removed; a file that another program cuts short
 * while it is read is that program's fault. Return: 0, -ENODATA when empty, or a negative errno.
 * Any thread.
 */
int file_map(struct file_map *ret, const char *path, struct error *reterr);
void file_unmap(struct file_map *m);
