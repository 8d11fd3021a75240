/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/packet.h"
#include "worker/cl_selftest.h"
#include "worker/models.h"
#include "worker/regions.h"

#define SEND_NSEC (10 * NSEC_PER_SEC)

struct server {
	int fd;
	const struct serve_options *options;
	struct cl *cl;
	struct models models;
	bool tested;
	struct regions regions;
};

/* What comes from outside need not be terminated. */
static void put_text(char *to, size_t size, const char *text)
{
	(void) snprintf(to, size, "%.*s", (int) size - 1, text);
}

static int send_record(struct server *s, const void *record)
{
	const struct worker_header *h = record;

	return packet_send(s->fd, record, h->size, NULL, 0, SEND_NSEC);
}

static enum worker_kind kind_of(cl_device_type type)
{
	return type & CL_DEVICE_TYPE_GPU   ? WORKER_KIND_GPU
	       : type & CL_DEVICE_TYPE_CPU ? WORKER_KIND_CPU
					   : WORKER_KIND_ACCELERATOR;
}

static int send_welcome(struct server *s, int r, const struct error *why)
{
	struct worker_welcome m = {.header = worker_header(WORKER_WELCOME), .result = r};

	if (r < 0) {
		put_text(m.text, sizeof m.text, error_text(why, r));
		return send_record(s, &m);
	}
	m.kind = kind_of(s->cl->type);
	m.first_kind = kind_of(s->cl->first_type);
	m.units = s->cl->units;
	m.shares_memory = s->cl->sharing != CL_SHARING_NONE;
	m.n_devices = s->cl->n_devices;
	m.memory_bytes = s->cl->memory_bytes;
	put_text(m.platform, sizeof m.platform, s->cl->platform_name);
	put_text(m.device, sizeof m.device, s->cl->name);
	put_text(m.driver, sizeof m.driver, s->cl->driver);
	put_text(m.version, sizeof m.version, s->cl->version);
	return send_record(s, &m);
}

static int send_trying(struct server *s, uint32_t kernel, bool test)
{
	struct worker_trying m = {.header = worker_header(WORKER_TRYING), .test = test};

	put_text(m.kernel, sizeof m.kernel, kernel_cl_table[kernel].name);
	return send_record(s, &m);
}

static int send_tested(
	struct server *s, uint32_t kernel, int r, bool cached, const struct error *why)
{
	struct worker_tested m = {
		.header = worker_header(WORKER_TESTED), .result = r, .cached = cached};

	put_text(m.kernel, sizeof m.kernel, kernel_cl_table[kernel].name);
	if (r < 0)
		put_text(m.text, sizeof m.text, error_text(why, r));
	return send_record(s, &m);
}

static void ban(struct server *s, const struct worker_test *test)
{
	for (uint32_t i = 0; i < MIN_OF(test->n_banned, WORKER_KERNELS); i++) {
		char name[WORKER_NAME];
		uint32_t kernel;

		put_text(name, sizeof name, test->banned[i]);
		kernel = kernel_cl_find(name);
		if (kernel != KERNEL_CL_ANY)
			s->cl->banned[kernel] = true;
	}
}

/** struct trial - what became of each kernel while all are built and tested */
struct trial {
	bool cached[KERNEL_CL_MAX], said[KERNEL_CL_MAX];
	uint64_t build_nsec, test_nsec;
};

static int give_up(
	struct server *s, struct trial *t, uint32_t kernel, int r, const struct error *why)
{
	s->cl->banned[kernel] = true;
	t->said[kernel] = true;
	return send_tested(s, kernel, r, false, why);
}

static int build_all(struct server *s, struct trial *t)
{
	uint64_t begin = clock_now_nsec();
	int k = 0;

	for (uint32_t i = 0; k >= 0 && i < kernel_cl_count; i++) {
		struct error why = {};
		int r;

		if (s->cl->banned[i])
			continue;
		k = send_trying(s, i, false);
		if (k < 0)
			break;
		r = kernel_cl_build(s->cl, i, s->options->cache, &t->cached[i], &why);
		if (r < 0)
			k = give_up(s, t, i, r, &why);
	}
	t->build_nsec = clock_now_nsec() - begin;
	return k;
}

