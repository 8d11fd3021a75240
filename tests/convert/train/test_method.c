/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every method of the list on a small net: it learns, what it exports is what it trained, and a run that
 * was broken off ends as one that was not. BITSHED_TEST_FULL=1: several planes of QuantNet, too.
 */
#include "nets.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "convert/onnx_write.h"
#include "convert/train/prepare.h"
#include "convert/train/train.h"
#include "convert/train/trainer.h"

#define SAMPLES 1200
#define EPOCHS 5

static char folder[128] = "/tmp/bitshed-train-XXXXXX";
static char data[2][192], labels[2][192];

static void make_data(void)
{
	if (data[0][0])
		return;
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	for (int i = 0; i < 2; i++)
		write_stripes(folder, SAMPLES, 10 * (uint64_t) i + 1, data[i], labels[i], sizeof data[i]);
}

static const char *file(const char *name)
{
	static char path[4][192];
	static int turn;

	turn = (turn + 1) % 4;
	(void) snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
	return path[turn];
}

static struct train job(const struct train_method *m)
{
	return (struct train){
		.import = {.correct = true, .samples = 128, .onnx = "small", .evaluate = data[1],
			.evaluate_labels = labels[1], .has_preprocess = true,
			.preprocess = {.scale = 1 / 255.0f, .mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f, 1}},
			.options = {.quantizer = &quantizer_gptq, .group_columns = 128, .activation_bits = 8,
				.planes = m->planes_default, .edge_planes = 8, .seed = 1}},
		.data = data[0],
		.data_labels = labels[0],
		.loader = {.seed = 1},
		.options = {.method = m, .planes = m->planes_default, .edge_planes = 8, .epochs = EPOCHS,
			.batch = 40, .recalibrate = 30, .save_seconds = 3600, .seed = 1, .threads = 2,
			.loss = {.temperature = 2},
			.optimise = {.rate = 0.05f, .momentum = 0.9f, .decay = 1e-4f, .clip = 5, .warm = 0.05f}},
	};
}

/* Mean loss of the width that a log begins with, in its first and in its last epoch. */
static void read_log(const char *path, double *first, double *last)
{
	FILE *f = fopen(path, "r");
	char line[256];
	int planes, width = 0;
	double loss;

	*first = *last = NAN;
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%*d,%d,%lf", &planes, &loss) == 2 && (!width || planes == width)) {
			if (!width)
				*first = loss;
			width = planes;
			*last = loss;
		}
	(void) fclose(f);
}

static int read_card(const char *path, struct network **ret)
{
	FILE *f = fopen(path, "r");
	int r = f ? network_open(ret, fileno(f), NULL) : -1;

	if (f)
		(void) fclose(f);
	return r;
}

/* What the file's card says about @bits. */
static double card(const struct network *n, float bits)
{
	for (uint32_t i = 0; i < n->n_accuracies; i++)
		if (n->accuracies[i].bits == bits)
			return (double) n->accuracies[i].top1;
	return -1;
}

static struct net *trained(uint32_t epochs)
{
	_cleanup_(net_freep) struct net *small = net_small();
	struct train t = job(train_method_find("fp32"));
	struct net *ret = NULL;

	t.import.output = file("trained.gguf");
	t.import.evaluate = NULL;
	t.options.scratch = true;
	t.options.epochs = epochs;
	t.ret_net = &ret;
	CU_ASSERT_EQUAL_FATAL(train_net(&t, small, NULL), 0);
	return ret;
}

/* What most methods start from: a net that was trained, but not for long. */
static struct net *begun(void)
{
	static struct net *net;

	if (!net)
		net = trained(1);
	return net;
}

/* Return: the file that it made */
static struct network *check_run(struct train *t)
{
	const char *name = t->options.method->name;
	struct network *n = NULL;
	const struct net *net = begun();
	struct error e = {};
	double first, last;
	int r;

	t->options.log = file("log.csv");
	t->import.output = file("model.gguf");
	(void) unlink(t->options.log);
	r = train_net(t, net, &e);
	if (r < 0)
		printf("%s: %s\n", name, error_text(&e, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	read_log(t->options.log, &first, &last);
	CU_ASSERT(last < 0.7 * first);
	CU_ASSERT_EQUAL_FATAL(read_card(t->import.output, &n), 0);
	CU_ASSERT_STRING_EQUAL(n->method, name);
	for (uint32_t i = 0; i < t->n_accuracies; i++) {
		double said = (double) t->accuracies[i].top1, have = card(n, t->accuracies[i].bits);

		printf("\n  %-12s %g bits: loss %.3f to %.3f, %.2f %%, exported %.2f %%", name,
			(double) t->accuracies[i].bits, first, last, said, have);
		CU_ASSERT(said > 60);
		CU_ASSERT(fabs(said - have) <= 0.5);
	}
	return n;
}

/* More planes than one, by learned quantizers in a row. */
static void test_quantnet_in_planes(void)
{
	struct train t = job(train_method_find("quantnet"));

	if (!getenv("BITSHED_TEST_FULL"))
		return;
	make_data();
	t.options.planes = t.import.options.planes = 3;
	network_unref(check_run(&t));
}

/* Bits of an average weight of what sheds. */
static double average_bits(const struct network *n)
{
	double bits = 0, weights = 0;

	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];

		if (m->fixed)
			continue;
		bits += (double) m->planes * m->rows * m->columns;
		weights += (double) m->rows * m->columns;
	}
	return bits / weights;
}

