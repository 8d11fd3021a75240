/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of recode.h. */
#pragma once

#include "engine/recode.h"

/**
 * struct recode - a re-encoding in the making
 * @in: [network->planes_max], whole; NULL when it was loaded
 * @fd, @out: [planes], memfds as large as the file's planes, mapped until they are sealed
 * @numbers: [n_numbers], scales of all matrices that change, see recode_numbers()
 */
struct recode {
	struct network *network;
	uint32_t planes;
	struct plane *in[BITS_PLANES_MAX];
	int fd[BITS_PLANES_MAX];
	uint64_t *out[BITS_PLANES_MAX];
	float *numbers;
	size_t n_numbers;
};

/** recode_allocate() - all of it but @in, empty. Return: 0, -ERANGE, -ENOMEM, an errno */
int recode_allocate(struct recode **ret, struct network *network, uint32_t planes);

/** recode_changes() - does the matrix lose planes? */
static inline bool recode_changes(const struct matrix *m, uint32_t planes)
{
	return !m->fixed && m->planes > planes;
}

/**
 * recode_numbers() - how many scales a matrix has in @numbers: sum coding [rows][groups][planes] of alpha and
 * [rows][groups] of offsets; level coding as struct matrix; 0 when it does not change
 */
static inline size_t recode_numbers(const struct matrix *m, uint32_t planes)
{
	if (!recode_changes(m, planes))
		return 0;
	if (m->coding == CODING_LEVEL)
		return (size_t) (m->shared_levels ? 1 : m->rows) << planes;
	return (size_t) m->rows * m->groups * (planes + 1);
}