static int test_all(struct server *s, struct trial *t)
{
	uint64_t begin = clock_now_nsec();
	int k = 0;

	for (uint32_t i = 0; k >= 0 && i < kernel_cl_count; i++) {
		struct error why = {};
		int r;

		if (s->cl->banned[i])
			continue;
		k = send_trying(s, i, true);
		if (k < 0)
			break;
		r = cl_selftest(s->cl, i, &why);
		if (r < 0)
			k = give_up(s, t, i, r, &why);
		else
			k = send_tested(s, i, 0, t->cached[i], NULL);
	}
	t->test_nsec = clock_now_nsec() - begin;
	return k;
}

/* Late, so that what drivers compile at the first launch is in it too. */
static void save_all(struct server *s, const struct trial *t)
{
	for (uint32_t i = 0; s->options->cache && i < kernel_cl_count; i++)
		if (s->cl->programs[i] && !s->cl->banned[i] && !t->cached[i])
			kernel_cl_save(s->cl, i, s->options->cache);
}

static int send_ready(struct server *s, const struct trial *t)
{
	struct worker_ready m = {.header = worker_header(WORKER_READY),
		.build_nsec = t->build_nsec,
		.test_nsec = t->test_nsec};

	for (enum kernel_cl_op op = 0; op < _KERNEL_CL_OP_MAX; op++) {
		if (kernel_cl_pick(s->cl, op, UINT64_MAX) != KERNEL_CL_ANY)
			continue;
		m.result = -ENOTSUP;
		put_text(m.text, sizeof m.text, "an operation has no kernel that can be used");
	}
	return send_record(s, &m);
}

static int greet(struct server *s, const struct worker_hello *hello)
{
	char wanted[WORKER_TEXT];
	struct error why = {};
	int r;

	if (s->cl)
		return -EPROTO;
	put_text(wanted, sizeof wanted, hello->device);
	r = cl_open_nth(&s->cl, wanted[0] ? wanted : s->options->device, hello->index, &why);
	if (r >= 0)
		models_init(&s->models, s->cl, s->options->cache);
	return send_welcome(s, r, &why);
}

static int test(struct server *s, const struct worker_test *m)
{
	struct trial t = {};
	int k;

	if (!s->cl || s->tested)
		return -EPROTO;
	s->tested = true;
	ban(s, m);
	k = build_all(s, &t);
	if (k >= 0)
		k = test_all(s, &t);
	if (k < 0)
		return k;
	save_all(s, &t);
	return send_ready(s, &t);
}

static int take_region(struct server *s, const struct worker_region *m, const int *fds, uint32_t n)
{
	return n == 1 ? regions_take(&s->regions, m, fds[0]) : -EPROTO;
}

static int forget(struct server *s, const struct worker_forget *m)
{
	regions_forget(&s->regions, m->region);
	return 0;
}

static int load(struct server *s, const struct worker_load *m, const int *fds, uint32_t n)
{
	struct worker_loaded reply = {.header = worker_header(WORKER_LOADED), .plan = m->plan};
	struct error why = {};

	if (!s->cl)
		return -EPROTO;
	reply.result = models_load(&s->models, m, fds, n, &reply.run_nsec, &reply.batch_nsec, &why);
	reply.bytes = s->cl->bytes;
	if (reply.result < 0)
		put_text(reply.text, sizeof reply.text, error_text(&why, reply.result));
	return send_record(s, &reply);
}

static int unload(struct server *s, const struct worker_unload *m)
{
	struct worker_unloaded reply = {.header = worker_header(WORKER_UNLOADED), .plan = m->plan};

	if (!s->cl)
		return -EPROTO;
	models_unload(&s->models, m->plan);
	reply.bytes = s->cl->bytes;
	return send_record(s, &reply);
}

