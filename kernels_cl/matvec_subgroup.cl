/* SPDX-License-Identifier: Apache-2.0 */
/* cl_khr_subgroups. Where it is to be had without them, the whole group is one. */
#ifndef EMULATE
#define SUBGROUPS
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
#endif
#define MATVEC_NAME matvec_subgroup
#include "matvec.clh"
