/* SPDX-License-Identifier: Apache-2.0 */
/* What a journal says that the rules have done, and what the rules of now would say to what was felt then. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "rehearse/journal_export.h"
#include "rehearse/models.h"
#include "rehearse/tool.h"

/** struct replay - @results, @states: of @models, by index; @midnight: before the first entry, in seconds */
struct replay {
	const char *policy;
	struct rules *rules;
	struct models models;
	struct simulation results[MODELS_MAX];
	struct policy_state states[MODELS_MAX];
	double rate, midnight;
	struct output output;
};

static struct replay *replay_done(struct replay *r)
{
	for (uint32_t i = 0; i < r->models.n; i++)
		simulation_done(&r->results[i]);
	models_done(&r->models);
	(void) rules_free(r->rules);
	return NULL;
}
DEFINE_CLEANUP(struct replay *, replay_done)

/* Return: the index of the model; one that no file was given for is added. -E2BIG */
static int find_model(struct replay *r, const struct journal_entry *e)
{
	for (uint32_t i = 0; i < r->models.n; i++)
		if (strcmp(r->models.names[i], e->model) == 0)
			return (int) i;
	if (r->models.n == MODELS_MAX)
		return -E2BIG;
	models_stand_in(&r->models, e->model, 1);
	return (int) r->models.n - 1;
}

/* INPUTS= is one line of a trace turned on its side. */
static int read_inputs(const char *inputs, struct policy_inputs *ret)
{
	_cleanup_free_ char *copy = strdup(inputs), *heads = NULL, *text = NULL;
	char *rest = copy, *pair, *equals;
	size_t heads_size, text_size;
	FILE *h = open_memstream(&heads, &heads_size), *t = open_memstream(&text, &text_size);
	struct trace trace;
	int r;

	if (!copy || !h || !t)
		return -ENOMEM;
	fprintf(h, "seconds");
	fprintf(t, "\n0");
	while ((pair = strsep(&rest, ",")))
		if ((equals = strchr(pair, '='))) {
			fprintf(h, ",%.*s", (int) (equals - pair), pair);
			fprintf(t, ",%s", equals + 1);
		}
	fprintf(t, "\n");
	(void) fclose(t);
	fprintf(h, "%s", text);
	(void) fclose(h);
	r = trace_open_stream(&trace, fmemopen(heads, strlen(heads), "r"), "INPUTS", NULL);
	if (r < 0)
		return r;
	r = trace_next(&trace, ret, NULL);
	trace_done(&trace);
	return r > 0 ? 0 : r < 0 ? r : -EINVAL;
}

/* Return: the width that the rules of now want, NAN when the entry does not tell enough */
static double wanted_now(struct replay *r, int i, const struct journal_entry *e, double *ret_percent)
{
	struct policy_inputs in;
	struct policy_state *s = &r->states[i];

	*ret_percent = NAN;
	if (!e->inputs[0] || read_inputs(e->inputs, &in) < 0)
		return NAN;
	if (in.plain[SENSE_BATTERY_PERCENT].known)
		*ret_percent = in.plain[SENSE_BATTERY_PERCENT].value;
	in.now_nsec = e->usec * NSEC_PER_USEC;
	policy_resolve(r->rules, &in, &r->models.all[i].policy, s, s);
	return s->wanted.bits;
}

static double midnight_before(double second)
{
	time_t t = (time_t) second;
	struct tm tm;

	if (!localtime_r(&t, &tm))
		return second;
	return second - tm.tm_hour * 3600 - tm.tm_min * 60 - tm.tm_sec - (second - floor(second));
}

static int take_entry(struct replay *r, const struct journal_entry *e)
{
	struct simulate_moment now = {.bits = e->bits, .switched = true};
	double second = (double) e->usec / 1e6;
	struct policy_model *m;
	int i = find_model(r, e);

	if (i < 0)
		return i;
	if (r->midnight == 0)
		r->midnight = midnight_before(second);
	m = &r->models.all[i].policy;
	/* A stand-in is as wide as the widest that the journal knows. */
	if (!r->models.networks[i])
		m->bits_max = fmax(m->bits_max, fmax(e->bits, e->bits_was));
	now.second = fmax(second - r->midnight, 0);
	if (r->results[i].n_moments > 0)
		now.second = fmax(now.second,
			r->results[i].moments[r->results[i].n_moments - 1].second);
	now.wanted_bits = wanted_now(r, i, e, &now.percent);
	(void) memcpy(now.rule, e->rule, sizeof now.rule);
	(void) memcpy(now.text, e->reason, sizeof now.text);
	r->results[i].n_switches++;
	return simulation_add(&r->results[i], &r->models.all[i], &now);
}

static int read_journal(struct replay *r, const char *name, struct error *reterr)
{
	struct journal_reader reader = {.file = stdin, .name = name ?: "standard input"};
	struct journal_entry e;
	int k;

	if (name)
		reader.file = fopen(name, "re");
	if (!reader.file)
		return error_set(reterr, -errno, "%.100s: %s", name, strerrordesc_np(errno));
	while ((k = journal_next(&reader, &e, reterr)) > 0)
		if ((k = take_entry(r, &e)) < 0)
			break;
	journal_done(&reader);
	if (name)
		(void) fclose(reader.file);
	return k;
}

static int show(struct replay *r, struct error *reterr)
{
	unsigned int shown = 0;
	int k = 0;

	output_begin(&r->output);
	for (uint32_t i = 0; k >= 0 && i < r->models.n; i++) {
		if (r->results[i].n_moments == 0)
			continue;
		r->results[i].replayed = true;
		simulation_finish(&r->results[i], &r->models.all[i]);
		k = output_show(&r->output, r->models.names[i], &r->results[i], reterr);
		shown++;
	}
	output_end(&r->output);
	if (k >= 0 && shown == 0 && !r->output.json)
		printf("No switch is in this journal.\n");
	return k;
}

static int take_option(struct replay *r, int option, struct error *why)
{
	int k;

	switch (option) {
	case 'q':
		r->policy = optarg;
		return EXIT_CODE_OK;
	case 'm':
		k = models_add(&r->models, optarg, why);
		return k < 0 ? complain(k, why) : EXIT_CODE_OK;
	case 'r':
		return models_parse_rate(&r->rate, optarg) < 0 ? usage_error("--rate=NUMBER", optarg)
							       : EXIT_CODE_OK;
	case 'p':
		r->output.plot = optarg;
		return output_check(&r->output);
	case 'j':
		r->output.json = true;
		return EXIT_CODE_OK;
	default:
		return EXIT_CODE_USAGE;
	}
}

int replay_command(int argc, char **argv)
{
	static const struct option options[] = {{"policy", required_argument, NULL, 'q'},
		{"model", required_argument, NULL, 'm'}, {"rate", required_argument, NULL, 'r'},
		{"plot", required_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'}, {}};
	static struct replay replay;
	_cleanup_(replay_donep) struct replay *r = &replay;
	struct error why = {};
	int option, k;

	r->rate = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		k = take_option(r, option, &why);
		if (k != EXIT_CODE_OK)
			return k;
	}
	if (argc - optind > 1)
		return usage_error("one file", argv[optind + 1]);
	models_rate(&r->models, r->rate);
	k = load_rules(&r->rules, r->policy, &why);
	if (k >= 0)
		k = read_journal(r, argv[optind], &why);
	if (k >= 0)
		k = show(r, &why);
	return k < 0 ? complain(k, &why) : EXIT_CODE_OK;
}
