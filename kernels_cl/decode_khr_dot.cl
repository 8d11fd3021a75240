/* SPDX-License-Identifier: Apache-2.0 */
/* cl_khr_integer_dot_product. More devices have instructions for two signed sides than for one of each kind. */
#ifndef COLUMNS
#define COLUMNS 8
#endif
#define PRODUCT_NAME decode_khr_dot
#define TILE_FLIP 128
#ifdef EMULATE
#include "emulate_dot.clh"
#define MULTIPLY_4(w, q) emulate_dot(as_char4(w), as_char4(q))
#else
#define MULTIPLY_4(w, q) dot_4x8packed_ss_int(w, q)
#endif
#include "dot.clh"
