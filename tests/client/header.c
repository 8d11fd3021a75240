/* SPDX-License-Identifier: Apache-2.0 */
/* The public headers alone, as C here and as C++ in header.cc: compiling is the test. */
#include <bitshed/bitshed.h>

#include <bitshed/protocol.h>

int main(void)
{
	return bitshed_version()[0] == '\0';
}
