/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void train_store_done(struct train_store *s)
{
	for (uint32_t i = 0; i < s->n_params; i++)
		free(s->params[i].first);
	free(s->params);
	free(s->blocks);
	*s = (struct train_store){};
}

int train_store_block(struct train_store *s, void *data, size_t bytes)
{
	struct train_block *grown = reallocarray(s->blocks, s->n_blocks + 1, sizeof *grown);

	if (!grown)
		return -ENOMEM;
	s->blocks = grown;
	grown[s->n_blocks++] = (struct train_block){data, bytes};
	return 0;
}

int train_store_param(struct train_store *s, float *value, float *grad, size_t n, bool decay, float rate)
{
	struct train_param *grown = reallocarray(s->params, s->n_params + 1, sizeof *grown), *p;
	int r;

	if (!grown)
		return -ENOMEM;
	s->params = grown;
	p = &grown[s->n_params];
	*p = (struct train_param){.value = value, .grad = grad, .n = n, .decay = decay, .rate = rate};
	p->first = calloc(3 * n, sizeof *p->first);
	if (!p->first)
		return -ENOMEM;
	p->second = p->first + n;
	p->largest = p->second + n;
	s->n_params++;
	r = train_store_block(s, value, n * sizeof *value);
	if (r >= 0)
		r = train_store_block(s, p->first, 3 * n * sizeof *p->first);
	return r < 0 ? r : (int) s->n_params - 1;
}

void train_store_clear(struct train_store *s)
{
	for (uint32_t i = 0; i < s->n_params; i++)
		memset(s->params[i].grad, 0, s->params[i].n * sizeof(float));
}
