/* SPDX-License-Identifier: Apache-2.0 */
/* Names of classes: a text file with one a line. */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct labels {
	char **names;
	uint32_t n;
};

void labels_done(struct labels *l);

/** labels_read() - Return: 0; -EINVAL for an empty file or more than 100000 lines; errno of reading */
int labels_read(struct labels *ret, const char *path, struct error *reterr);
