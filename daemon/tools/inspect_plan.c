/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model inspect --plan: which kernel each layer runs with on this processor, and why. */
#include "tools/inspect_plan.h"

#include <stdio.h>

#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "engine/plan.h"

static const struct shape *output_of(const struct plan *p, const struct step *s)
{
	return &p->model->network->values[s->op->output].shape;
}

/* What else could run the product, and at what cost; only rows of this processor. */
static void print_reason(const struct plan *p, const struct step *s, uint32_t cpu)
{
	const struct shape *out = output_of(p, s);
	uint32_t columns = out->height * out->width;
	const char *before = "";

	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];

		if ((k->needs & ~cpu) || !kernel_multiplies(k, &s->matrix, columns, s->op->activation_bits))
			continue;
		printf("%s%s %u", before, k->name, kernel_cost(k, &s->matrix, s->op->activation_bits));
		before = ", ";
	}
	printf("\n");
}

static void print_step(const struct plan *p, const struct step *s, uint32_t cpu)
{
	const struct shape *out = output_of(p, s);

	printf("%5u  %-11s  %4ux%-6u  %u  %u  %8u  %-17s ", s->op->matrix, op_kind_name(s->op->kind),
		s->matrix.rows, p->model->network->matrices[s->op->matrix].columns, s->matrix.planes,
		s->op->activation_bits, out->height * out->width, s->kernel->name);
	if (s->op->kind == OP_DEPTHWISE)
		printf("first of the list\n");
	else
		print_reason(p, s, cpu);
}

int inspect_plan(struct network *n, double bits, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(plan_unrefp) struct plan *p = NULL;
	uint32_t cpu = cpu_flags();
	char flags[128];
	int r;

	r = model_build(&m, n, bits, reterr);
	if (r >= 0)
		r = plan_new(&p, m, cpu, reterr);
	if (r < 0)
		return r;
	printf("%g bits on: %s\narena %zu bytes, scratch %zu bytes a thread\n\n", bits,
		cpu ? cpu_flags_text(cpu, flags, sizeof flags) : "no vectors", p->arena_bytes, p->scratch_bytes);
	printf("layer  operation      rows x columns W  A   outputs  kernel            least cost of\n");
	for (uint32_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].kernel)
			print_step(p, &p->steps[i], cpu);
	return 0;
}
