/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model train, where it was built without oneDNN. */
#include <errno.h>

#include "tools/tool.h"

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
