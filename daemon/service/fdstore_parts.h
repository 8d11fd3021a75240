/* SPDX-License-Identifier: Apache-2.0 */
/* Between fdstore.c, which puts in, and fdstore_take.c, which takes out. */
#pragma once

#include <stddef.h>

#include "service/fdstore.h"

/** fdstore_plane_kind() - the name of planes[@i] before the dot. Return: @kind */
const char *fdstore_plane_kind(char *kind, size_t size, uint32_t i);

/** fdstore_remove_all() - whatever a model can have */
void fdstore_remove_all(const char *name);

/** fdstore_describe_file() - Return: 0 or negative errno. @ret_mtime_nsec: may be NULL */
int fdstore_describe_file(int fd, struct fdstore_file *ret, int64_t *ret_mtime_nsec);

/** fdstore_state_valid() - written by this version, with a name that ends */
bool fdstore_state_valid(const struct fdstore_state *s);
