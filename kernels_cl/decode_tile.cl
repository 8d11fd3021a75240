/* SPDX-License-Identifier: Apache-2.0 */
/* Many output pixels: each decoded word serves a tile of them. */
#ifndef DECODE_COLUMNS
#define DECODE_COLUMNS 16
#endif
#define DECODE_NAME decode_tile
#include "decode.clh"
