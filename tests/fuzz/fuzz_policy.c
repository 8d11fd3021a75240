/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of rules: rules that a decision can be made by, or words for the operator. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/config_read.h"
#include "service/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decide(const struct rules *rules)
{
	struct policy_model m = {.name = "camera", .bits_max = 4};
	struct policy_inputs in = {.now_nsec = 1};
	struct policy_state s = {};

	for (int i = 0; i < 4; i++) {
		in.now_nsec += UINT64_C(1) << 40;
		for (int j = 0; j < _SENSE_PLAIN_MAX; j++)
			in.plain[j] = (struct reading){i * 30 - 20, i != 3};
		policy_resolve(rules, &in, &m, &s, &s);
		if (!(s.budget.bits >= 1 && s.budget.bits <= 4) || !s.budget.text[0])
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(rules_freep) struct rules *rules = NULL;
	struct error e = {};
	int r;

	if (size > CONFIG_FILE_BYTES_MAX || rules_new(&rules) < 0)
		return 0;
	r = rules_read_text(rules, "fuzz.yaml", (const char *) data, size, &e);
	if (r < 0 && strncmp(e.text, "fuzz.yaml:", 10) != 0)
		abort();
	if (r == 0 && rules_check(rules, &e) < 0 && !e.text[0])
		abort();
	if (r == 0 && rules_take_numbers(rules, NULL) == 0)
		decide(rules);
	return 0;
}
