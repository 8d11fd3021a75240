/* SPDX-License-Identifier: Apache-2.0 */
/* Few output pixels, matrix times vector: nothing to share. */
#ifndef COLUMNS
#define COLUMNS 1
#endif
#define PRODUCT_NAME decode_row
#include "decode.clh"
