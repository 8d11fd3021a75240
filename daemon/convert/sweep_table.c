/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a sweep on disk: CSV to go on from, a table and a plot to look at. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/markup.h"
#include "convert/card.h"
#include "convert/sweep.h"

#define HEAD "method,bits,bytes,seconds,top1,top5,images,float_top1,float_images\n"
#define LINE_MAX_BYTES 512

DEFINE_CLEANUP(FILE *, fclose)

void sweep_table_done(struct sweep_table *t)
{
	free(t->rows);
	*t = (struct sweep_table){};
}

static int path_of(char *ret, size_t size, const char *folder, const char *name)
{
	return snprintf(ret, size, "%s/%s", folder, name) < (int) size ? 0 : -ENAMETOOLONG;
}

static bool parse_row(struct sweep_row *r, const char *line)
{
	unsigned long long bytes;
	int end = 0;

	if (sscanf(line, "%31[a-z0-9-],%u,%llu,%lf,%lf,%lf,%u,%lf,%u%n", r->method, &r->bits, &bytes, &r->seconds, &r->top1, &r->top5, &r->images, &r->float_top1, &r->float_images, &end) != 9)
		return false;
	r->bytes = bytes;
	return line[end] == '\n' && isfinite(r->top1) && isfinite(r->seconds);
}

static int add_row(struct sweep_table *t, const struct sweep_row *row)
{
	struct sweep_row *rows = reallocarray(t->rows, t->n + 1, sizeof *rows);

	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	t->rows[t->n++] = *row;
	return 0;
}

int sweep_read(struct sweep_table *ret, const char *folder, struct error *reterr)
{
	_cleanup_(sweep_table_done) struct sweep_table t = {};
	_cleanup_(fclosep) FILE *file = NULL;
	char path[4096], line[LINE_MAX_BYTES];
	int r = path_of(path, sizeof path, folder, "sweep.csv");

	if (r < 0)
		return r;
	file = fopen(path, "re");
	if (!file && errno != ENOENT)
		return error_set(reterr, -errno, "%s: %s", path, error_text(NULL, -errno));
	for (uint32_t n = 1; file && r >= 0 && fgets(line, sizeof line, file); n++) {
		struct sweep_row row = {};

		if (n == 1 && strcmp(line, HEAD) == 0)
			continue;
		if (n == 1 || !parse_row(&row, line))
			return error_set(reterr, -EBADMSG, "%s:%u: no row of a sweep", path, n);
		r = add_row(&t, &row);
	}
	if (r < 0)
		return r;
	*ret = t;
	t = (struct sweep_table){};
	return 0;
}

int sweep_append(const char *folder, const struct sweep_row *row, struct error *reterr)
{
	char path[4096], line[LINE_MAX_BYTES];
	_cleanup_close_ int fd = -1;
	int r = path_of(path, sizeof path, folder, "sweep.csv"), n;

	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		return error_set(reterr, -errno, "%s: %s", path, error_text(NULL, -errno));
	if (lseek(fd, 0, SEEK_END) == 0)
		r = fd_write_all(fd, HEAD, strlen(HEAD));
	n = snprintf(line, sizeof line, "%s,%u,%llu,%.3f,%.3f,%.3f,%u,%.3f,%u\n", row->method, row->bits,
		(unsigned long long) row->bytes, row->seconds, row->top1,
		row->top5, row->images, row->float_top1, row->float_images);
	if (r >= 0)
		r = fd_write_all(fd, line, (size_t) n);
	return r < 0 ? r : fsync(fd) < 0 ? -errno : 0;
}

const struct sweep_row *sweep_find(const struct sweep_table *t, const char *method, uint32_t bits)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (t->rows[i].bits == bits && strcmp(t->rows[i].method, method) == 0)
			return &t->rows[i];
	return NULL;
}

