/* SPDX-License-Identifier: Apache-2.0 */
/* Many output pixels: an addition serves a tile of them. */
#ifndef COLUMNS
#define COLUMNS 16
#endif
#define PRODUCT_NAME lookup_tile
#include "lookup.clh"