static int find_items(const struct server *s, const struct worker_run *m, const struct plan *plan,
	struct cl_item *ret, struct error *reterr)
{
	size_t bytes = m->input_type == INPUT_PIXELS ? plan->input_pixels_bytes
						     : plan->input_floats_bytes;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct worker_item *item = &m->items[i];

		ret[i].input = regions_at(&s->regions, item->region, item->input_at, bytes);
		ret[i].output = (float *) (void *) regions_at(&s->regions, WORKER_OWN_REGION,
			item->output_at, plan->output_bytes);
		if (!ret[i].input || !ret[i].output)
			return error_set(reterr, -EINVAL, "the tensors lie outside of the region");
	}
	return 0;
}

static int run_checked(struct server *s, const struct worker_run *m, struct error *reterr)
{
	struct cl_plan *p = models_find(&s->models, m->plan);
	struct cl_item items[WORKER_BATCH];
	int r;

	if (!p)
		return error_set(reterr, -ENOENT, "this plan is not loaded");
	if (m->input_type != INPUT_PIXELS && m->input_type != INPUT_FLOATS)
		return error_set(reterr, -EINVAL, "there is no such type of input");
	if (m->n == 0 || m->n > WORKER_BATCH)
		return error_set(reterr, -EINVAL, "%u inferences cannot run together", m->n);
	r = find_items(s, m, cl_plan_engine(p), items, reterr);
	return r < 0 ? r : cl_plan_run_all(p, (enum input_type) m->input_type, items, m->n, reterr);
}

static int run(struct server *s, const struct worker_run *m)
{
	struct worker_done reply = {.header = worker_header(WORKER_DONE), .cookie = m->cookie};
	uint64_t begin = clock_now_nsec();
	struct error why = {};

	if (!s->cl)
		return -EPROTO;
	reply.result = run_checked(s, m, &why);
	reply.run_nsec = clock_now_nsec() - begin;
	if (reply.result < 0)
		put_text(reply.text, sizeof reply.text, error_text(&why, reply.result));
	return send_record(s, &reply);
}

static int answer(struct server *s, const union worker_record *m, const int *fds, uint32_t n)
{
	switch ((enum worker_type) m->header.type) {
	case WORKER_HELLO:
		return greet(s, &m->hello);
	case WORKER_TEST:
		return test(s, &m->test);
	case WORKER_REGION:
		return take_region(s, &m->region, fds, n);
	case WORKER_FORGET:
		return forget(s, &m->forget);
	case WORKER_LOAD:
		return load(s, &m->load, fds, n);
	case WORKER_UNLOAD:
		return unload(s, &m->unload);
	case WORKER_RUN:
		return run(s, &m->run);
	case WORKER_WELCOME:
	case WORKER_TRYING:
	case WORKER_TESTED:
	case WORKER_READY:
	case WORKER_LOADED:
	case WORKER_UNLOADED:
	case WORKER_DONE:
	case _WORKER_TYPE_MAX:
		break;
	}
	return -EPROTO;
}

static void server_done(struct server *s)
{
	if (s->cl) {
		models_done(&s->models);
		s->cl = cl_close(s->cl);
	}
	regions_done(&s->regions);
}

int serve(int fd, const struct serve_options *options)
{
	_cleanup_(server_done) struct server s = {.fd = fd, .options = options};

	for (;;) {
		union worker_record m;
		int fds[PACKET_FDS_MAX];
		uint32_t n = 0;
		int r = packet_receive(fd, &m, sizeof m, fds, &n, UINT64_MAX);

		if (r < 0)
			return r == -ECONNRESET ? 0 : r;
		r = worker_check(&m, (uint64_t) r) ? answer(&s, &m, fds, n) : -EPROTO;
		for (uint32_t i = 0; i < n; i++)
			(void) close(fds[i]);
		if (r < 0)
			return r;
	}
}
