/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon sends the head of the file, the planes, and the numbers of the width: the very functions that
 * built model and plan there build them here, so there is nothing to agree on.
 */
#include "worker/models.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memfd.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "worker/cl_times.h"

#define MEASURE_RUNS 3
#define TIMES_NSEC (2 * NSEC_PER_SEC)
#define BATCH_RUN_NSEC (50 * NSEC_PER_MSEC)

/** struct files - which files a plan has come in; @head: the same for all plans of a network */
struct files {
	dev_t dev;
	ino_t head, planes[WORKER_PLANES];
	uint32_t indices[WORKER_PLANES], n;
};

struct loaded {
	struct list link;
	uint64_t id;
	struct files files;
	struct cl_plan *plan;
};

void models_init(struct models *m, struct cl *cl, const char *cache)
{
	*m = (struct models){.cl = cl, .cache = cache};
	list_init(&m->plans);
}

static void forget(struct models *m, struct loaded *l)
{
	list_remove(&l->link);
	m->n--;
	(void) cl_plan_free(l->plan);
	free(l);
}

void models_done(struct models *m)
{
	list_for_each_safe(l, n, &m->plans) forget(m, list_entry(l, struct loaded, link));
}

static struct loaded *find(const struct models *m, uint64_t id)
{
	list_for_each(l, &m->plans) if (list_entry(l, struct loaded, link)->id ==
					id) return list_entry(l, struct loaded, link);
	return NULL;
}

struct cl_plan *models_find(const struct models *m, uint64_t plan)
{
	struct loaded *l = find(m, plan);

	return l ? l->plan : NULL;
}

void models_unload(struct models *m, uint64_t plan)
{
	struct loaded *l = find(m, plan);

	if (l)
		forget(m, l);
}

/* Planes come as descriptors or not at all: an empty file stands for the one with the planes. */
static int open_new(int head, struct network **ret, struct error *reterr)
{
	_cleanup_close_ int nothing = -1;
	int r = memfd_new_sparse(&nothing, "nothing", 1);

	return r < 0 ? r : network_open_head(ret, head, nothing, reterr);
}

/* A plane of a network may have been encoded anew: the same number, and other bits. */
static bool share_planes(const struct files *a, const struct files *b)
{
	for (uint32_t i = 0; i < a->n; i++)
		for (uint32_t j = 0; j < b->n; j++)
			if (a->indices[i] == b->indices[j] && a->planes[i] != b->planes[j])
				return false;
	return a->dev == b->dev && a->head == b->head;
}

static int open_network(struct models *m, int head, const struct files *files, struct network **ret,
	struct error *reterr)
{
	list_for_each(l, &m->plans)
	{
		const struct loaded *x = list_entry(l, struct loaded, link);

		if (!share_planes(&x->files, files))
			continue;
		*ret = network_ref(cl_plan_engine(x->plan)->model->network);
		return 0;
	}
	return open_new(head, ret, reterr);
}

static int offer_planes(
	struct network *n, const struct worker_load *load, const int *fds, struct error *reterr)
{
	for (uint32_t i = 0; i < load->n_planes; i++) {
		const struct worker_plane *p = &load->planes[i];
		int fd, r;

		if (p->index != PLANE_FIXED && p->index >= n->planes_max)
			return error_set(
				reterr, -EBADMSG, "the network has no plane %u", p->index + 1);
		fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
		r = plane_offer(n, p->index, p->layout, p->bytes, fd);
		if (r < 0)
			return error_set(reterr, r, "plane %u cannot be taken", p->index + 1);
	}
	return 0;
}

static int look_at_files(const struct worker_load *load, const int *fds, struct files *ret)
{
	struct stat st;

	if (fstat(fds[0], &st) < 0)
		return -errno;
	*ret = (struct files){.dev = st.st_dev, .head = st.st_ino, .n = load->n_planes};
	for (uint32_t i = 0; i < load->n_planes; i++) {
		if (fstat(fds[2 + i], &st) < 0)
			return -errno;
		ret->indices[i] = load->planes[i].index;
		ret->planes[i] = st.st_ino;
	}
	return 0;
}

static int check_load(const struct models *m, const struct worker_load *load, uint32_t n,
	const int *fds, struct files *ret, struct error *reterr)
{
	if (load->n_planes > WORKER_PLANES || n != load->n_planes + 2)
		return error_set(
			reterr, -EBADMSG, "%u descriptors came with %u planes", n, load->n_planes);
	if (find(m, load->plan))
		return error_set(reterr, -EEXIST, "this plan is loaded");
	if (m->n == MODELS_PLANS_MAX)
		return error_set(reterr, -ENOMEM, "there are %u plans", m->n);
	return look_at_files(load, fds, ret);
}

/** struct trial - memory for one input, which all items share, and an output for each */
struct trial {
	void *input;
	float *outputs;
	struct cl_item items[WORKER_BATCH];
};

static void trial_done(struct trial *t)
{
	free(t->input);
	free(t->outputs);
}

