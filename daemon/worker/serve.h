/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's side of protocol.h. */
#pragma once

/**
 * struct serve_options - @device: as cl_open(); the daemon's HELLO goes before it
 * @cache: folder of compiled programs, NULL: none
 */
struct serve_options {
	const char *device, *cache;
};

/**
 * serve() - answer the daemon on @fd until it goes
 *
 * Return: 0 when the daemon has closed the connection; -EPROTO after a record that is none of ours; another
 * errno of the socket.
 */
int serve(int fd, const struct serve_options *options);
