/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "rehearse/simulate.h"

static void print_time(FILE *to, double second)
{
	unsigned long t = (unsigned long) second;

	fprintf(to, "%02lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
}

static void print_switches(const struct simulation *s, FILE *to)
{
	fprintf(to, "time      bits   %srule                  because\n",
		s->replayed ? "now    " : "");
	for (size_t i = 0; i < s->n_moments; i++) {
		const struct simulate_moment *m = &s->moments[i];

		if (!m->switched)
			continue;
		print_time(to, m->second);
		fprintf(to, "  %-5g  ", m->bits);
		if (s->replayed && isnan(m->wanted_bits))
			fprintf(to, "%-5s  ", "?");
		else if (s->replayed)
			fprintf(to, "%-5g  ", m->wanted_bits);
		fprintf(to, "%-20s  %s\n", m->rule, m->text);
	}
}

static void print_widths(const struct simulation *s, FILE *to)
{
	double length = 0;

	for (size_t i = 0; i < SIMULATE_WIDTHS; i++)
		length += s->seconds_at[i];
	for (size_t i = 0; i < SIMULATE_WIDTHS; i++)
		if (s->seconds_at[i] > 0) {
			fprintf(to, "%5g bits: ", (double) i / 8);
			print_time(to, s->seconds_at[i]);
			fprintf(to, " (%.1f %%)\n", s->seconds_at[i] / length * 100);
		}
}

void simulation_print(const struct simulation *s, FILE *to)
{
	print_switches(s, to);
	fprintf(to, "\nswitches: %lu", (unsigned long) s->n_switches);
	for (int i = 0; !s->replayed && i < _SUPPRESSED_MAX; i++)
		fprintf(to, "%s %lu by %s", i ? "," : "; suppressed:",
			(unsigned long) s->n_suppressed[i], suppressed_name((enum suppressed) i));
	fputc('\n', to);
	print_widths(s, to);
	if (isnan(s->accuracy))
		fprintf(to, "accuracy: not known, give a model with --model=FILE\n");
	else
		fprintf(to,
			"accuracy: %.2f %% on average, by the model's card; %.2f %% at all bits\n",
			s->accuracy, s->accuracy_full);
	if (isnan(s->joules))
		fprintf(to, "energy: not known, give a model with --model=FILE\n");
	else
		fprintf(to, "energy: %.4g J of inferences, modelled; %.4g J at all bits\n",
			s->joules, s->joules_full);
}

static void json_string(FILE *to, const char *s)
{
	fputc('"', to);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', to);
		if ((unsigned char) *s < 0x20)
			fprintf(to, "\\u%04x", (unsigned int) *s);
		else
			fputc(*s, to);
	}
	fputc('"', to);
}

/* JSON has no word for a number that is not known but null. */
static void json_number(FILE *to, const char *key, double v)
{
	if (isnan(v))
		fprintf(to, ",\"%s\":null", key);
	else
		fprintf(to, ",\"%s\":%.9g", key, v);
}

static void json_moment(FILE *to, const struct simulation *s, const struct simulate_moment *m)
{
	fprintf(to, "{\"second\":%.9g,\"bits\":%.9g", m->second, m->bits);
	json_number(to, s->replayed ? "bits_now" : "wanted_bits", m->wanted_bits);
	fprintf(to, ",\"rule\":");
	json_string(to, m->rule);
	fprintf(to, ",\"reason\":");
	json_string(to, m->text);
	fputc('}', to);
}

void simulation_print_json(const struct simulation *s, const char *model, FILE *to)
{
	const char *comma = "";

	fprintf(to, "{\"model\":");
	json_string(to, model);
	fprintf(to, ",\"switches\":%lu", (unsigned long) s->n_switches);
	for (int i = 0; !s->replayed && i < _SUPPRESSED_MAX; i++)
		fprintf(to, "%s\"%s\":%lu%s", i ? "," : ",\"suppressed\":{",
			suppressed_name((enum suppressed) i), (unsigned long) s->n_suppressed[i],
			i + 1 == _SUPPRESSED_MAX ? "}" : "");
	json_number(to, "accuracy_percent", s->accuracy);
	json_number(to, "accuracy_full_percent", s->accuracy_full);
	json_number(to, "joules", s->joules);
	json_number(to, "joules_full", s->joules_full);
	fprintf(to, ",\"energy_source\":\"%s\",\"widths\":[", isnan(s->joules) ? "" : "modelled");
	for (size_t i = 0; i < SIMULATE_WIDTHS; i++)
		if (s->seconds_at[i] > 0) {
			fprintf(to, "%s{\"bits\":%.9g,\"seconds\":%.9g}", comma, (double) i / 8,
				s->seconds_at[i]);
			comma = ",";
		}
	fprintf(to, "],\"timeline\":[");
	comma = "";
	for (size_t i = 0; i < s->n_moments; i++)
		if (s->moments[i].switched) {
			fputs(comma, to);
			json_moment(to, s, &s->moments[i]);
			comma = ",";
		}
	fprintf(to, "]}");
}
