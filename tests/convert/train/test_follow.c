/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices that follow: the network as a whole comes nearer to fp32 on pictures that nobody calibrated with,
 * through every kind of matrix whose columns the engine holds in another order.
 */
#include "nets.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "convert/evaluate.h"
#include "convert/import.h"
#include "convert/train/block.h"
#include "convert/train/follow.h"
#include "convert/train/prepare.h"
#include "engine/lower.h"
#include "support/data.h"

#define PICTURES 128

static char data[2][128], labels[2][128], model[96];

/* Convolutions of all sorts, then a matrix that reads a flattened picture. */
static struct net *net_sorts(void)
{
	static const struct {
		uint32_t kernel, stride, groups, channels, size;
	} steps[] = {{3, 1, 1, 16, 8}, {3, 1, 16, 16, 8}, {1, 1, 1, 32, 8}, {3, 2, 4, 32, 4}, {3, 1, 1, 24, 4}};
	struct net *n = net_new("sorts");
	uint32_t at = net_value_of(n, 3, 3, 8, 8), flat, out;

	(void) net_add_node(n, NET_INPUT, "input");
	n->nodes[0].output = n->input = at;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		uint32_t sum = net_value_of(n, 3, steps[i].channels, steps[i].size, steps[i].size);
		uint32_t next = net_value_of(n, 3, steps[i].channels, steps[i].size, steps[i].size);

		(void) net_convolution(n, at, sum, steps[i].kernel, steps[i].stride, steps[i].groups);
		net_relu(n, sum, next);
		at = next;
	}
	flat = net_value_of(n, 1, 24 * 4 * 4, 0, 0);
	out = net_value_of(n, 1, 4, 0, 0);
	(void) net_step(n, NET_RESHAPE, at, flat);
	(void) net_linear(n, flat, out);
	n->output = out;
	return n;
}

/* A residual block between two convolutions. */
static struct net *net_residual(void)
{
	struct net *n = net_new("residual");
	struct net_node *sum;
	uint32_t in = net_value_of(n, 3, 3, 8, 8), v[7], flat, out;

	for (int i = 0; i < 7; i++)
		v[i] = net_value_of(n, 3, 16, 8, 8);
	(void) net_add_node(n, NET_INPUT, "input");
	n->nodes[0].output = n->input = in;
	(void) net_convolution(n, in, v[0], 3, 1, 1);
	net_relu(n, v[0], v[1]);
	(void) net_convolution(n, v[1], v[2], 3, 1, 1);
	net_relu(n, v[2], v[3]);
	(void) net_convolution(n, v[3], v[4], 3, 1, 1);
	sum = net_step(n, NET_ADD, v[4], v[5]);
	sum->inputs[sum->n_inputs++] = v[1];
	net_relu(n, v[5], v[6]);
	flat = net_value_of(n, 1, 16 * 8 * 8, 0, 0);
	out = net_value_of(n, 1, 4, 0, 0);
	(void) net_step(n, NET_RESHAPE, v[6], flat);
	(void) net_linear(n, flat, out);
	n->output = out;
	return n;
}

static struct import import_of(export_follow_fn *follow, uint32_t planes)
{
	return (struct import){.onnx = "sorts", .output = model, .calibrate = data[0], .samples = PICTURES,
		.has_preprocess = true, .preprocess = {.scale = 1 / 255.0f, .std = {1, 1, 1, 1}}, .follow = follow,
		.equalise = EQUALISE_NO,
		.options = {.quantizer = quantizer_find("obq"), .planes = planes, .group_columns = 128,
			.activation_bits = 8, .seed = 1}};
}

