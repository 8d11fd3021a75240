/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model analyse: range and local sparsity of quantized weights, as a table and as a picture. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/markup.h"
#include "convert/analyse.h"
#include "engine/lower.h"
#include "tools/tool.h"

static int analyse_main(int argc, char **argv);

const struct command command_analyse = {
	.name = "analyse",
	.summary = "range and local sparsity of the weights at each width",
	.run = analyse_main,
	.help = "bitshed-model analyse NET.gguf [OPTIONS...]\n"
		"\n"
		"For each layer: the range of its values in bits (largest over smallest that is not zero), how many\n"
		"bits its codes would need on average (entropy), and the share of zeros, mean and deviation over rows\n"
		"and over kernels.\n"
		"\n"
		"  --bits LIST    widths, like 4,3,2 (all whole ones of the file)\n"
		"  --svg FILE     draw zeros, entropy and range, a row for each width\n"
		"  --json         for programs\n",
};

static const struct option options[] = {
	{"bits", required_argument, NULL, 'b'},
	{"svg", required_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{},
};

#define CELL 26
#define LEFT 90
#define RANGE_BITS 8.0 /* of an int8: from 1 to 127 are 7 */

enum band {
	BAND_ZEROS,
	BAND_ENTROPY,
	BAND_RANGE,
};

static int band_y(int band, int row, int widths)
{
	return 34 + (band * widths + row) * CELL + band * 20;
}

/* White to dark: 0 to 1. */
static void draw_cell(FILE *to, uint32_t x, uint32_t y, double part, const char *title, double value)
{
	fprintf(to, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"hsl(215,60%%,%.0f%%)\"><title>%s %.3f"
		    "</title></rect>\n", LEFT + x * CELL, y, CELL - 2, CELL - 2, 96 - 70 * (part < 1 ? part : 1), title,
		value);
}

static void draw_head(FILE *to, const struct network *n, int widths)
{
	fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %d\" font-family=\"sans-serif\" "
		    "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		    "<text x=\"10\" y=\"20\">", MAX_OF(LEFT + n->n_matrices * CELL + 20, 560u),
		band_y(BAND_RANGE, widths, widths));
	markup_put(to, n->name);
	fprintf(to, ", ");
	markup_put(to, n->method);
	fprintf(to, ": zeros, entropy of the codes, range in bits; a column for each layer</text>\n");
}

/* What one layer has of all three, and the width in front of the first. */
static void draw_layer(FILE *to, const struct analysis *a, uint32_t layer, double bits, uint32_t planes, int row,
	int widths)
{
	static const char *const names[] = {"zeros", "entropy", "range"};
	const double values[] = {a->rows_mean, a->occupancy, a->range_bits};
	const double parts[] = {a->rows_mean, a->occupancy / planes, a->range_bits / RANGE_BITS};

	for (int band = BAND_ZEROS; band <= BAND_RANGE; band++) {
		int y = band_y(band, row, widths);

		draw_cell(to, layer, (uint32_t) y, parts[band], names[band], values[band]);
		if (layer == 0)
			fprintf(to, "<text x=\"10\" y=\"%d\">%s %g</text>\n", y + 16, names[band], bits);
	}
}

static void print_text(const struct analysis *a, uint32_t layer, double bits)
{
	printf("%5g  %5u  %10.2f  %7.2f  %6.1f %% +- %4.1f  %6.1f %% +- %4.1f\n", bits, layer, a->range_bits, a->occupancy,
		100 * a->rows_mean, 100 * a->rows_deviation, 100 * a->taps_mean, 100 * a->taps_deviation);
}

static void print_json(const struct analysis *a, uint32_t layer, uint32_t planes)
{
	printf("%s{\"planes\":%u,\"range_bits\":%.4g,\"entropy\":%.4g,\"zeros_of_a_row\":{\"mean\":%.4g,"
	       "\"deviation\":%.4g},\"zeros_of_a_kernel\":{\"mean\":%.4g,\"deviation\":%.4g}}", layer ? "," : "", planes,
		a->range_bits, a->occupancy, a->rows_mean, a->rows_deviation, a->taps_mean, a->taps_deviation);
}

/**
 * struct output - where an analysis goes, beside standard output
 * @svg: or NULL
 */
struct output {
	FILE *svg;
	bool json;
};

static int analyse_width(struct network *n, double bits, int row, int widths, const struct output *to,
	struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	int r = model_build(&m, n, bits, reterr);

	if (to->json && r >= 0)
		printf("%s{\"bits\":%g,\"layers\":[", row ? "," : "", bits);
	for (uint32_t i = 0; r >= 0 && i < n->n_matrices; i++) {
		struct analysis a;

		r = analyse_matrix(&a, m, i);
		if (r < 0)
			break;
		if (to->json)
			print_json(&a, i, m->layers[i].planes);
		else
			print_text(&a, i, bits);
		if (to->svg)
			draw_layer(to->svg, &a, i, bits, m->layers[i].planes, row, widths);
	}
	if (to->json && r >= 0)
		printf("]}");
	return r;
}

static int analyse(const char *path, const char *bits, const struct output *to, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	float widths[WIDTHS_MAX];
	int count = 0, r = tool_network(&n, path, reterr);

	if (r >= 0)
		r = count = tool_widths(n, bits, widths, WIDTHS_MAX, reterr);
	if (r < 0)
		return r;
	if (to->json) {
		printf("{\"network\":");
		json_string(n->name);
		printf(",\"method\":");
		json_string(n->method);
		printf(",\"widths\":[");
	} else {
		printf(" bits  layer  range bits  entropy  zeros of a row    zeros of a kernel\n");
	}
	if (to->svg)
		draw_head(to->svg, n, count);
	for (int i = 0; r >= 0 && i < count; i++)
		r = analyse_width(n, widths[i], i, count, to, reterr);
	if (to->json && r >= 0)
		printf("]}\n");
	if (to->svg)
		fprintf(to->svg, "</svg>\n");
	return r;
}

static int analyse_main(int argc, char **argv)
{
	const char *bits = NULL, *picture = NULL;
	struct error error = {};
	struct output to = {};
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == 'h')
			return tool_help(&command_analyse);
		if (option == 'b')
			bits = optarg;
		else if (option == 's')
			picture = optarg;
		else if (option == 'j')
			to.json = true;
		else
			return tool_usage(&command_analyse, "unknown option or missing value");
	}
	if (optind + 1 != argc)
		return tool_usage(&command_analyse, "give one model file");
	if (picture) {
		to.svg = fopen(picture, "we");
		if (!to.svg)
			return tool_fail(&command_analyse, NULL, -errno);
	}
	r = analyse(argv[optind], bits, &to, &error);
	if (to.svg && fclose(to.svg) != 0 && r >= 0)
		r = -EIO;
	return r < 0 ? tool_fail(&command_analyse, &error, r) : EXIT_SUCCESS;
}
