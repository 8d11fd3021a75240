/* SPDX-License-Identifier: Apache-2.0 */
/* cl_arm_integer_dot_product_int8: both sides signed or neither. */
#ifndef COLUMNS
#define COLUMNS 8
#endif
#define PRODUCT_NAME decode_arm_dot
#define TILE_FLIP 128
#ifdef EMULATE
#include "emulate_dot.clh"
#define MULTIPLY_4(w, q) emulate_dot(as_char4(w), as_char4(q))
#else
#pragma OPENCL EXTENSION cl_arm_integer_dot_product_int8 : enable
#define MULTIPLY_4(w, q) arm_dot(as_char4(w), as_char4(q))
#endif
#include "dot.clh"