static int trial_init(struct trial *t, const struct plan *plan)
{
	t->input = calloc(1, plan->input_floats_bytes);
	t->outputs = calloc(WORKER_BATCH, plan->output_bytes);
	if (!t->input || !t->outputs)
		return -ENOMEM;
	for (uint32_t i = 0; i < WORKER_BATCH; i++)
		t->items[i] = (struct cl_item){
			t->input, t->outputs + i * plan->output_bytes / sizeof(float)};
	return 0;
}

/* The best of a few runs, per inference. */
static int measure_runs(struct cl_plan *p, enum input_type type, const struct trial *t, uint32_t n,
	uint64_t *ret_nsec, struct error *reterr)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < MEASURE_RUNS; i++) {
		uint64_t begin = clock_now_nsec();
		int r = cl_plan_run_all(p, type, t->items, n, reterr);

		if (r < 0)
			return r;
		best = MIN_OF(best, clock_now_nsec() - begin);
	}
	*ret_nsec = best / n;
	return 0;
}

/* The first run of either type of input may compile what drivers compile late, and does not count. */
static int measure(struct cl_plan *p, uint64_t *ret_run_nsec, uint64_t *ret_batch_nsec,
	struct error *reterr)
{
	const struct plan *plan = cl_plan_engine(p);
	_cleanup_(trial_done) struct trial t = {};
	enum input_type type = plan->input_pixels_bytes > 0 ? INPUT_PIXELS : INPUT_FLOATS;
	int r = trial_init(&t, plan);

	if (r >= 0)
		r = cl_plan_run(p, INPUT_FLOATS, t.input, t.outputs, reterr);
	if (r >= 0 && type == INPUT_PIXELS)
		r = cl_plan_run(p, type, t.input, t.outputs, reterr);
	if (r >= 0)
		r = measure_runs(p, type, &t, 1, ret_run_nsec, reterr);
	if (r < 0)
		return r;
	*ret_batch_nsec = *ret_run_nsec;
	/* What takes so long by itself gains nothing from having no pause before it. */
	return *ret_run_nsec > BATCH_RUN_NSEC
		       ? 0
		       : measure_runs(p, type, &t, WORKER_BATCH, ret_batch_nsec, reterr);
}

static int adopt(
	struct network *network, int fd, size_t bytes, struct model **ret, struct error *reterr)
{
	uint64_t at = WORKER_NUMBERS_AT(network->n_matrices);
	void *map;
	int r;

	if (bytes < at || !memfd_is_read_only(fd, bytes))
		return error_set(reterr, -EPERM,
			"the numbers are not sealed or not as many as they should be");
	map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r = model_adopt(ret, network, map, (uint8_t *) map + at, bytes - at, reterr);
	(void) munmap(map, bytes);
	return r;
}

/* Once for each shape and driver; a folder that cannot be written costs the same again next time. */
static int measure_kernels(struct models *m, struct plan *plan, struct error *reterr)
{
	int r = m->cl->times ? 0 : cl_times_read(&m->cl->times, m->cl, m->cache);

	if (r >= 0)
		r = cl_times_measure(m->cl, plan, TIMES_NSEC, reterr);
	if (r > 0 && m->cache)
		(void) cl_times_write(m->cl->times, m->cl, m->cache);
	return MIN_OF(r, 0);
}

static int build(struct models *m, const struct worker_load *load, const int *fds,
	const struct files *files, struct cl_plan **ret, struct error *reterr)
{
	_cleanup_(network_unrefp) struct network *network = NULL;
	_cleanup_(model_unrefp) struct model *model = NULL;
	_cleanup_(plan_unrefp) struct plan *plan = NULL;
	int r;

	r = open_network(m, fds[0], files, &network, reterr);
	if (r >= 0)
		r = offer_planes(network, load, fds + 2, reterr);
	if (r >= 0)
		r = adopt(network, fds[1], load->numbers_bytes, &model, reterr);
	if (network)
		(void) plane_offers_drop(network);
	if (r >= 0)
		r = plan_new(&plan, model, cpu_flags(), reterr);
	if (r >= 0)
		r = measure_kernels(m, plan, reterr);
	return r < 0 ? r : cl_plan_new(ret, m->cl, plan, reterr);
}

int models_load(struct models *m, const struct worker_load *load, const int *fds, uint32_t n,
	uint64_t *ret_run_nsec, uint64_t *ret_batch_nsec, struct error *reterr)
{
	_cleanup_(cl_plan_freep) struct cl_plan *plan = NULL;
	_cleanup_free_ struct loaded *l = calloc(1, sizeof *l);
	struct files files;
	int r;

	if (!l)
		return -ENOMEM;
	r = check_load(m, load, n, fds, &files, reterr);
	if (r >= 0)
		r = build(m, load, fds, &files, &plan, reterr);
	if (r >= 0)
		r = measure(plan, ret_run_nsec, ret_batch_nsec, reterr);
	if (r < 0)
		return r;
	l->id = load->plan;
	l->files = files;
	l->plan = take_ptr(plan);
	list_append(&m->plans, &l->link);
	m->n++;
	(void) take_ptr(l);
	return 0;
}
