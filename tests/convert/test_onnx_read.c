/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The importer against the cases of the ONNX specification, and against files that it must refuse.
 *
 * A case is one operator with its inputs and outputs. It is run twice where that makes sense: with its
 * first input as the net's input and the others as constants ("value"), and with all inputs as constants
 * and the result added to an input of zeros ("constant").
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "convert/onnx_import.h"
#include "net_file.h"
#include "support/data.h"

#define INPUTS_MAX 8

struct example {
	Onnx__ModelProto *model;
	Onnx__TensorProto *inputs[INPUTS_MAX];
	uint32_t n_inputs;
	struct constant *output;
};

enum outcome {
	REFUSED,
	RIGHT,
	WRONG,
};

static void *read_message(const ProtobufCMessageDescriptor *type, const char *path)
{
	struct file_map map;
	void *message;

	if (file_map(&map, path, NULL) < 0)
		return NULL;
	message = protobuf_c_message_unpack(type, NULL, map.size, map.data);
	file_unmap(&map);
	return message;
}

static struct constant *to_constant(const Onnx__TensorProto *t)
{
	struct import im = {0};
	struct constant *c = NULL;

	return t && constant_from_tensor(&im, t, &c) >= 0 ? c : NULL;
}

static Onnx__TensorProto *read_tensor(const char *folder, const char *what, unsigned i)
{
	char path[600];

	(void) snprintf(path, sizeof path, "%s/test_data_set_0/%s_%u.pb", folder, what, i);
	return read_message(&onnx__tensor_proto__descriptor, path);
}

/* Cases of operators that never changed carry the version of their beginning. */
static void lift_opset(Onnx__ModelProto *model)
{
	for (size_t i = 0; i < model->n_opset_import; i++)
		if (model->opset_import[i]->version < ONNX_OPSET_MIN)
			model->opset_import[i]->version = ONNX_OPSET_MIN;
}

/* Some files hold their numbers as another type than the model says. */
static bool is_declared(const Onnx__ValueInfoProto *info, const Onnx__TensorProto *t)
{
	return t && info->type && info->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
		info->type->tensor_type->elem_type == t->data_type;
}

static bool example_read(struct example *x, const char *folder)
{
	Onnx__TensorProto *output;
	char path[600];

	*x = (struct example){0};
	(void) snprintf(path, sizeof path, "%s/model.onnx", folder);
	x->model = read_message(&onnx__model_proto__descriptor, path);
	if (!x->model || x->model->graph->n_input > INPUTS_MAX)
		return false;
	for (; x->n_inputs < x->model->graph->n_input; x->n_inputs++) {
		x->inputs[x->n_inputs] = read_tensor(folder, "input", x->n_inputs);
		if (!is_declared(x->model->graph->input[x->n_inputs], x->inputs[x->n_inputs]))
			return false;
	}
	output = read_tensor(folder, "output", 0);
	x->output = to_constant(output);
	if (output)
		onnx__tensor_proto__free_unpacked(output, NULL);
	lift_opset(x->model);
	return x->output && x->output->elements;
}

static void example_done(struct example *x)
{
	if (x->model)
		onnx__model_proto__free_unpacked(x->model, NULL);
	for (uint32_t i = 0; i < INPUTS_MAX; i++)
		if (x->inputs[i])
			onnx__tensor_proto__free_unpacked(x->inputs[i], NULL);
	constant_free(x->output);
}

/* Inputs from @first on become constants of the file. */
static void inputs_to_constants(struct example *x, uint32_t first)
{
	Onnx__GraphProto *g = x->model->graph;

	g->initializer = reallocarray(g->initializer, g->n_initializer + INPUTS_MAX,
		sizeof(Onnx__TensorProto *));
	for (uint32_t i = first; i < x->n_inputs; i++) {
		free(x->inputs[i]->name);
		x->inputs[i]->name = strdup(g->input[i]->name);
		g->initializer[g->n_initializer++] = x->inputs[i];
		x->inputs[i] = NULL;
		onnx__value_info_proto__free_unpacked(g->input[i], NULL);
	}
	g->n_input = first;
}

