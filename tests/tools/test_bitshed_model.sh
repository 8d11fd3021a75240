#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every subcommand of bitshed-model, first without data (help, mistakes), then on a small real network.
set -u

model=$1
failures=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export XDG_CACHE_HOME=$folder/cache

# expect STATUS WORDS ARGUMENTS...: the exit status, and words in what is printed
expect() {
	local status=$1 words=$2 output
	shift 2
	output=$("$model" "$@" 2>&1)
	local have=$?
	if [ "$have" != "$status" ] || ! grep -qF -- "$words" <<<"$output"; then
		echo "FAIL: bitshed-model $* gave $have, wanted $status with '$words':"
		head -20 <<<"$output"
		failures=$((failures + 1))
	fi
}

expect 0 "import" --help
expect 0 "bitshed-model " --version
expect 2 "no command 'exprot'" exprot
for command in import inspect evaluate run compare sweep pack unpack classes analyse tune bench; do
	expect 0 "bitshed-model $command" $command --help
	expect 2 "--help" $command --no-such-option
	expect 2 "--help" $command
done
expect 2 "'9' is no value for --planes" import x.onnx -o y.gguf --planes 9
expect 2 "'0' is no value for --planes" import x.onnx -o y.gguf --planes 0
expect 2 "'abc' is no value for --method" import x.onnx -o y.gguf --method abc
expect 2 "'1,x' is no value for --mean" import x.onnx -o y.gguf --mean 1,x
expect 2 "'0' is no value for --std" import x.onnx -o y.gguf --std 0
expect 2 "'none' is no value for --clip" import x.onnx -o y.gguf --clip none
expect 2 "give one ONNX file" import x.onnx
expect 2 "'0.1' is no value for --average-bits" import x.onnx -o y.gguf --average-bits 0.1
expect 2 "--average-bits needs --calibrate" import x.onnx -o y.gguf --average-bits 2
expect 2 "--transform elt needs --calibrate" import x.onnx -o y.gguf --transform elt
expect 2 "'dct' is no value for --transform" import x.onnx -o y.gguf --transform dct
expect 1 "No such file" import "$folder/none.onnx" -o "$folder/y.gguf"
expect 1 "No such file" inspect "$folder/none.gguf"
echo "this is no model" >"$folder/text"
expect 1 "$folder/text" inspect "$folder/text"
expect 1 "$folder/text" import "$folder/text" -o "$folder/y.gguf"
expect 2 "give --store or --reencoded" evaluate "$folder/text" --data x --store --reencoded
expect 2 "--seconds takes a number" tune "$folder/text" --seconds x
expect 1 "No such file" tune "$folder/none.gguf"
expect 1 "No such file" bench "$folder/none.gguf"
expect 2 "give --device or --reencoded" evaluate "$folder/text" --data x --device opencl --reencoded
[ -e "$folder/y.gguf" ] && echo "FAIL: a failed import left a file" && failures=$((failures + 1))

if [ -z "${BITSHED_TEST_DATA:-}" ]; then
	[ $failures = 0 ] || exit 1
	echo "SKIP: BITSHED_TEST_DATA is not set: no real networks and data on this machine"
	exit 77
fi

net=$BITSHED_TEST_DATA/models/mlperf_tiny/ic_resnet8.onnx
train=$BITSHED_TEST_DATA/cifar10_train_20000.bin
test=$BITSHED_TEST_DATA/cifar10_test_5000.bin
printf 'plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n' >"$folder/labels"

expect 0 "" import "$net" -o "$folder/free.gguf" --planes 2
expect 0 "" import "$net" -o "$folder/net.gguf" --planes 4 --calibrate "$train" --samples 64 \
	--labels "$folder/labels" --threads 2
