/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of a device on odd shapes against the engine's scalar rows, with ==. */
#pragma once

#include "worker/cl.h"

/**
 * cl_selftest() - every shape for the operation of one kernel
 * @kernel: row of the list, built; of its operation no other is used
 *
 * Return: 0; -EILSEQ with words when a number differs; else as cl_plan_new() and cl_plan_run().
 */
int cl_selftest(struct cl *cl, uint32_t kernel, struct error *reterr);
