/* SPDX-License-Identifier: Apache-2.0 */
/* Words of others in pictures that browsers open. */
#pragma once

#include <stdio.h>

/** markup_put() - @words as the text of an element of XML */
static inline void markup_put(FILE *to, const char *words)
{
	for (; *words; words++)
		switch (*words) {
		case '<':
			(void) fputs("&lt;", to);
			break;
		case '>':
			(void) fputs("&gt;", to);
			break;
		case '&':
			(void) fputs("&amp;", to);
			break;
		default:
			(void) putc(*words, to);
		}
}
