/* SPDX-License-Identifier: Apache-2.0 */
/* Many output pixels, on a device without wide registers and without a product of bytes. */
#ifndef COLUMNS
#define COLUMNS 8
#endif
#define PRODUCT_NAME decode_narrow
#include "multiply_4.clh"
#define MULTIPLY_4 multiply_4
#include "dot.clh"