static double output_snr(const struct import *i, const struct net *net)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	_cleanup_(model_unrefp) struct model *m = NULL;
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	_cleanup_(outputs_done) struct outputs ours = {}, fp32 = {};
	_cleanup_close_ int fd = open(model, O_RDONLY | O_CLOEXEC);
	struct samples samples;
	double agreement, snr;

	CU_ASSERT_EQUAL_FATAL(network_open(&n, fd, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(model_build(&m, n, n->planes_max, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(dataset_open(&d, data[1], labels[1], NULL), 0);
	CU_ASSERT_EQUAL_FATAL(samples_init(&samples, d, &i->preprocess, n->values[n->input].shape, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(evaluate_outputs(&ours, m, &samples, 0, NULL, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(evaluate_reference(&fp32, net, &samples, 0, NULL, NULL, NULL), 0);
	evaluate_agreement(&ours, &fp32, &agreement, &snr);
	return snr;
}

static double import_snr(struct net *(*make)(void), export_follow_fn *follow, uint32_t planes)
{
	_cleanup_(net_freep) struct net *net = make();
	struct import i = import_of(follow, planes);
	struct error e = {};
	int r = import_write(&i, make(), &e);

	if (r < 0)
		printf("%s\n", error_text(&e, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	return output_snr(&i, net);
}

static void check_followers_come_nearer(void)
{
	for (uint32_t planes = 2; planes <= 3; planes++) {
		double alone = import_snr(net_sorts, NULL, planes);
		double following = import_snr(net_sorts, follow_open, planes);

		printf("%u planes: %.2f dB, following %.2f dB\n", planes, alone, following);
		CU_ASSERT_TRUE(following > alone + 0.5);
	}
}

/* Where nothing is lost there is nothing to take back. */
static void check_little_moves_at_eight_planes(void)
{
	struct import i = import_of(follow_open, 8);
	_cleanup_(net_freep) struct net *net = net_sorts();

	i.options.quantizer = quantizer_find("kmeans");
	CU_ASSERT_EQUAL_FATAL(import_write(&i, net_sorts(), NULL), 0);
	CU_ASSERT_TRUE(output_snr(&i, net) > 25);
}

/* What the file holds. Return: its size */
static size_t import_bytes(enum import_equalise equalise, uint8_t **ret)
{
	struct import i = import_of(follow_open, 2);
	_cleanup_close_ int fd = -1;
	off_t size;

	i.equalise = equalise;
	CU_ASSERT_EQUAL_FATAL(import_write(&i, net_sorts(), NULL), 0);
	fd = open(model, O_RDONLY | O_CLOEXEC);
	size = lseek(fd, 0, SEEK_END);
	CU_ASSERT_TRUE_FATAL(size > 0);
	*ret = malloc((size_t) size);
	CU_ASSERT_EQUAL_FATAL(pread(fd, *ret, (size_t) size, 0), (ssize_t) size);
	return (size_t) size;
}

static void check_trying_takes_one_of_both(void)
{
	_cleanup_free_ uint8_t *yes = NULL, *no = NULL, *either = NULL;
	size_t n = import_bytes(EQUALISE_YES, &yes);
	bool same_as_yes, same_as_no;

	CU_ASSERT_EQUAL_FATAL(import_bytes(EQUALISE_NO, &no), n);
	CU_ASSERT_EQUAL_FATAL(import_bytes(EQUALISE_TRY, &either), n);
	same_as_yes = memcmp(either, yes, n) == 0;
	same_as_no = memcmp(either, no, n) == 0;
	CU_ASSERT_TRUE(same_as_yes != same_as_no);
}

static void check_blocks_come_nearer(void)
{
	double alone = import_snr(net_residual, follow_open, 2), blocks = import_snr(net_residual, follow_open_blocks, 2);

	printf("2 planes: following %.2f dB, blocks %.2f dB\n", alone, blocks);
	CU_ASSERT_TRUE(blocks > alone + 0.5);
}

static void test_blocks_are_found(void)
{
	_cleanup_(net_freep) struct net *net = net_residual();
	struct block b;

	CU_ASSERT_TRUE_FATAL(block_find(&b, net, 3, 5, net->n_nodes));
	CU_ASSERT_TRUE(b.first == 3 && b.last == 6);
	CU_ASSERT_TRUE(b.input == net->nodes[2].output && b.output == net->nodes[6].output);
	CU_ASSERT_FALSE(block_find(&b, net, 3, 3, 5)); /* the sum is yet to come */
}

/* The export and the training agree about who keeps all planes. */
static void test_depthwise_keeps_its_planes(void)
{
	_cleanup_(net_freep) struct net *net = net_sorts();
	_cleanup_(export_freep) struct export *e = NULL;
	struct import i = import_of(NULL, 4);
	bool fixed[32];

	i.options.edge_planes = 8;
	CU_ASSERT_EQUAL_FATAL(export_graph(&e, net, &i.options, NULL, (struct shape){}, NULL), 0);
	prepare_fixed(net, 8, fixed);
	for (uint32_t k = 0; k < e->n_matrices; k++) {
		CU_ASSERT_EQUAL(e->matrices[k].fixed, fixed[e->matrices[k].net_node]);
		CU_ASSERT_TRUE(e->matrices[k].fixed || !e->matrices[k].depthwise);
	}
}

static void test_following(void)
{
	char folder[] = "/tmp/bitshed-follow-XXXXXX";

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	for (int i = 0; i < 2; i++)
		write_stripes(folder, PICTURES, 5 + (uint64_t) i, data[i], labels[i], sizeof data[i]);
	(void) snprintf(model, sizeof model, "%s/model.gguf", folder);
	check_followers_come_nearer();
	check_little_moves_at_eight_planes();
	check_trying_takes_one_of_both();
	check_blocks_come_nearer();
	for (int i = 0; i < 2; i++) {
		(void) unlink(data[i]);
		(void) unlink(labels[i]);
	}
	(void) unlink(model);
	(void) rmdir(folder);
}

TEST_MAIN("follow", TEST(following), TEST(blocks_are_found), TEST(depthwise_keeps_its_planes))
