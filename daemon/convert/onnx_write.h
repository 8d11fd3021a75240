/* SPDX-License-Identifier: Apache-2.0 */
/* A net as an ONNX file, opset 13: what was trained can be imported again, here and elsewhere. */
#pragma once

#include "convert/net.h"

/**
 * onnx_write() - write @n, batch 1, to @path; the file is whole or absent
 * @n: folded; clips that round (net.h) are not ONNX
 *
 * Return: 0; -ENOTSUP naming the node; -ENOMEM or an errno of writing.
 */
int onnx_write(const struct net *n, const char *path, struct error *reterr);
