/* SPDX-License-Identifier: Apache-2.0 */
/* Few output pixels, matrix times vector: nothing to share. */
#ifndef DECODE_COLUMNS
#define DECODE_COLUMNS 1
#endif
#define DECODE_NAME decode_row
#include "decode.clh"
