/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "rehearse/tool.h"

int output_check(const struct output *o)
{
	const char *dot = o->plot ? strrchr(o->plot, '.') : NULL;

	if (!o->plot || (dot && strcmp(dot, ".svg") == 0))
		return EXIT_CODE_OK;
	return usage_error("--plot=FILE.svg (rsvg-convert makes a PNG of one)", o->plot);
}

void output_begin(const struct output *o)
{
	if (o->json)
		(void) putchar('[');
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

int output_show(struct output *o, const char *model, const struct simulation *s, struct error *reterr)
{
	if (o->json) {
		if (o->n > 0)
			(void) putchar(',');
		simulation_print_json(s, model, stdout);
	} else {
		printf("%s%s\n", o->n > 0 ? "\n" : "", model);
		simulation_print(s, stdout);
	}
	o->n++;
	return o->plot ? plot(s, o->plot, reterr) : 0;
}

void output_end(const struct output *o)
{
	if (o->json)
		printf("]\n");
}
