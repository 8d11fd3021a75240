/* SPDX-License-Identifier: Apache-2.0 */
#include "service/rehearse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "engine/model.h"
#include "service/rules.h"
#include "service/simulate.h"

#define BITS_MAX_WITHOUT_MODEL 4

static int open_model(struct network **ret, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return error_set(reterr, -errno, "%.100s: %s", path, strerrordesc_np(errno));
	return network_open(ret, fd, reterr);
}

static int plot(const struct simulation *s, const char *path, struct error *reterr)
{
	FILE *to = fopen(path, "we");
	bool failed;

	if (!to)
		return error_set(reterr, -errno, "%.100s: %s", path, strerrordesc_np(errno));
	simulation_plot(s, to);
	failed = ferror(to);
	if (fclose(to) != 0 || failed)
		return error_set(reterr, -EIO, "%.100s: cannot be written", path);
	return 0;
}

static int run(const struct rehearse_options *o, const struct rules *rules,
	const struct network *network, struct error *reterr)
{
	struct policy_model m = {.name = o->model ? o->model->name : "model",
		.bits_max = BITS_MAX_WITHOUT_MODEL,
		.profile = PROFILE_PERFORMANCE};
	struct simulation s;
	struct trace trace;
	int r;

	if (network) {
		m.bits_max = network->planes_max;
		m.accuracies = network->accuracies;
		m.n_accuracies = network->n_accuracies;
	}
	r = trace_open(&trace, o->trace, reterr);
	if (r < 0)
		return r;
	r = simulate_run(&s, rules, &trace, &m, reterr);
	trace_done(&trace);
	if (r < 0)
		return r;
	simulation_print(&s, stdout);
	if (o->plot)
		r = plot(&s, o->plot, reterr);
	simulation_done(&s);
	return r;
}

int rehearse(const struct rehearse_options *o, struct error *reterr)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	struct network *network = NULL;
	int r;

	r = rules_load(&rules, BITSHED_POLICY_DIR, BITSHED_LOCAL_POLICY_DIR, &o->policy_file,
		!!o->policy_file, reterr);
	if (r >= 0 && o->model)
		r = open_model(&network, o->model->path, reterr);
	if (r >= 0)
		r = run(o, rules, network, reterr);
	if (network)
		(void) network_unref(network);
	return r;
}

int rehearse_check(const char *const *files, uint32_t n_files, struct error *reterr)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	int r = rules_load(&rules, NULL, NULL, files, n_files, reterr);

	if (r < 0)
		return r;
	printf("%u rules, at most %u switches of a model in an hour\n", rules->n_rules,
		rules->switches_per_hour);
	return 0;
}
