/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "engine/model.h"

/** inspect_plan() - print the kernels that @n runs with at @bits on this processor */
int inspect_plan(struct network *n, double bits, bool json, struct error *reterr);
