/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands of bitshed-model share. */
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"

int tool_fail(const struct command *c, const struct error *e, int r)
{
	fprintf(stderr, "bitshed-model %s: %s\n", c->name, error_text(e, r));
	return EXIT_FAILURE;
}

int tool_usage(const struct command *c, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "bitshed-model %s: ", c->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry 'bitshed-model %s --help'.\n", c->name);
	return EXIT_USAGE;
}

int tool_help(const struct command *c)
{
	printf("%s", c->help);
	return EXIT_SUCCESS;
}

bool tool_number(const char *text, uint32_t low, uint32_t high, uint32_t *ret)
{
	unsigned long v;
	char *end;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || v < low || v > high)
		return false;
	*ret = (uint32_t) v;
	return true;
}

uint32_t tool_floats(const char *text, float *ret, uint32_t max)
{
	uint32_t n = 0;
	char *end;

	for (;; text = end + 1) {
		if (n == max)
			return 0;
		ret[n] = strtof(text, &end);
		if (end == text || !isfinite(ret[n]))
			return 0;
		n++;
		if (!*end)
			return n;
		if (*end != ',')
			return 0;
	}
}

const char *tool_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int tool_network(struct network **ret, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : network_open(ret, fd, reterr);

	return r < 0 ? error_prefix(reterr, r, "%s", path) : r;
}

int tool_samples(struct samples *ret, struct dataset **ret_data, const struct network *n,
	const char *data, const char *labels, struct error *reterr)
{
	struct preprocess p = {.scale = n->pixel_scale, .bgr = n->input_bgr};
	int r = dataset_open(ret_data, data, labels, reterr);

	if (r < 0)
		return error_prefix(reterr, r, "%s", data);
	memcpy(p.mean, n->pixel_mean, sizeof p.mean);
	memcpy(p.std, n->pixel_std, sizeof p.std);
	r = samples_init(ret, *ret_data, &p, n->values[n->input].shape, reterr);
	return r < 0 ? error_prefix(reterr, r, "%s", data) : r;
}

int tool_widths(const struct network *n, const char *text, float *ret, uint32_t max,
	struct error *reterr)
{
	uint32_t count;

	if (!text) {
		for (uint32_t i = 0; i < n->planes_max; i++)
			ret[i] = (float) (n->planes_max - i);
		return (int) n->planes_max;
	}
	count = tool_floats(text, ret, max);
	if (count == 0)
		return error_set(reterr, -EINVAL, "--bits takes widths like 4,3,2.5,2");
	for (uint32_t i = 0; i < count; i++)
		if (!(ret[i] >= 1) || ret[i] > (float) n->planes_max)
			return error_set(reterr, -EINVAL, "--bits %g: this file has widths 1 to %u", ret[i],
				n->planes_max);
	return (int) count;
}

/* "calibrating  42 %, 12 s left": at most five times a second, by whichever thread comes by. */
static void meter_step(void *userdata, const char *what, uint64_t done, uint64_t total)
{
	struct meter *m = userdata;
	uint64_t now;
	double share;

	if (__atomic_exchange_n(&m->busy, 1, __ATOMIC_ACQUIRE))
		return;
	now = clock_now_nsec();
	if (m->what != what) {
		if (!m->terminal)
			fprintf(stderr, "%s\n", what);
		m->what = what;
		m->start_nsec = m->shown_nsec = now;
	}
	share = total ? (double) done / (double) total : 0;
	if (m->terminal && now - m->shown_nsec > 200 * NSEC_PER_MSEC && share > 0) {
		double left = (double) (now - m->start_nsec) * (1 - share) / share;

		fprintf(stderr, "\r\033[K%s  %.0f %%, %.0f s left", what, 100 * share,
			left / (double) NSEC_PER_SEC);
		m->shown_nsec = now;
	}
	__atomic_store_n(&m->busy, 0, __ATOMIC_RELEASE);
}

void meter_init(struct meter *m)
{
	*m = (struct meter){.terminal = isatty(STDERR_FILENO)};
	m->progress = (struct progress){meter_step, m};
}

void meter_done(struct meter *m)
{
	if (m->terminal && m->what)
		fprintf(stderr, "\r\033[K");
}

void json_string(const char *text)
{
	putchar('"');
	for (const unsigned char *p = (const unsigned char *) text; *p; p++) {
		if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < 0x20)
			printf("\\u%04x", *p);
		else
			putchar(*p);
	}
	putchar('"');
}
