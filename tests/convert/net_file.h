/* SPDX-License-Identifier: Apache-2.0 */
/* An ONNX file of the test data as a net. */
#pragma once

#include <stdio.h>

#include "convert/file.h"
#include "convert/net.h"

/** net_file_read() - import, and fold when asked. Return: what the importer returns, words in @e. */
static inline int net_file_read(struct net **ret, const char *path, bool fold, struct error *e)
{
	struct file_map map;
	struct net *net = NULL;
	int r;

	r = file_map(&map, path, e);
	if (r < 0)
		return r;
	r = onnx_read(&net, map.data, map.size, NULL, e);
	file_unmap(&map);
	if (r >= 0 && fold)
		r = fold_net(net, e);
	if (r < 0)
		net_free(net);
	else
		*ret = net;
	return r;
}
