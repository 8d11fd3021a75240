/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices that take back the errors of those before them. */
#pragma once

#include "convert/export.h"

/** follow_open() - as export_follow_fn; every node of the net must be one that training knows (-ENOTSUP) */
export_follow_fn follow_open;

/** follow_open_blocks() - the same, and blocks of several matrices are rounded together (block.h) */
export_follow_fn follow_open_blocks;
