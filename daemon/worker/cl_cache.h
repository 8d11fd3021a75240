/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled programs on disk. An entry's name is a hash of what it was made of: kernel, source, options,
 * device, driver, platform, and the driver's library with its size and time. The file begins with that
 * very text, so that neither a collision nor another driver's file can be taken for it, and with checksums.
 */
#pragma once

#include <stddef.h>

struct cl;
struct kernel_cl;

#define CL_CACHE_ENTRY_BYTES_MAX ((size_t) 16 * 1024 * 1024)
#define CL_CACHE_BYTES_MAX ((size_t) 64 * 1024 * 1024)

/** cl_cache_read() - Return: 0 with @ret owned by the caller; -ENOENT; -EBADMSG when it is not whole */
int cl_cache_read(const char *folder, const struct cl *cl, const struct kernel_cl *k,
	const char *options, void **ret, size_t *ret_bytes);

/**
 * cl_cache_write() - whole or not at all; the oldest entries make room
 *
 * Return: 0 or negative errno; a cache that cannot be written costs time and nothing else.
 */
int cl_cache_write(const char *folder, const struct cl *cl, const struct kernel_cl *k,
	const char *options, const void *binary, size_t bytes);
