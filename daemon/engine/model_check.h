/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold between the parts of a network that has been read; see model_format.md. */
#pragma once

#include "engine/model.h"

/**
 * network_check() - is the graph sound, do matrices and planes fit?
 * @n: all indices, counts and numbers within the bounds of model_fields.c, row_bits and groups set
 *
 * Return: 0; -EBADMSG with words; -ENOMEM.
 */
int network_check(const struct network *n, struct error *reterr);

/** matrix_check() - may the sizes of scales be computed from this matrix? Sets row_bits and groups. */
int matrix_check(struct matrix *m, struct error *reterr);
