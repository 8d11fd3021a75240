/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a method takes on the shape of ResNet-18 at 224x224, and how much memory: 11 million random weights,
 * random pictures. Ranges, inputs, weights and corrections, as import does them.
 *
 *	bench_quantize [METHOD [PLANES [SAMPLES]]]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "convert/correct.h"

#define SIDE 224
#define CLASSES 1000

static uint64_t state = 1;

static float drawn(void)
{
	double sum = 0;

	for (int i = 0; i < 4; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		sum += (double) (state >> 40) / (1 << 24) - 0.5;
	}
	return (float) (sum * sqrt(3));
}

static struct net_node *add(struct net *n, enum net_kind kind, uint32_t input, struct net_shape output)
{
	int at = net_add_node(n, kind, net_kind_name(kind));
	struct net_node *node = &n->nodes[at];

	n->output = (uint32_t) net_add_value(n, net_kind_name(kind), &output);
	node->inputs[0] = input;
	node->n_inputs = 1;
	node->output = n->output;
	return node;
}

static void draw_weights(struct net_node *node, uint32_t rows, size_t columns)
{
	float deviation = sqrtf(2 / (float) columns);

	node->outputs = rows;
	node->weight = malloc(rows * columns * sizeof(float));
	node->bias = calloc(rows, sizeof(float));
	for (size_t i = 0; i < rows * columns; i++)
		node->weight[i] = drawn() * deviation;
}

static struct net_shape image(uint32_t channels, uint32_t side)
{
	return (struct net_shape){.n = 3, .dims = {channels, side, side}};
}

static uint32_t convolution(struct net *n, uint32_t in, uint32_t channels, uint32_t kernel, uint32_t stride)
{
	const struct net_shape s = n->values[in].shape;
	struct net_node *c = add(n, NET_CONVOLUTION, in, image(channels, s.dims[1] / stride));

	c->kernel[0] = c->kernel[1] = kernel;
	c->stride[0] = c->stride[1] = stride;
	for (int i = 0; i < 4; i++)
		c->pads[i] = kernel / 2;
	c->pads[2] -= stride > 1; /* of an even side the last window ends inside */
	c->pads[3] -= stride > 1 && kernel > 1;
	if (kernel == 1)
		memset(c->pads, 0, sizeof c->pads);
	draw_weights(c, channels, (size_t) s.dims[0] * kernel * kernel);
	return n->output;
}

static uint32_t relu(struct net *n, uint32_t in)
{
	struct net_node *c = add(n, NET_CLIP, in, n->values[in].shape);

	c->low = 0;
	c->high = INFINITY;
	return n->output;
}

static uint32_t block(struct net *n, uint32_t in, uint32_t channels, uint32_t stride)
{
	uint32_t shortcut = in, out = relu(n, convolution(n, in, channels, 3, stride));
	struct net_node *sum;

	out = convolution(n, out, channels, 3, 1);
	if (stride > 1)
		shortcut = convolution(n, in, channels, 1, stride);
	sum = add(n, NET_ADD, out, n->values[out].shape);
	sum->inputs[1] = shortcut;
	sum->n_inputs = 2;
	return relu(n, n->output);
}

static uint32_t pool(struct net *n, enum net_kind kind, uint32_t in, uint32_t kernel, uint32_t stride)
{
	const struct net_shape s = n->values[in].shape;
	struct net_node *p = add(n, kind, in, image(s.dims[0], s.dims[1] / stride));

	p->kernel[0] = p->kernel[1] = kernel;
	p->stride[0] = p->stride[1] = stride;
	return n->output;
}

static struct net *resnet18(void)
{
	struct net *n = net_new("resnet18");
	struct net_shape input = image(3, SIDE), flat = {.n = 1, .dims = {512}}, out = {.n = 1, .dims = {CLASSES}};
	uint32_t at;

