/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an ONNX file: a typed error with words, or a net that folds. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(net_freep) struct net *net = NULL;
	struct error e = {0};
	int r;

	r = onnx_read(&net, data, size, NULL, &e);
	assert(r == 0 || r == -EBADMSG || r == -ENOTSUP || r == -ENOMEM);
	assert(r == 0 || net == NULL);
	assert(r == 0 || r == -ENOMEM || e.text[0]);
	if (r < 0)
		return 0;
	r = fold_net(net, &e);
	assert(r == 0 || r == -EBADMSG || r == -ENOMEM);
	return 0;
}
