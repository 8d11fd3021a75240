/* SPDX-License-Identifier: Apache-2.0 */
/* A decision in words: why it is so, what would end it, what waits, what else could come. Pure. */
#pragma once

#include "service/policy.h"

#define EXPLAIN_LINES_MAX 24

/** struct explanation - sentences for a person, without a full stop */
struct explanation {
	char lines[EXPLAIN_LINES_MAX][240];
	uint32_t n;
};

/** policy_explain() - of what policy_resolve() left in @state for the same model. Any thread. */
void policy_explain(struct explanation *ret, const struct rules *rules,
	const struct policy_inputs *inputs, const struct policy_model *model,
	const struct policy_state *state);