/* Layers of one file have as many bits as they learned to need. */
static void test_layers_learn_their_widths(void)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct train t = job(train_method_find("cpq"));

	make_data();
	t.options.planes = t.import.options.planes = 4;
	t.options.average = 2.5f;
	n = check_run(&t);
	printf(", %.2f bits on average", average_bits(n));
	CU_ASSERT(average_bits(n) <= 2.5 && average_bits(n) >= 2);
}

/* Less than a bit of an average weight: rows whose planes are all gone. */
static void test_rows_without_planes(void)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct train t = job(train_method_find("alq"));
	double bits = 0, weights = 0;
	uint32_t empty = 0;

	make_data();
	t.options.planes = t.import.options.planes = 2;
	t.options.average = 0.75f;
	n = check_run(&t);
	for (uint32_t i = 0; i < n->n_matrices; i++) {
		const struct matrix *m = &n->matrices[i];

		for (uint32_t row = 0; !m->fixed && row < m->rows; row++) {
			uint32_t planes = 0;

			for (uint32_t p = 0; p < m->planes; p++)
				planes += m->alpha[(size_t) row * m->planes + p] > 0;
			bits += (double) planes * m->columns;
			weights += m->columns;
			empty += planes == 0;
		}
	}
	printf(", %.2f bits on average, %u rows empty", bits / weights, empty);
	CU_ASSERT(bits / weights <= 0.75 && bits / weights > 0.7);
	CU_ASSERT(empty > 0);
}

static void test_methods_learn_and_export(void)
{
	const char *only = getenv("BITSHED_TEST_METHOD");

	make_data();
	for (uint32_t i = 0; i < n_train_methods; i++) {
		struct train t = job(train_methods[i]);

		if (!only || strcmp(only, train_methods[i]->name) == 0)
			network_unref(check_run(&t));
	}
}

/* Activations of @bits: trained, exported, and run by the kernels for few bits. */
static void check_few_bits(const char *method, uint32_t planes, uint32_t bits, uint32_t epochs)
{
	_cleanup_(network_unrefp) struct network *n = NULL;
	struct train t = job(train_method_find(method));
	uint32_t narrow = 0;

	make_data();
	t.options.planes = t.import.options.planes = planes;
	t.options.activation_bits = bits;
	t.options.epochs = epochs;
	n = check_run(&t);
	printf(", %u-bit activations", bits);
	for (uint32_t i = 0; i < n->n_ops; i++)
		narrow += n->ops[i].activation_bits == bits;
	CU_ASSERT_EQUAL(narrow, 2);
}

static void test_few_activation_bits(void)
{
	check_few_bits("nested", 2, 2, 2 * EPOCHS);
}

/* XNOR-Net: signs of weights, and of activations. */
static void test_one_bit_of_both(void)
{
	check_few_bits("bwn", 1, 1, EPOCHS);
}

/* Steps of no length: what is measured for the normalisation at the start and at the end is the same. */
static void test_training_begins_at_the_network(void)
{
	_cleanup_(net_freep) struct net *back = NULL;
	_cleanup_(reference_freep) struct reference *a = NULL, *b = NULL;
	struct train t = job(train_method_find("fp32"));
	const struct net *net;

	make_data();
	net = begun();
	t.import.output = file("still.gguf");
	t.import.evaluate = NULL;
	t.options.epochs = 1;
	t.options.optimise.rate = 1e-9f;
	t.ret_net = &back;
	CU_ASSERT_EQUAL_FATAL(train_net(&t, net, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&a, net), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&b, back), 0);
	for (uint64_t i = 0; i < 8; i++) {
		_cleanup_free_ float *input = drawn_floats(i, 8 * 8 * 3, 1);

		reference_run(a, input);
		reference_run(b, input);
		for (uint32_t c = 0; c < 4; c++)
			CU_ASSERT_DOUBLE_EQUAL(reference_value(a, net->output)[c], reference_value(b, back->output)[c],
				2e-2);
	}
}

