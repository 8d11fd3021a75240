/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/teachers.h"

#include <errno.h>
#include <string.h>

static size_t elements(const struct net *n, uint32_t value)
{
	return net_elements(&n->values[value].shape);
}

int teachers_init(struct teachers *t, const struct net *like, uint32_t batch)
{
	t->inputs = elements(like, like->input);
	t->classes = elements(like, like->output);
	t->answers = dnn_floats(batch * t->classes);
	return t->answers ? 0 : -ENOMEM;
}

void teachers_done(struct teachers *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		train_graph_free(t->graphs[i]);
	free(t->answers);
}

int teachers_add(struct teachers *t, const struct net *net, uint32_t batch, struct error *reterr)
{
	int r;

	if (elements(net, net->input) != t->inputs || elements(net, net->output) != t->classes)
		return error_set(reterr, -EINVAL, "a teacher of %zu inputs and %zu outputs, not of %zu and %zu",
			elements(net, net->input), elements(net, net->output), t->inputs, t->classes);
	r = train_graph_new(&t->graphs[t->n], net, batch, 1, NULL, false, reterr);
	if (r >= 0)
		t->n++;
	return r;
}

int teachers_ask(struct teachers *t, const float *input, struct error *reterr)
{
	size_t batch = t->n ? t->graphs[0]->batch : 0, n = batch * t->classes;
	int r = 0;

	memset(t->answers, 0, n * sizeof *t->answers);
	for (uint32_t k = 0; r >= 0 && k < t->n; k++) {
		struct train_graph *g = t->graphs[k];

		memcpy(train_graph_input(g), input, batch * t->inputs * sizeof *input);
		r = train_graph_forward(g, reterr);
		for (size_t i = 0; r >= 0 && i < n; i++)
			t->answers[i] += train_graph_output(g)->data[i] / (float) t->n;
	}
	return r;
}
