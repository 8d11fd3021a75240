/* SPDX-License-Identifier: Apache-2.0 */
/* Two pictures above each other on one time axis: the width as steps, the battery as a line. */
#include <math.h>

#include "rehearse/simulate.h"

#define WIDTH 900.0
#define LEFT 50.0
#define TOP 30.0
#define HEIGHT 160.0
#define GAP 40.0

struct frame {
	double top, first, length, max;
};

static double x_of(const struct frame *f, double second)
{
	return LEFT + (f->length > 0 ? (second - f->first) / f->length : 0) * WIDTH;
}

static double y_of(const struct frame *f, double v)
{
	return f->top + HEIGHT * (1 - v / f->max);
}

static void text(FILE *to, double x, double y, const char *anchor, const char *words)
{
	fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor,
		words);
}

static void draw_axes(FILE *to, const struct frame *f, const char *title, double step)
{
	char label[32];

	text(to, LEFT, f->top - 8, "start", title);
	for (double v = 0; v <= f->max; v += step) {
		fprintf(to, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", LEFT, y_of(f, v),
			WIDTH);
		(void) snprintf(label, sizeof label, "%g", v);
		text(to, LEFT - 6, y_of(f, v) + 4, "end", label);
	}
}

static void draw_hours(FILE *to, const struct frame *f)
{
	char label[32];

	for (int i = 0; i <= 8; i++) {
		double second = f->first + f->length * i / 8;
		unsigned long minutes = (unsigned long) (second / 60);

		(void) snprintf(label, sizeof label, "%02lu:%02lu", minutes / 60, minutes % 60);
		text(to, x_of(f, second), f->top + HEIGHT + 18, "middle", label);
	}
}

static void draw_bits(FILE *to, const struct simulation *s, const struct frame *f, bool wanted)
{
	fprintf(to, "<path class=\"%s\" d=\"", wanted ? "wanted" : "bits");
	for (size_t i = 0; i < s->n_moments; i++) {
		const struct simulate_moment *m = &s->moments[i];
		double v = wanted ? m->wanted_bits : m->bits;

		if (i == 0)
			fprintf(to, "M%.1f %.1f", x_of(f, m->second), y_of(f, v));
		else if (v != (wanted ? m[-1].wanted_bits : m[-1].bits) || i + 1 == s->n_moments)
			fprintf(to, "H%.1fV%.1f", x_of(f, m->second), y_of(f, v));
	}
	fprintf(to, "\"/>\n");
}

/* At most one point per half pixel: a day of seconds need not be a large file. */
static void draw_battery(FILE *to, const struct simulation *s, const struct frame *f)
{
	double last = -1;
	bool down = false;

	fprintf(to, "<path class=\"battery\" d=\"");
	for (size_t i = 0; i < s->n_moments; i++) {
		double x = x_of(f, s->moments[i].second), v = s->moments[i].percent;

		if (isnan(v)) {
			down = false;
			continue;
		}
		if (down && x - last < 0.5)
			continue;
		fprintf(to, "%c%.1f %.1f", down ? 'L' : 'M', x, y_of(f, fmin(fmax(v, 0), 100)));
		last = x;
		down = true;
	}
	fprintf(to, "\"/>\n");
}

void simulation_plot(const struct simulation *s, FILE *to)
{
	struct frame bits = {.top = TOP, .max = s->bits_max},
		     battery = {.top = TOP + HEIGHT + GAP, .max = 100};

	if (s->n_moments > 0) {
		bits.first = s->moments[0].second;
		bits.length = s->moments[s->n_moments - 1].second - bits.first;
	}
	battery.first = bits.first;
	battery.length = bits.length;
	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
		"font-family=\"sans-serif\" "
		"font-size=\"12\">\n<style>path{fill:none}.grid{stroke:#ddd}.bits{stroke:#1c6;"
		"stroke-width:2}"
		".wanted{stroke:#aaa;stroke-dasharray:3 "
		"3}.battery{stroke:#36c;stroke-width:1.5}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
		LEFT + WIDTH + 30, TOP + 2 * HEIGHT + GAP + 30);
	draw_axes(to, &bits, "bits (dashed: wanted)", 1);
	draw_bits(to, s, &bits, true);
	draw_bits(to, s, &bits, false);
	draw_axes(to, &battery, "battery, %", 25);
	draw_battery(to, s, &battery);
	draw_hours(to, &battery);
	fprintf(to, "</svg>\n");
}
