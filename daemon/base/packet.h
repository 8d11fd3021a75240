/* SPDX-License-Identifier: Apache-2.0 */
/* Whole records with descriptors over a SEQPACKET socket. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PACKET_FDS_MAX 16

/**
 * packet_send() - one record, never a part of it
 * @fds: [n], stay the caller's
 * @timeout_nsec: how long to wait for room
 *
 * Return: 0; -ETIMEDOUT; -EPIPE, -ECONNRESET: nobody is there; another errno. Any thread.
 */
int packet_send(
	int fd, const void *data, size_t size, const int *fds, uint32_t n, uint64_t timeout_nsec);

/**
 * packet_receive() - the next record
 * @size: room at @data; a longer record is -EMSGSIZE
 * @fds: [PACKET_FDS_MAX], now the caller's, close-on-exec; NULL: none are wanted, those that come are closed
 * @ret_n: how many; may be NULL like @fds
 * @timeout_nsec: UINT64_MAX: for ever
 *
 * Return: the record's size; -ETIMEDOUT; -ECONNRESET when the other side has gone; another errno.
 */
int packet_receive(
	int fd, void *data, size_t size, int *fds, uint32_t *ret_n, uint64_t timeout_nsec);
