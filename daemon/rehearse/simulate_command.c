/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdlib.h>

#include "rehearse/models.h"
#include "rehearse/tool.h"

static int show(const char *path, const struct rules *rules, const struct simulate_model *model,
	struct output *output, struct error *reterr)
{
	struct simulation s;
	struct trace trace;
	int r;

	r = trace_open(&trace, path, reterr);
	if (r < 0)
		return r;
	r = simulate_run(&s, rules, &trace, model, reterr);
	trace_done(&trace);
	if (r < 0)
		return r;
	r = output_show(output, model->policy.name, &s, reterr);
	simulation_done(&s);
	return r;
}

static int show_all(const char *path, const char *policy, const struct models *models,
	struct output *output, struct error *reterr)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	int r;

	r = load_rules(&rules, policy, reterr);
	if (r < 0)
		return r;
	output_begin(output);
	for (uint32_t i = 0; r >= 0 && i < models->n; i++)
		r = show(path, rules, &models->all[i], output, reterr);
	output_end(output);
	return r;
}

int simulate_command(int argc, char **argv)
{
	static const struct option options[] = {{"trace", required_argument, NULL, 't'},
		{"policy", required_argument, NULL, 'q'}, {"model", required_argument, NULL, 'm'},
		{"rate", required_argument, NULL, 'r'}, {"plot", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(models_done) struct models models = {};
	const char *trace = NULL, *policy = NULL;
	struct output output = {};
	struct error why = {};
	double rate = 1;
	int option, r = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 't')
			trace = optarg;
		else if (option == 'q')
			policy = optarg;
		else if (option == 'm')
			r = models_add(&models, optarg, &why);
		else if (option == 'r')
			r = models_parse_rate(&rate, optarg);
		else if (option == 'p')
			output.plot = optarg;
		else if (option == 'j')
			output.json = true;
		else
			return EXIT_CODE_USAGE;
		if (r < 0)
			return option == 'r' ? usage_error("--rate=NUMBER", optarg) : complain(r, &why);
	}
	if (!trace || optind < argc)
		return usage_error("--trace=FILE.csv", trace ? argv[optind] : "none");
	if (output_check(&output) != EXIT_CODE_OK)
		return EXIT_CODE_USAGE;
	if (models.n == 0)
		models_stand_in(&models, "model", 4);
	models_rate(&models, rate);
	r = show_all(trace, policy, &models, &output, &why);
	return r < 0 ? complain(r, &why) : EXIT_CODE_OK;
}