expect 0 "10 labels" inspect "$folder/net.gguf"
expect 0 "decode_scalar" inspect "$folder/net.gguf" --plan
expect 0 "2 bits on" inspect "$folder/net.gguf" --plan --bits 2
expect 0 "times new" tune "$folder/net.gguf" --bits 4 --seconds 0
expect 0 "4 bits: 0 times new" tune "$folder/net.gguf" --bits 4 --seconds 0
expect 0 " us" inspect "$folder/net.gguf" --plan
expect 0 '"chosen_by":"measured"' inspect "$folder/net.gguf" --plan --json
expect 0 '"chosen_by":"cost"' inspect "$folder/net.gguf" --plan --json --bits 2
expect 0 '"chosen_by":"measured"' inspect "$folder/net.gguf" --plan --json --bits 2.5 --cache "$folder/cache/bitshed"
expect 0 '"tuned":true' bench "$folder/net.gguf" --bits 4,2 --threads 1,2 --seconds 0 --json
expect 0 "images/s" bench "$folder/net.gguf" --bits 4 --threads 1 --seconds 0 --layers
expect 1 "--threads 1.5" bench "$folder/net.gguf" --threads 1.5
"$model" bench "$folder/net.gguf" --bits 4,2 --threads 1 --seconds 0 --layers --json | python3 -c 'import json,sys
d=json.load(sys.stdin)["rows"]; assert d[0]["plane_bytes"] > d[1]["plane_bytes"] and d[1]["layers"], d' || failures=$((failures + 1))
echo x >>"$(ls "$folder"/cache/bitshed/tune-*)"
expect 0 "ignored: tune-" inspect "$folder/net.gguf"
expect 0 "measured again" tune "$folder/net.gguf" --bits 4 --seconds 0
expect 2 "go with --plan" inspect "$folder/net.gguf" --bits 2
expect 0 '{"network":"ic_resnet8","data":"cifar10_test_5000.bin","widths":[{"bits":4,"top1":8' \
	evaluate "$folder/net.gguf" --data "$test" --bits 4,2.5,1 --limit 200 --json
expect 0 "95 % interval" evaluate "$folder/net.gguf" --data "$test" --bits 4,2.5 --limit 100 --store
expect 0 "accuracy on cifar10_test_5000.bin, by its labels" inspect "$folder/net.gguf"
expect 0 '"top1_low":' inspect "$folder/net.gguf" --json
expect 0 "" import "$net" -o "$folder/average.gguf" --planes 4 --calibrate "$train" --samples 32 --average-bits 1.5
"$model" inspect "$folder/average.gguf" --json | python3 -c 'import json,sys; d=json.load(sys.stdin)
assert 1.3 < d["widths"][0]["average_bits"] <= 1.5, d' || failures=$((failures + 1))
# Without labels what counts is the network as it was, before it lost channels.
python3 - "$test" "$folder/unlabelled.npy" <<'EOF'
import sys
pictures = b""
with open(sys.argv[1], "rb") as f:
	for _ in range(50):
		planes = f.read(3073)[1:]
		pictures += bytes(planes[c * 1024 + i] for i in range(1024) for c in range(3))
head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (50, 32, 32, 3)}".ljust(117) + b"\n"
with open(sys.argv[2], "wb") as f:
	f.write(b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + pictures)
EOF
expect 0 "" import "$net" -o "$folder/below.gguf" --planes 2 --calibrate "$train" --samples 32 --average-bits 0.7 \
	--evaluate "$folder/unlabelled.npy"
{
	"$model" inspect "$folder/below.gguf" --json
	"$model" compare "$net" "$folder/below.gguf" --data "$folder/unlabelled.npy" --json 2>"$folder/progress"
} | python3 -c 'import json,sys
card, compared = (json.loads(line)["widths"][0] for line in sys.stdin if line.strip())
assert card["snr_db"] == compared["snr_db"], (card, compared)' || failures=$((failures + 1))
for file in net below; do
	"$model" inspect "$folder/$file.gguf" --json
done | python3 -c 'import json,sys
net, below = (json.loads(line)["weights"] for line in sys.stdin)
assert 0.6 * net < below < 0.75 * net, (net, below)' || failures=$((failures + 1))
expect 0 "7/7  kmeans " sweep "$net" --data "$test" --calibrate "$train" --samples 16 --limit 50 \
	--methods gptq,kmeans --bits 4,3,2 --weights-only 10 --folder "$folder/sweep"
