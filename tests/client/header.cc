/* SPDX-License-Identifier: Apache-2.0 */
#include <bitshed/bitshed.h>

int main()
{
	struct bitshed_options options = {};

	return bitshed_version()[0] == '\0' || options.deadline_ms != 0;
}