static void only_first_output(Onnx__GraphProto *g)
{
	while (g->n_output > 1)
		onnx__value_info_proto__free_unpacked(g->output[--g->n_output], NULL);
}

static int import(const Onnx__ModelProto *model, struct net **ret, struct error *e)
{
	size_t size = onnx__model_proto__get_packed_size(model);
	uint8_t *data = malloc(size);
	int r;

	(void) onnx__model_proto__pack(model, data);
	r = onnx_read(ret, data, size, NULL, e);
	free(data);
	return r;
}

static bool close_to(float a, float b)
{
	return a == b || (isnan(a) && isnan(b)) || fabsf(a - b) <= 1e-4f * (1 + fabsf(b));
}

static bool same_output(const float *a, const struct constant *want, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		float b = want->is_float ? want->f[first + i] : (float) want->i[first + i];

		if (!close_to(a[i], b)) {
			printf(" [%zu] is %g, not %g\n", first + i, (double) a[i], (double) b);
			return false;
		}
	}
	return true;
}

/* A batch of @batch in the case: as many runs of a net for one. */
static enum outcome run_net(const struct net *net, const struct constant *in, const struct constant *want,
	size_t batch)
{
	_cleanup_(reference_freep) struct reference *r = NULL;
	size_t n_in = net_elements(&net->values[net->input].shape);
	size_t n_out = net_elements(&net->values[net->output].shape);
	enum outcome outcome = RIGHT;

	if (n_in * batch != in->elements || n_out * batch != want->elements ||
		reference_new(&r, net) < 0)
		return WRONG;
	for (size_t i = 0; i < batch; i++) {
		reference_run(r, in->f + i * n_in);
		if (!same_output(reference_value(r, net->output), want, i * n_out, n_out))
			outcome = WRONG;
	}
	return outcome;
}

static enum outcome run_value(struct example *x)
{
	struct constant *in = x->n_inputs ? to_constant(x->inputs[0]) : NULL;
	_cleanup_(net_freep) struct net *net = NULL;
	Onnx__TensorShapeProto *shape;
	enum outcome outcome = REFUSED;
	size_t batch = 1;
	int r;

	if (!in || !in->is_float) {
		constant_free(in);
		return REFUSED;
	}
	inputs_to_constants(x, 1);
	only_first_output(x->model->graph);
	r = import(x->model, &net, NULL);
	shape = x->model->graph->input[0]->type->tensor_type->shape;
	if (r < 0 && shape->n_dim && in->shape.dims[0] > 1) {
		batch = in->shape.dims[0];
		shape->dim[0]->dim_value = 1;
		r = import(x->model, &net, NULL);
	}
	if (r >= 0)
		outcome = run_net(net, in, x->output, batch);
	constant_free(in);
	return outcome;
}

static Onnx__NodeProto *append_node(Onnx__GraphProto *g, const char *op, const char *a, const char *b,
	const char *output)
{
	Onnx__NodeProto *n = malloc(sizeof *n);

	onnx__node_proto__init(n);
	n->op_type = strdup(op);
	n->n_input = b ? 2 : 1;
	n->input = calloc(2, sizeof *n->input);
	n->input[0] = strdup(a);
	if (b)
		n->input[1] = strdup(b);
	n->n_output = 1;
	n->output = calloc(1, sizeof *n->output);
	n->output[0] = strdup(output);
	g->node = reallocarray(g->node, g->n_node + 1, sizeof *g->node);
	g->node[g->n_node++] = n;
	return n;
}

static void set_int_attribute(Onnx__NodeProto *n, const char *name, int64_t value)
{
	Onnx__AttributeProto *a = malloc(sizeof *a);

	onnx__attribute_proto__init(a);
	a->name = strdup(name);
	a->has_i = true;
	a->i = value;
	n->attribute = calloc(1, sizeof *n->attribute);
	n->attribute[n->n_attribute++] = a;
}

