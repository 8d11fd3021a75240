/* SPDX-License-Identifier: Apache-2.0 */
#include "convert/train/method.h"

#include <string.h>

const struct train_method *const train_methods[] = {
#define TRAIN_METHOD(id) &train_##id,
#include "convert/train/methods.inc"
#undef TRAIN_METHOD
};

const uint32_t n_train_methods = ARRAY_SIZE(train_methods);

const struct train_method *train_method_find(const char *name)
{
	for (uint32_t i = 0; i < n_train_methods; i++)
		if (strcmp(train_methods[i]->name, name) == 0)
			return train_methods[i];
	return NULL;
}

void method_straight(struct train_layer *l, const float *grad)
{
	for (size_t i = 0; i < (size_t) l->rows * l->columns; i++)
		l->weight_grad[i] += grad[i];
}
