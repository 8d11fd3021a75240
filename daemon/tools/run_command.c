/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model run: the classes of one picture. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "convert/evaluate.h"
#include "convert/image.h"
#include "engine/exec.h"
#include "engine/lower.h"
#include "tools/tool.h"

static int run_main(int argc, char **argv);

const struct command command_run = {
	.name = "run",
	.summary = "classify one picture",
	.run = run_main,
	.help = "bitshed-model run NET.gguf IMAGE [OPTIONS...]\n"
		"\n"
		"Prints the five largest outputs for a JPEG or PNG picture, which is scaled and cropped to the\n"
		"network's input.\n"
		"\n"
		"  --bits N    width, like 4 or 2.5 (the widest of the file)\n",
};

static const struct option options[] = {
	{"bits", required_argument, NULL, 'b'},
	{"help", no_argument, NULL, 'h'},
	{},
};

static int load_pixels(uint8_t **ret, const struct network *n, const char *path, struct error *reterr)
{
	const struct shape s = n->values[n->input].shape;
	_cleanup_(image_done) struct image image = {};
	_cleanup_free_ uint8_t *pixels = malloc((size_t) s.height * s.width * 3);
	int r;

	if (!pixels)
		return -ENOMEM;
	if (!n->input_pixels || (s.channels != 3 && s.channels != 1))
		return error_set(reterr, -EINVAL, "this network does not take pictures");
	r = image_load(&image, path, reterr);
	if (r >= 0)
		r = image_resize(pixels, s.height, s.width, image.rgb, image.height, image.width, 3);
	if (r < 0)
		return error_prefix(reterr, r, "%s", path);
	/* Grey: the usual weights of luminance. */
	for (size_t i = 0; s.channels == 1 && i < (size_t) s.height * s.width; i++)
		pixels[i] = (uint8_t) ((299 * pixels[3 * i] + 587 * pixels[3 * i + 1] +
					       114 * pixels[3 * i + 2] + 500) /
				       1000);
	*ret = take_ptr(pixels);
	return 0;
}

static void print_classes(const struct network *n, const float *values, uint32_t classes)
{
	uint32_t top[5], count = MIN_OF(5, classes);

	outputs_top(values, classes, count, top);
	for (uint32_t i = 0; i < count; i++)
		printf("%10.4f  %4u  %s\n", values[top[i]], top[i],
			top[i] < n->n_labels ? n->labels[top[i]] : "");
}

static int classify(const char *path, const char *picture, const char *bits, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	_cleanup_(workspace_done) struct workspace w = {};
	_cleanup_free_ uint8_t *pixels = NULL;
	_cleanup_free_ float *out = NULL;
	float widths[WIDTHS_MAX];
	int r = tool_network(&n, path, reterr);

	if (r >= 0)
		r = tool_widths(n, bits, widths, WIDTHS_MAX, reterr);
	if (r >= 0)
		r = load_pixels(&pixels, n, picture, reterr);
	if (r >= 0)
		r = model_build(&model, n, widths[0], reterr);
	if (r >= 0)
		r = plan_new(&plan, model, cpu_flags(), reterr);
	if (r >= 0)
		r = workspace_reserve(&w, plan, 1);
	if (r < 0)
		return r;
	out = malloc(plan->output_bytes);
	if (!out)
		return -ENOMEM;
	r = exec_run(plan, &w, NULL, INPUT_PIXELS, pixels, out);
	if (r >= 0)
		print_classes(n, out, (uint32_t) (plan->output_bytes / sizeof *out));
	return r;
}

static int run_main(int argc, char **argv)
{
	const char *bits = NULL;
	struct error error = {};
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return tool_help(&command_run);
		if (option != 'b')
			return tool_usage(&command_run, "unknown option or missing value");
		bits = optarg;
	}
	if (optind + 2 != argc)
		return tool_usage(&command_run, "give one model file and one picture");
	r = classify(argv[optind], argv[optind + 1], bits, &error);
	return r < 0 ? tool_fail(&command_run, &error, r) : EXIT_SUCCESS;
}
