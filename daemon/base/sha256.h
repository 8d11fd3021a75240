/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4), for naming files by what is in them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** sha256_hex() - digest of @data as 64 hexadecimal digits and a terminating zero */
void sha256_hex(const uint8_t *data, size_t size, char ret[65]);
