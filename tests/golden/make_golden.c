/* SPDX-License-Identifier: Apache-2.0 */
/* make_golden FOLDER: writes the golden model files, for example make_golden tests/golden */
#include <stdio.h>

#include "golden/golden.h"

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void) fprintf(stderr, "usage: make_golden FOLDER\n");
		return 2;
	}
	return golden_write(argv[1]) < 0;
}