	n->input = (uint32_t) net_add_value(n, "input", &input);
	at = pool(n, NET_MAX_POOL, relu(n, convolution(n, n->input, 64, 7, 2)), 2, 2);
	for (uint32_t stage = 0; stage < 4; stage++)
		for (uint32_t i = 0; i < 2; i++)
			at = block(n, at, 64u << stage, stage > 0 && i == 0 ? 2 : 1);
	at = pool(n, NET_AVERAGE_POOL, at, 7, 7);
	(void) add(n, NET_RESHAPE, at, flat);
	draw_weights(add(n, NET_LINEAR, n->output, out), CLASSES, 512);
	return n;
}

/* Random pictures as an .npy file. */
static int write_pictures(const char *path, uint32_t n)
{
	char head[128];
	FILE *f = fopen(path, "we");
	int length;

	if (!f)
		return -1;
	length = snprintf(head, sizeof head, "{'descr': '|u1', 'fortran_order': False, 'shape': (%u, %d, %d, 3), }", n,
		SIDE, SIDE);
	fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f);
	fprintf(f, "%-*s\n", 117, head);
	for (uint64_t i = 0; i < (uint64_t) n * SIDE * SIDE * 3; i++) {
		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		fputc((int) (state >> 56), f);
	}
	return length > 0 ? fclose(f) : -1;
}

static double seconds_since(uint64_t start)
{
	return (double) (clock_now_nsec() - start) / (double) NSEC_PER_SEC;
}

static int run(const struct net *net, const struct quantizer *q, uint32_t planes, uint32_t n, const char *pictures,
	struct threads *threads, struct error *e)
{
	struct export_options o = {.quantizer = q, .planes = planes, .edge_planes = 8, .group_columns = 128,
		.activation_bits = 8, .seed = 1};
	static const struct preprocess p = {.scale = 1 / 64.0f, .mean = {2, 2, 2, 2}, .std = {1, 1, 1, 1}};
	_cleanup_(dataset_freep) struct dataset *data = NULL;
	_cleanup_(calibration_freep) struct calibration *calibration = NULL;
	_cleanup_(export_freep) struct export *x = NULL;
	uint64_t start = clock_now_nsec();
	struct samples samples;
	int r = dataset_open(&data, pictures, NULL, e);

	if (r >= 0)
		r = samples_init(&samples, data, &p, graph_shape(&net->values[net->input].shape), e);
	if (r >= 0)
		r = export_graph(&x, net, &o, &p, samples.shape, e);
	if (r >= 0)
		r = calibrate_samples(&calibration, net, &samples, n, threads, NULL, e);
	printf("ranges       %6.1f s\n", seconds_since(start));
	if (r >= 0)
		r = export_scales(x, calibration, e);
	if (r >= 0)
		r = export_weights(x, &samples, n, threads, NULL, e);
	printf("and weights  %6.1f s\n", seconds_since(start));
	if (r >= 0)
		r = correct_widths(x, calibration, &samples, pictures, threads, NULL, e);
	printf("and widths   %6.1f s\n", seconds_since(start));
	return r;
}

int main(int argc, char **argv)
{
	const char *method = argc > 1 ? argv[1] : "gptq";
	uint32_t planes = argc > 2 ? (uint32_t) atoi(argv[2]) : 4, n = argc > 3 ? (uint32_t) atoi(argv[3]) : 32;
	_cleanup_(threads_freep) struct threads *threads = NULL;
	char pictures[] = "/tmp/bitshed-pictures-XXXXXX";
	const struct quantizer *q = quantizer_find(method);
	_cleanup_close_ int fd = mkstemp(pictures);
	struct net *net = resnet18();
	struct error e = {};
	struct rusage usage;
	int r;

	if (!q || fd < 0 || n == 0 || write_pictures(pictures, n) < 0 || threads_new(&threads, 2) < 0)
		return EXIT_FAILURE;
	printf("%s, %u planes, %u pictures, 2 threads\n", q->name, planes, n);
	r = run(net, q, planes, n, pictures, threads, &e);
	(void) unlink(pictures);
	net_free(net);
	if (r < 0)
		printf("%s\n", error_text(&e, r));
	(void) getrusage(RUSAGE_SELF, &usage);
	printf("processor    %6.1f s\nmemory       %6.0f MiB\n",
		(double) usage.ru_utime.tv_sec + (double) usage.ru_utime.tv_usec * 1e-6,
		(double) usage.ru_maxrss / 1024);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
