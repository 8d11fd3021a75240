/* SPDX-License-Identifier: Apache-2.0 */
/* bitshed-model inspect --plan: which kernel each layer runs with on this processor, and why. */
#include "tools/inspect_plan.h"

#include <stdio.h>

#include "engine/kernels/cpu.h"
#include "engine/lower.h"
#include "engine/plan.h"
#include "engine/tune.h"
#include "tools/tool.h"

static uint32_t columns_of(const struct plan *p, const struct step *s)
{
	const struct shape *out = &p->model->network->values[s->op->output].shape;

	return out->height * out->width;
}

static struct tune_shape shape_of(const struct plan *p, const struct step *s)
{
	return tune_shape(&s->matrix, columns_of(p, s), s->op->activation_bits, s->op->groups);
}

static bool could(const struct plan *p, const struct step *s, const struct kernel *k)
{
	return !(k->needs & ~cpu_flags()) &&
	       kernel_multiplies(k, &s->matrix, columns_of(p, s), s->op->activation_bits);
}

static const struct tune_row *time_of(
	const struct plan *p, const struct step *s, const struct kernel *k)
{
	struct tune_shape shape = shape_of(p, s);

	return tune_find(tune_used(), &shape, k);
}

/* What else could run the product, by time where that was measured, else by cost; only rows of this processor. */
static void print_reason(const struct plan *p, const struct step *s)
{
	bool measured = time_of(p, s, s->kernel);
	const char *before = "";

	for (uint32_t i = 0; i < kernel_count; i++) {
		const struct kernel *k = &kernel_table[i];
		const struct tune_row *row = time_of(p, s, k);

		if (!could(p, s, k) || (measured && !row))
			continue;
		if (measured)
			printf("%s%s %.1f us", before, k->name, (double) row->nsec * 1e-3);
		else
			printf("%s%s %u", before, k->name,
				kernel_cost(k, &s->matrix, s->op->activation_bits));
		before = ", ";
	}
	printf("\n");
}

static void print_step(const struct plan *p, const struct step *s)
{
	printf("%5u  %-11s  %4ux%-6u  %u  %u  %8u  %-17s ", s->op->matrix, op_kind_name(s->op->kind),
		s->matrix.rows, p->model->network->matrices[s->op->matrix].columns, s->matrix.planes,
		s->op->activation_bits, columns_of(p, s), s->kernel->name);
	if (s->op->kind == OP_DEPTHWISE)
		printf("first of the list\n");
	else
		print_reason(p, s);
}

static void print_text(const struct plan *p, double bits)
{
	uint32_t cpu = cpu_flags();
	char flags[128];

	printf("%g bits on: %s\narena %zu bytes, scratch %zu bytes a thread\n\n", bits,
		cpu ? cpu_flags_text(cpu, flags, sizeof flags) : "no vectors", p->arena_bytes, p->scratch_bytes);
	printf("layer  operation      rows x columns W  A   outputs  kernel            least time or cost of\n");
	for (uint32_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].kernel)
			print_step(p, &p->steps[i]);
}

static void json_candidates(const struct plan *p, const struct step *s)
{
	const char *before = "";

	for (uint32_t i = 0; i < kernel_count && s->op->kind == OP_CONVOLUTION; i++) {
		const struct kernel *k = &kernel_table[i];
		const struct tune_row *row = time_of(p, s, k);

		if (!could(p, s, k))
			continue;
		printf("%s{\"kernel\":\"%s\",\"cost\":%u", before, k->name,
			kernel_cost(k, &s->matrix, s->op->activation_bits));
		if (row)
			printf(",\"measured_us\":%.2f", (double) row->nsec * 1e-3);
		printf("}");
		before = ",";
	}
}

static void json_step(const struct plan *p, const struct step *s)
{
	const char *why = s->op->kind == OP_DEPTHWISE ? "first of the list"
			  : time_of(p, s, s->kernel)  ? "measured"
						      : "cost";

	printf("{\"layer\":%u,\"operation\":\"%s\",\"rows\":%u,\"columns\":%u,\"planes\":%u,"
	       "\"activation_bits\":%u,\"outputs\":%u,\"kernel\":\"%s\",\"chosen_by\":\"%s\",\"candidates\":[",
		s->op->matrix, op_kind_name(s->op->kind), s->matrix.rows,
		p->model->network->matrices[s->op->matrix].columns, s->matrix.planes, s->op->activation_bits,
		columns_of(p, s), s->kernel->name, why);
	json_candidates(p, s);
	printf("]}");
}

static void print_json(const struct plan *p, double bits)
{
	const char *before = "";
	char flags[128];

	printf("{\"network\":");
	json_string(p->model->network->name);
	printf(",\"bits\":%g,\"processor\":\"%s\",\"arena_bytes\":%zu,\"scratch_bytes\":%zu,\"layers\":[", bits,
		cpu_flags_text(cpu_flags(), flags, sizeof flags), p->arena_bytes, p->scratch_bytes);
	for (uint32_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].kernel) {
			printf("%s", before);
			json_step(p, &p->steps[i]);
			before = ",";
		}
	printf("]}\n");
}

int inspect_plan(struct network *n, double bits, bool json, struct error *reterr)
{
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(plan_unrefp) struct plan *p = NULL;
	int r = model_build(&m, n, bits, reterr);

	if (r >= 0)
		r = plan_new(&p, m, cpu_flags(), reterr);
	if (r < 0)
		return r;
	if (json)
		print_json(p, bits);
	else
		print_text(p, bits);
	return 0;
}
