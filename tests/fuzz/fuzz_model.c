/* SPDX-License-Identifier: Apache-2.0 */
/* A model file of anybody: a clear error, or a network that lowers at every width and runs. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "engine/exec.h"
#include "engine/kernels/cpu.h"
#include "engine/lower.h"

/* Larger graphs are correct but slow: here time is for more files. */
#define BYTES_MAX (UINT64_C(1) << 20)
#define WORK_MAX (UINT64_C(1) << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t work_of(const struct network *n)
{
	uint64_t work = 0;

	for (uint32_t i = 0; i < n->n_ops; i++) {
		uint64_t elements = shape_elements(n->values[n->ops[i].output].shape);
		uint64_t window = (uint64_t) n->ops[i].kernel_h * n->ops[i].kernel_w;

		if (elements > BYTES_MAX || window > BYTES_MAX)
			return UINT64_MAX;
		if (n->ops[i].kind == OP_CONVOLUTION)
			window = n->matrices[n->ops[i].matrix].columns;
		work += elements * window;
	}
	return work;
}

static void run(struct model *m)
{
	_cleanup_(plan_unrefp) struct plan *p = NULL;
	struct workspace w = {0};
	uint8_t *in;
	float *out;

	if (work_of(m->network) > WORK_MAX || plan_new(&p, m, cpu_flags(), NULL) < 0)
		return;
	in = calloc(1, p->input_floats_bytes);
	out = malloc(p->output_bytes);
	if (in && out && workspace_reserve(&w, p, 1) >= 0)
		(void) exec_run(p, &w, NULL, INPUT_FLOATS, in, out);
	workspace_done(&w);
	free(in);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC);
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct error e = {0};

	if (fd < 0 || fd_write_all(fd, data, size) < 0)
		abort();
	if (network_open(&n, fd, &e) < 0) {
		/* An error without words does not help anybody. */
		if (!e.text[0])
			abort();
		return 0;
	}
	for (double bits = 1; bits <= n->planes_max; bits += 0.5) {
		_cleanup_(model_unrefp) struct model *m = NULL;

		if (model_build(&m, n, bits, &e) >= 0)
			run(m);
	}
	return 0;
}
