/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of op.h, read off line by line: one loop per index, no tiles, no kernels. Slow,
 * and the judge of everything that is fast.
 */
#pragma once

#include "engine/exec.h"

/** struct reference - every value of a network after one inference; @data[i] is value i */
struct reference {
	const struct model *model;
	void **data;
};

void reference_run(
	struct reference *ret, const struct model *model, enum input_type type, const void *input);
void reference_done(struct reference *r);
