/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sealed shared memory.
 *
 * Every memfd of the daemon is made here, so that one place decides about flags and seals. A seal
 * that fails is an error of the whole call: unsealed memory is never handed out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * memfd_new() - a close-on-exec memfd of @size bytes, size sealed, pages allocated
 * @ret_fd: owned by the caller
 * @ret_map: optional; mapped read-write, to be released with munmap(*ret_map, size)
 *
 * Pages are allocated up front, so that a later store cannot fault for want of memory.
 * Return: 0, -ENOMEM/-ENOSPC when memory is short, or another negative errno. Any thread.
 */
int memfd_new(int *ret_fd, void **ret_map, const char *name, size_t size);

/**
 * memfd_new_sparse() - the same with holes: pages come with the first write to them
 *
 * For contents of which most is never written. Return: as memfd_new().
 */
int memfd_new_sparse(int *ret_fd, const char *name, size_t size);

/**
 * memfd_is_read_only() - @fd is a memfd of exactly @size bytes that nobody can change any more
 */
bool memfd_is_read_only(int fd, size_t size);

/** memfd_is_sized() - @fd is a memfd of exactly @size bytes, and stays so */
bool memfd_is_sized(int fd, size_t size);

/**
 * memfd_seal_read_only() - forbid writing for good; no writable mapping may exist
 *
 * Return: 0, -EBUSY while a writable mapping exists, or another negative errno. Any thread.
 */
int memfd_seal_read_only(int fd);
