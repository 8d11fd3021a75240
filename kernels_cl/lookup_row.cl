/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix times vector: rows share the tables of the one column. */
#ifndef COLUMNS
#define COLUMNS 1
#endif
#define PRODUCT_NAME lookup_row
#include "lookup.clh"