expect 0 "10/10  gpfq " sweep "$net" --data "$test" --calibrate "$train" --samples 16 --limit 50 \
	--methods gptq,kmeans,gpfq --bits 4,3,2 --folder "$folder/sweep"
[ "$(wc -l <"$folder/sweep/sweep.csv")" = 11 ] || failures=$((failures + 1))
expect 2 "is no value for --methods" sweep "$net" --data "$test" --folder "$folder/sweep" --methods gptq,none
for coder in zstd huffman arithmetic; do
	expect 0 "% of" pack "$folder/net.gguf" -o "$folder/net.packed" --coder $coder
	expect 0 "" unpack "$folder/net.packed" -o "$folder/again.gguf"
	cmp "$folder/net.gguf" "$folder/again.gguf" || failures=$((failures + 1))
done
expect 0 "arithmetic" pack "$folder/net.gguf" --compare
expect 1 "no packed model file" unpack "$folder/net.gguf" -o "$folder/again.gguf"
expect 2 "no coder 'lzw'" pack "$folder/net.gguf" -o "$folder/net.packed" --coder lzw
expect 0 "2 clusters: {" classes "$folder/net.gguf" --data "$test" --bits 4,2 --limit 200
expect 0 '"clusters":3' classes "$folder/net.gguf" --data "$test" --bits 4 --clusters 3 --limit 200 --json
expect 0 "zeros of a kernel" analyse "$folder/net.gguf" --bits 4,2 --svg "$folder/zeros.svg"
"$model" analyse "$folder/net.gguf" --bits 4,2 --json | python3 -c 'import json,sys
four, two = json.load(sys.stdin)["widths"]; layer = four["layers"][1]
assert len(four["layers"]) == len(two["layers"]) and two["bits"] == 2 and layer["planes"] == 4, four
assert 0 < layer["entropy"] <= 4 and 0 <= layer["zeros_of_a_row"]["mean"] <= 1, layer' || failures=$((failures + 1))
grep -q "</svg>" "$folder/zeros.svg" || failures=$((failures + 1))
expect 0 "95 % interval" evaluate "$folder/net.gguf" --data "$test" --bits 2 --limit 100 --reencoded
BITSHED_LIBEXEC=$folder expect 1 "there is no worker" evaluate "$folder/net.gguf" --data "$test" --device opencl
# the device's answers are the processor's; drivers compile for long
if [ -n "${BITSHED_TEST_FULL:-}" ] && [ -x "${2:-}/bitshed-worker" ]; then
	export BITSHED_LIBEXEC=$2
	expect 1 "no device is called" evaluate "$folder/net.gguf" --data "$test" --device nobody
	for device in cpu opencl; do
		"$model" evaluate "$folder/net.gguf" --data "$test" --bits 3 --limit 100 --device $device --json 2>/dev/null |
			sed 's/,"images_per_second.*//' >"$folder/$device.json"
	done
	grep -q top1 "$folder/opencl.json" && cmp "$folder/cpu.json" "$folder/opencl.json" || failures=$((failures + 1))
fi
expect 1 "widths 1 to 4" evaluate "$folder/net.gguf" --data "$test" --bits 5
expect 1 "the network takes" evaluate "$folder/net.gguf" --data "$BITSHED_TEST_DATA/kws_500.npy"
expect 0 '"agreement":' compare "$net" "$folder/net.gguf" --data "$test" --bits 4 --limit 50 --json
expect 1 "not the same network" compare "$BITSHED_TEST_DATA/models/mlperf_tiny/kws_dscnn.onnx" \
	"$folder/net.gguf" --data "$test"
expect 1 "$folder/text" run "$folder/net.gguf" "$folder/text"
"$model" inspect "$folder/net.gguf" --json | python3 -c 'import json,sys; d=json.load(sys.stdin)
assert len(d["widths"]) == 4 and d["weights"] == 77360, d' || failures=$((failures + 1))
"$model" evaluate "$folder/net.gguf" --data "$test" --limit 20 --json 2>/dev/null | python3 -c 'import json,sys
d=json.load(sys.stdin); assert [w["bits"] for w in d["widths"]] == [4, 3, 2, 1], d' || failures=$((failures + 1))
[ $failures = 0 ]
