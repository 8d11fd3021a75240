/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/preprocess_options.h"

#include <string.h>

#include "tools/tool.h"

/* One value serves all channels. */
static bool parse_channels(const char *text, float ret[4])
{
	uint32_t n = tool_floats(text, ret, 4);

	for (uint32_t i = n; n == 1 && i < 4; i++)
		ret[i] = ret[0];
	return n > 0;
}

bool preprocess_option(struct preprocess *p, const char *name, const char *text)
{
	if (strcmp(name, "scale") == 0)
		return tool_floats(text, &p->scale, 1) == 1 && p->scale != 0;
	if (strcmp(name, "mean") == 0)
		return parse_channels(text, p->mean);
	if (strcmp(name, "std") == 0)
		return parse_channels(text, p->std) && p->std[0] != 0 && p->std[1] != 0 && p->std[2] != 0;
	p->bgr = strcmp(text, "bgr") == 0;
	return p->bgr || strcmp(text, "rgb") == 0;
}

static void swap_red_and_blue(float v[4])
{
	float red = v[2];

	v[2] = v[0];
	v[0] = red;
}

void preprocess_options_done(struct preprocess *p)
{
	if (!p->bgr)
		return;
	swap_red_and_blue(p->mean);
	swap_red_and_blue(p->std);
}
