/* SPDX-License-Identifier: Apache-2.0 */
/* Many output pixels: each decoded word serves a tile of them. */
#ifndef COLUMNS
#define COLUMNS 16
#endif
#define PRODUCT_NAME decode_tile
#include "decode.clh"
