/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "convert/quantize/gptq.h"

/**
 * struct metric - @h: H with its damping; @u: upper, H^-1 = U^T U; both [columns][columns]
 */
struct metric {
	uint32_t columns;
	double *h, *u;
};
