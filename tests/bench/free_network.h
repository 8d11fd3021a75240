/* SPDX-License-Identifier: Apache-2.0 */
/* A network of no cost, for what is around one: 1 KiB of pixels, one row of weights, one number. */
#pragma once

#define FREE_NETWORK_INPUT_BYTES 1024

/**
 * free_network_memfd() - its model file. Return: a memfd, owned by the caller; stops the program
 * on failure
 */
int free_network_memfd(void);