static void write_table(FILE *to, const struct sweep_table *t, const char *title)
{
	const struct sweep_row *fp32 = sweep_find(t, "fp32", 32);
	double low, high;

	fprintf(to, "# %s\n\n", title);
	if (fp32) {
		card_interval(fp32->top1, fp32->images, &low, &high);
		fprintf(to, "fp32: top-1 %.2f (95 %% interval %.2f to %.2f), top-5 %.2f, %u items.\n\n", fp32->top1,
			low, high, fp32->top5, fp32->images);
	}
	fprintf(to, "| method | bits | planes and scales, KiB | to quantize, s | weights only, top-1 (items) | "
		    "8-bit activations, top-1 | interval | top-5 |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
	for (uint32_t i = 0; i < t->n; i++) {
		const struct sweep_row *r = &t->rows[i];
		char only[32] = "";

		if (r == fp32)
			continue;
		card_interval(r->top1, r->images, &low, &high);
		if (r->float_images > 0)
			(void) snprintf(only, sizeof only, "%.2f (%u)", r->float_top1, r->float_images);
		fprintf(to, "| %s | %u | %.0f | %.1f | %s | %.2f | %.1f to %.1f | %.2f |\n", r->method, r->bits,
			(double) r->bytes / 1024, r->seconds, only, r->top1, low, high, r->top5);
	}
}

#define WIDTH 900
#define HEIGHT 560
#define LEFT 60
#define RIGHT 700
#define TOP 40
#define BOTTOM 500

/**
 * struct axes - what the plot shows
 * @first, @last: log2 of the sizes at the sides
 */
struct axes {
	double first, last, low, high;
};

static double x_of(const struct axes *a, uint64_t bytes)
{
	return LEFT + (log2((double) bytes) - a->first) / (a->last - a->first) * (RIGHT - LEFT);
}

static double y_of(const struct axes *a, double top1)
{
	return BOTTOM - (fmax(top1, a->low) - a->low) / (a->high - a->low) * (BOTTOM - TOP);
}

static struct axes make_axes(const struct sweep_table *t)
{
	struct axes a = {.first = INFINITY, .last = -INFINITY, .low = 0, .high = 100};

	for (uint32_t i = 0; i < t->n; i++)
		if (t->rows[i].bits < 32 && t->rows[i].bytes > 0) {
			a.first = fmin(a.first, log2((double) t->rows[i].bytes) - 0.1);
			a.last = fmax(a.last, log2((double) t->rows[i].bytes) + 0.1);
		}
	return a;
}

/* Hues a golden angle apart. */
static double hue_of(uint32_t method)
{
	return fmod(method * 137.508, 360);
}

static void draw_method(FILE *to, const struct sweep_table *t, const struct axes *a, const char *name, uint32_t n)
{
	double y = TOP + 16.0 * n;

	fprintf(to, "<g stroke=\"hsl(%.0f,70%%,40%%)\" fill=\"hsl(%.0f,70%%,40%%)\"><polyline fill=\"none\" points=\"",
		hue_of(n), hue_of(n));
	for (uint32_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].method, name) == 0 && t->rows[i].bytes > 0)
			fprintf(to, "%.1f,%.1f ", x_of(a, t->rows[i].bytes), y_of(a, t->rows[i].top1));
	fprintf(to, "\"/>\n");
	for (uint32_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].method, name) == 0 && t->rows[i].bytes > 0)
			fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%s, %u bits: %.2f %%</title></circle>\n",
				x_of(a, t->rows[i].bytes), y_of(a, t->rows[i].top1), name, t->rows[i].bits,
				t->rows[i].top1);
	fprintf(to, "<path d=\"M%d %.0f h20\"/></g><text x=\"%d\" y=\"%.0f\">%s</text>\n", RIGHT + 20, y, RIGHT + 46,
		y + 4, name);
}

static void draw_axes(FILE *to, const struct axes *a, const char *title)
{
	fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
		    "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		    "<text x=\"%d\" y=\"20\" font-size=\"15\">", WIDTH, HEIGHT, LEFT);
	markup_put(to, title);
	fprintf(to, "</text>\n");
	for (int v = 0; v <= 100; v += 10)
		fprintf(to, "<path d=\"M%d %.1f H%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
			    "text-anchor=\"end\">%d</text>\n", LEFT, y_of(a, v), RIGHT, LEFT - 6, y_of(a, v) + 4, v);
	for (double e = ceil(2 * a->first) / 2; e <= a->last; e += 0.5)
		fprintf(to, "<path d=\"M%.1f %d v6\" stroke=\"black\"/><text x=\"%.1f\" y=\"%d\" "
			    "text-anchor=\"middle\">%.0f</text>\n", x_of(a, (uint64_t) exp2(e)), BOTTOM,
			x_of(a, (uint64_t) exp2(e)), BOTTOM + 20, exp2(e) / 1024);
	fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">planes and scales, KiB; top-1 in percent, 8-bit "
		    "activations</text>\n", (LEFT + RIGHT) / 2, BOTTOM + 44);
}

static void write_plot(FILE *to, const struct sweep_table *t, const char *title)
{
	const struct sweep_row *fp32 = sweep_find(t, "fp32", 32);
	struct axes a = make_axes(t);
	uint32_t n = 0;

	draw_axes(to, &a, title);
	if (fp32)
		fprintf(to, "<path d=\"M%d %.1f H%d\" stroke=\"black\" stroke-dasharray=\"4\"/>\n", LEFT,
			y_of(&a, fp32->top1), RIGHT);
	for (uint32_t i = 0; i < t->n; i++) {
		bool first = t->rows[i].bits < 32;

		for (uint32_t j = 0; j < i && first; j++)
			first = strcmp(t->rows[j].method, t->rows[i].method) != 0;
		if (first)
			draw_method(to, t, &a, t->rows[i].method, n++);
	}
	fprintf(to, "</svg>\n");
}

static int write_file(const struct sweep_table *t, const char *folder, const char *name, const char *title,
	void (*write_it)(FILE *to, const struct sweep_table *t, const char *title), struct error *reterr)
{
	_cleanup_(fclosep) FILE *to = NULL;
	char path[4096];
	int r = path_of(path, sizeof path, folder, name);

	if (r < 0)
		return r;
	to = fopen(path, "we");
	if (!to)
		return error_set(reterr, -errno, "%s: %s", path, error_text(NULL, -errno));
	write_it(to, t, title);
	return fflush(to) == 0 ? 0 : error_set(reterr, -errno, "%s: %s", path, error_text(NULL, -errno));
}

int sweep_write(const struct sweep_table *t, const char *folder, const char *title, struct error *reterr)
{
	int r = write_file(t, folder, "sweep.md", title, write_table, reterr);

	return r < 0 ? r : write_file(t, folder, "sweep.svg", title, write_plot, reterr);
}