/* What a net computes on drawn inputs, before and after it was a file. */
static void test_onnx_files_come_back(void)
{
	_cleanup_(net_freep) struct net *back = NULL;
	_cleanup_(reference_freep) struct reference *a = NULL, *b = NULL;
	_cleanup_free_ float *input = drawn_floats(7, 8 * 8 * 3, 1);
	const struct net *net;
	struct error e = {};
	int r;

	make_data();
	net = begun();
	r = onnx_write(net, file("back.onnx"), &e);
	if (r >= 0)
		r = import_net(&back, file("back.onnx"), &e);
	if (r < 0)
		printf("%s\n", error_text(&e, r));
	CU_ASSERT_EQUAL_FATAL(r, 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&a, net), 0);
	CU_ASSERT_EQUAL_FATAL(reference_new(&b, back), 0);
	reference_run(a, input);
	reference_run(b, input);
	for (int c = 0; c < 4; c++)
		CU_ASSERT_DOUBLE_EQUAL(reference_value(a, net->output)[c], reference_value(b, back->output)[c], 1e-4);
}

static void bytes_of(const char *path, char **ret, size_t *size)
{
	FILE *f = fopen(path, "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fseek(f, 0, SEEK_END);
	*size = (size_t) ftell(f);
	rewind(f);
	*ret = malloc(*size);
	CU_ASSERT_EQUAL(fread(*ret, 1, *size, f), *size);
	(void) fclose(f);
}

static void train_to(const struct train_method *m, const char *output, const char *checkpoint)
{
	_cleanup_(net_freep) struct net *net = net_small();
	struct train t = job(m);

	t.import.output = output;
	t.options.checkpoint = checkpoint;
	CU_ASSERT_EQUAL(train_net(&t, net, NULL), 0);
}

/* A child trains and is killed after @msec; then again, until one of them gets through. */
static void train_with_kills(const struct train_method *m, const char *output, const char *checkpoint)
{
	for (unsigned msec = 300;; msec += msec / 2) {
		pid_t pid = fork();
		int status = 0;

		if (pid == 0) {
			execl("/proc/self/exe", "test_method", m->name, output, checkpoint, NULL);
			_exit(1);
		}
		(void) usleep(msec * 1000);
		(void) kill(pid, SIGKILL);
		(void) waitpid(pid, &status, 0);
		if (WIFEXITED(status)) {
			CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
			return;
		}
	}
}

static void test_a_killed_run_ends_the_same(void)
{
	char *whole = NULL, *broken = NULL;
	size_t n, m;

	make_data();
	train_to(train_methods[0], file("whole.gguf"), NULL);
	train_with_kills(train_methods[0], file("broken.gguf"), file("broken.checkpoint"));
	CU_ASSERT_NOT_EQUAL(access(file("broken.checkpoint"), F_OK), 0);
	bytes_of(file("whole.gguf"), &whole, &n);
	bytes_of(file("broken.gguf"), &broken, &m);
	CU_ASSERT_EQUAL(n, m);
	CU_ASSERT(n == m && memcmp(whole, broken, n) == 0);
	free(whole);
	free(broken);
}

/* What the narrowest width multiplies and normalises with, after @epochs from the checkpoint that is there. */
static float *narrowest_after(uint32_t epochs, const char *checkpoint, size_t *ret_n)
{
	_cleanup_(net_freep) struct net *net = net_small();
	_cleanup_(loader_freep) struct loader *l = NULL;
	_cleanup_(trainer_freep) struct trainer *tr = NULL;
	struct train t = job(train_method_find("nested"));
	const struct train_matrix *m;
	const struct train_norm *norm;
	float *ret;

	t.options.epochs = epochs;
	t.options.checkpoint = checkpoint;
	CU_ASSERT_EQUAL_FATAL(loader_open(&l, t.data, t.data_labels, &t.import.preprocess, (struct shape){8, 8, 3}, 4,
		&t.loader, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(trainer_new(&tr, net, l, &t.options, NULL), 0);
	CU_ASSERT_EQUAL(trainer_run(tr, NULL), 0);
	trainer_select(tr, 0);
	m = &tr->graph->matrices[1];
	norm = &tr->graph->norms[1];
	*ret_n = (size_t) m->rows * m->columns + 2 * norm->channels;
	ret = malloc(*ret_n * sizeof *ret);
	memcpy(ret, m->hat, (size_t) m->rows * m->columns * sizeof *ret);
	memcpy(ret + (size_t) m->rows * m->columns, norm->scale_shift, 2 * norm->channels * sizeof *ret);
	return ret;
}

/* Twice as long would be the narrowest one's turn still. */
static void test_longer_runs_leave_what_has_settled(void)
{
	_cleanup_free_ float *before = NULL, *after = NULL;
	size_t n, m;

	make_data();
	before = narrowest_after(1, file("longer.checkpoint"), &n);
	after = narrowest_after(3, file("longer.checkpoint"), &m);
	CU_ASSERT_EQUAL_FATAL(n, m);
	CU_ASSERT_EQUAL(memcmp(before, after, n * sizeof *before), 0);
}

static void test_checkpoints_of_others_are_refused(void)
{
	_cleanup_(net_freep) struct net *net = net_small();
	struct train t = job(train_methods[0]);
	struct error e = {};
	FILE *f;

	make_data();
	t.import.output = file("other.gguf");
	t.options.checkpoint = file("other.checkpoint");
	f = fopen(t.options.checkpoint, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	(void) fputs("this is no checkpoint, but it is long enough to be one", f);
	(void) fclose(f);
	CU_ASSERT_EQUAL(train_net(&t, net, &e), -EBADMSG);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "other.checkpoint"));
}

/* The network itself answers nothing: the other one has taught it. The run goes on with that one only. */
static void test_another_network_teaches(void)
{
	_cleanup_(net_freep) struct net *net = net_small(), *other = NULL;
	_cleanup_(loader_freep) struct loader *l = NULL;
	_cleanup_(trainer_freep) struct trainer *tr = NULL, *alone = NULL;
	struct train t = job(train_method_find("fp32"));
	struct net_node *last = &net->nodes[net->n_nodes - 1];
	double percent = 0;

	make_data();
	memset(last->weight, 0, prepare_weights(net, last) * sizeof *last->weight);
	memset(last->bias, 0, last->outputs * sizeof *last->bias);
	t.options.checkpoint = file("taught.checkpoint");
	t.options.loss.distil = 1;
	t.options.teacher = other = trained(EPOCHS);
	CU_ASSERT_EQUAL_FATAL(loader_open(&l, t.data, t.data_labels, &t.import.preprocess, (struct shape){8, 8, 3}, 4,
		&t.loader, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(trainer_new(&tr, net, l, &t.options, NULL), 0);
	CU_ASSERT_EQUAL(trainer_run(tr, NULL), 0);
	CU_ASSERT_EQUAL(trainer_accuracy(tr, l, 0, &percent, NULL), 0);
	CU_ASSERT(percent > 60);
	t.options.teacher = NULL;
	CU_ASSERT_EQUAL(trainer_new(&alone, net, l, &t.options, NULL), -ESTALE);
}

static void test_divergence_is_told(void)
{
	struct train t = job(train_method_find("fp32"));
	struct error e = {};

	make_data();
	t.import.output = file("far.gguf");
	t.options.optimise.rate = 1e30f;
	t.options.optimise.clip = 0;
	CU_ASSERT_EQUAL(train_net(&t, begun(), &e), -EDOM);
	CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "--rate"));
	CU_ASSERT_NOT_EQUAL(access(t.import.output, F_OK), 0);
}

static void test_cleanup(void)
{
	char command[256];

	(void) snprintf(command, sizeof command, "rm -rf %s", folder);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* The child of train_with_kills(): the folder is that of its files. */
static int child(char **argv)
{
	const struct train_method *m = train_method_find(argv[1]);
	_cleanup_(net_freep) struct net *net = net_small();
	struct train t;
	int r;

	*strrchr(strcpy(folder, argv[2]), '/') = 0;
	for (int i = 0; i < 2; i++) {
		(void) snprintf(data[i], sizeof data[i], "%s/stripes-%d.npy", folder, 10 * i + 1);
		(void) snprintf(labels[i], sizeof labels[i], "%s/stripes-%d-labels.npy", folder, 10 * i + 1);
	}
	t = job(m);
	t.import.output = argv[2];
	t.options.checkpoint = argv[3];
	r = train_net(&t, net, NULL);
	return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	CU_TestInfo tests[] = {TEST(methods_learn_and_export), TEST(quantnet_in_planes),
		TEST(layers_learn_their_widths), TEST(rows_without_planes),
		TEST(few_activation_bits), TEST(one_bit_of_both),
		TEST(onnx_files_come_back),
		TEST(training_begins_at_the_network), TEST(a_killed_run_ends_the_same),
		TEST(longer_runs_leave_what_has_settled),
		TEST(checkpoints_of_others_are_refused), TEST(another_network_teaches),
		TEST(divergence_is_told), TEST(cleanup), CU_TEST_INFO_NULL};
	CU_SuiteInfo suites[] = {{"method", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
	int failed;

	if (argc == 4)
		return child(argv);
	if (CU_initialize_registry() != CUE_SUCCESS || CU_register_suites(suites) != CUE_SUCCESS)
		return 1;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = (int) CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