static Onnx__ValueInfoProto *zeros_info(const struct constant *like)
{
	Onnx__ValueInfoProto *info = malloc(sizeof *info);
	Onnx__TensorShapeProto *shape = malloc(sizeof *shape);

	onnx__value_info_proto__init(info);
	info->name = strdup("zeros");
	info->type = malloc(sizeof *info->type);
	onnx__type_proto__init(info->type);
	info->type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	info->type->tensor_type = malloc(sizeof *info->type->tensor_type);
	onnx__type_proto__tensor__init(info->type->tensor_type);
	info->type->tensor_type->has_elem_type = true;
	info->type->tensor_type->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
	info->type->tensor_type->shape = shape;
	onnx__tensor_shape_proto__init(shape);
	shape->dim = calloc(like->shape.n + 1, sizeof *shape->dim);
	for (; shape->n_dim < like->shape.n; shape->n_dim++) {
		Onnx__TensorShapeProto__Dimension *d = malloc(sizeof *d);

		onnx__tensor_shape_proto__dimension__init(d);
		d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
		d->dim_value = (int64_t) like->shape.dims[shape->n_dim];
		shape->dim[shape->n_dim] = d;
	}
	return info;
}

/* sum = zeros + float(result) */
static void add_zeros(struct example *x)
{
	Onnx__GraphProto *g = x->model->graph;
	Onnx__NodeProto *cast;

	cast = append_node(g, "Cast", g->output[0]->name, NULL, "as float");
	set_int_attribute(cast, "to", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
	(void) append_node(g, "Add", "zeros", "as float", "sum");
	free(g->output[0]->name);
	g->output[0]->name = strdup("sum");
	g->input = reallocarray(g->input, 1, sizeof *g->input);
	g->input[0] = zeros_info(x->output);
	g->n_input = 1;
}

static enum outcome run_constant(struct example *x)
{
	_cleanup_(net_freep) struct net *net = NULL;
	enum outcome outcome = REFUSED;
	struct constant *zeros = NULL;
	struct import im = {0};

	inputs_to_constants(x, 0);
	only_first_output(x->model->graph);
	add_zeros(x);
	if (import(x->model, &net, NULL) >= 0 &&
		constant_new(&im, &x->output->shape, true, &zeros) >= 0)
		outcome = run_net(net, zeros, x->output, 1);
	constant_free(zeros);
	return outcome;
}

/* Return: whether the case ran; a wrong result is a failure of the test */
static bool run_case(const char *folder, const char *name, enum outcome (*run)(struct example *))
{
	enum outcome outcome = REFUSED;
	struct example x;
	char path[512];

	(void) snprintf(path, sizeof path, "%s/%s", folder, name);
	if (example_read(&x, path))
		outcome = run(&x);
	example_done(&x);
	if (outcome == WRONG)
		printf("WRONG: %s\n", name);
	CU_ASSERT_NOT_EQUAL(outcome, WRONG);
	return outcome == RIGHT;
}

static uint32_t run_cases(const char *part, const char *what, enum outcome (*run)(struct example *))
{
	struct dirent *d;
	char folder[256];
	uint32_t ran = 0;
	DIR *dir;

	(void) snprintf(folder, sizeof folder, "%s/conformance/%s", test_data(), part);
	dir = opendir(folder);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	printf("\n%s, as %s:", part, what);
	while ((d = readdir(dir)))
		if (strncmp(d->d_name, "test_", 5) == 0 && run_case(folder, d->d_name, run)) {
			printf(" %s", d->d_name + 5);
			ran++;
		}
	(void) closedir(dir);
	printf("\n%u cases ran\n", ran);
	return ran;
}

static void test_specification_cases_as_values(void)
{
	CU_ASSERT_TRUE(run_cases("node", "values", run_value) >= 100);
}

static void test_specification_cases_as_constants(void)
{
	CU_ASSERT_TRUE(run_cases("node", "constants", run_constant) >= 50);
}

TEST_MAIN("onnx_read", TEST(specification_cases_as_values), TEST(specification_cases_as_constants))
