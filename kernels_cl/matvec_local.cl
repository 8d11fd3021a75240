/* SPDX-License-Identifier: Apache-2.0 */
/* A row is worked on by the whole group, which adds up in local memory. */
#define MATVEC_NAME matvec_local
#include "matvec.clh"
