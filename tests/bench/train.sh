#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Retrains a network by each method and prints a row for each: what the integer engine makes of the file on
# the whole test set, beside the same width without retraining.
#
#   tests/bench/train.sh BITSHED_MODEL DATA [OUTPUT [METHOD...]]
#
# DATA is the folder of tests/support/data.sh. Runs are long (an epoch of ResNet-20 is 38 seconds of a free core);
# a killed one goes on when it is started again. EPOCHS scales all of them (1), NICE (19) and
# THREADS (all) say how hard they work.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,11p' "$0" | cut -c3-; exit 2; }
model=$1 data=$2 out=${3:-.}
shift $(($# < 3 ? $# : 3))

net=$data/models/cifar10/akamaster_resnet20_static.onnx
pixels=(--scale 0.00392157 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)
common=("${pixels[@]}" --data "$data/cifar10_train_20000.bin" --evaluate "$data/cifar10_test_5000.bin"
	--crop 4 --flip)
[ -z "${THREADS:-}" ] || common+=(--threads "$THREADS")

# name epochs options
runs() {
	cat <<-END
	nested 10 --method nested
	nested-taught 10 --method nested --teacher $data/models/cifar10/akamaster_resnet32_static.onnx
	nested-w2a2 10 --method nested --planes 2 --activation-bits 2
	crq 12 --method crq --schedule flat
	mlq 10 --method mlq --rate 0.0005
	slq5 5 --method slq --planes 5 --rate 0.0002
	slq4 5 --method slq --planes 4 --rate 0.0002
	quantnet 12 --method quantnet
	quantnet-2 12 --method quantnet --planes 2
	alq-2 8 --method alq --average-bits 2
	alq-1 10 --method alq --average-bits 1
	twn 8 --method twn
	bwn 5 --method bwn
	xnor 12 --method bwn --activation-bits 1
	kurtosis 8 --method kurtosis
	bitat 12 --method bitat
	inq 5 --method inq --rate 0.0002
	cpq 8 --method cpq
	cpq-2.5 8 --method cpq --planes 4 --average-bits 2.5
	soft-to-hard 8 --method soft-to-hard
	dqa 8 --method dqa
	quantization-networks 8 --method quantization-networks
	deep-compression 8 --method deep-compression
	END
}

# accuracies FILE [OPTION...] - "4: 91.46, 3: 90.94"
accuracies() {
	"$model" evaluate "$1" --data "$data/cifar10_test_5000.bin" "${@:2}" |
		awk '$1 ~ /^[0-9.]+$/ {printf "%s%s: %s", n++ ? ", " : "", $1, $2}'
}

# calibrated PLANES - the same width without retraining, made once
calibrated() {
	local file=$out/calibrated-$1.gguf

	[ -f "$file" ] || "$model" import "$net" -o "$file" --planes "$1" "${pixels[@]}" \
		--calibrate "$data/cifar10_train_20000.bin" >/dev/null 2>&1
	accuracies "$file" --bits "$1"
}

echo "| run | epochs | bits: top-1 | widest, only calibrated | time |"
echo "|---|--:|---|---|--:|"
runs | while read -r name epochs options; do
	[ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
	epochs=$(awk "BEGIN {e = int($epochs * ${EPOCHS:-1} + 0.5); print e < 1 ? 1 : e}")
	start=$SECONDS
	# shellcheck disable=SC2086 # options are words
	nice -n "${NICE:-19}" "$model" train "$net" -o "$out/$name.gguf" "${common[@]}" --epochs "$epochs" \
		--log "$out/$name.csv" $options >"$out/$name.log" 2>&1 </dev/null
	widest=$("$model" inspect "$out/$name.gguf" | awk '$1 == "bits" {getline; print $1; exit}')
	echo "| $name | $epochs | $(accuracies "$out/$name.gguf") | $(calibrated "$widest") | $((SECONDS - start)) s |"
done
