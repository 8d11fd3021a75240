/* SPDX-License-Identifier: Apache-2.0 */
#include "rehearse/models.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "engine/cost.h"

static int open_network(struct network **ret, const char *path, struct error *reterr)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0)
		return error_set(reterr, -errno, "%.100s: %s", path, strerrordesc_np(errno));
	r = network_open(ret, fd, reterr);
	return r < 0 ? error_prefix(reterr, r, "%.100s", path) : 0;
}

static void estimate(struct simulate_model *m, const struct network *n)
{
	struct cost c;

	for (uint32_t i = 8; i <= n->planes_max * 8; i++)
		if (network_cost(&c, n, i / 8.0) >= 0)
			m->joules[i] = cost_joules(&c);
}

/* The file's name without folder and ending, unless a name is given. */
static void take_name(char *to, size_t size, const char *argument, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	int n = path > argument ? (int) (path - argument - 1) : (int) strcspn(base, ".");

	(void) snprintf(to, size, "%.*s", n, path > argument ? argument : base);
}

int models_add(struct models *m, const char *argument, struct error *reterr)
{
	const char *equals = strchr(argument, '='), *path = equals ? equals + 1 : argument;
	struct simulate_model *to = &m->all[m->n];
	struct network *network;
	int r;

	if (m->n == MODELS_MAX)
		return error_set(reterr, -E2BIG, "expected at most %d models", MODELS_MAX);
	r = open_network(&network, path, reterr);
	if (r < 0)
		return r;
	take_name(m->names[m->n], sizeof m->names[0], argument, path);
	*to = (struct simulate_model){
		.policy = {.name = m->names[m->n],
			.bits_max = network->planes_max,
			.profile = PROFILE_PERFORMANCE,
			.accuracies = network->accuracies,
			.n_accuracies = network->n_accuracies},
	};
	estimate(to, network);
	m->networks[m->n++] = network;
	return 0;
}

void models_stand_in(struct models *m, const char *name, double bits_max)
{
	(void) snprintf(m->names[m->n], sizeof m->names[0], "%s", name);
	m->all[m->n] = (struct simulate_model){
		.policy = {.name = m->names[m->n],
			.bits_max = bits_max,
			.profile = PROFILE_PERFORMANCE},
	};
	m->n++;
}

int models_parse_rate(double *ret, const char *text)
{
	char *end;

	*ret = strtod(text, &end);
	return end != text && *end == '\0' && *ret >= 0 && *ret <= 1e6 ? 0 : -EINVAL;
}

void models_rate(struct models *m, double rate)
{
	for (uint32_t i = 0; i < m->n; i++)
		m->all[i].rate = rate;
}

void models_done(struct models *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		(void) network_unref(m->networks[i]);
	m->n = 0;
}
