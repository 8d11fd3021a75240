/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model train and what else needs gradients or the library's products, where it was built without oneDNN. */
#include <errno.h>

#include "convert/train/follow.h"
#include "convert/train/output_gradients.h"
#include "tools/tool.h"

int follow_open(struct export_follow *ret, const struct net *net, const struct net *teacher, struct samples *samples,
	uint32_t limit, struct threads *threads, struct error *reterr)
{
	return error_set(reterr, -ENOTSUP, "--follow needs oneDNN, which this bitshed-model was built without");
}

int follow_open_blocks(struct export_follow *ret, const struct net *net, const struct net *teacher,
	struct samples *samples, uint32_t limit, struct threads *threads, struct error *reterr)
{
	return follow_open(ret, net, teacher, samples, limit, threads, reterr);
}

static int train_main(int argc, char **argv)
{
	struct error e = {};
	int r = error_set(&e, -ENOTSUP, "this bitshed-model was built without training (oneDNN)");

	return tool_fail(&command_train, &e, r);
}

const struct command command_train = {
	.name = "train",
	.summary = "retrain an ONNX network for few bits (not in this build)",
	.run = train_main,
	.help = "",
};

int output_gradients(double **ret, const struct net *net, struct samples *samples, struct error *reterr)
{
	return error_set(reterr, -ENOTSUP, "this bitshed-model was built without training (oneDNN), which elt needs");
}
