#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Retrains a network by each method and prints a row for each: what the integer engine makes of the file on
# the whole test set, beside the same width without retraining.
#
#   tests/bench/train.sh BITSHED_MODEL DATA [OUTPUT [METHOD...]]
#
# DATA is the folder of tests/support/data.sh. Runs are long (an epoch of ResNet-20 is 20 to 40 seconds of two
# free cores); a killed one goes on when it is started again. EPOCHS scales all of them (1), NICE (19) and
# THREADS (all) say how hard they work.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,11p' "$0" | cut -c3-; exit 2; }
model=$1 data=$2 out=${3:-.}
shift $(($# < 3 ? $# : 3))

net=$data/models/cifar10/akamaster_resnet20_static.onnx
pixels=(--scale 0.00392157 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)
common=("${pixels[@]}" --data "$data/cifar10_train_20000.bin" --evaluate "$data/cifar10_test_5000.bin"
	--crop 4 --flip --distil 0.9 --temperature 4)
[ -z "${THREADS:-}" ] || common+=(--threads "$THREADS")

# name epochs options
runs() {
	cat <<-END
	nested 24 --method nested --rate 0.01
	nested-w2a2 24 --method nested --planes 2 --activation-bits 2 --rate 0.01
	crq 24 --method crq --rate 0.01
	mlq 16 --method mlq --rate 0.01
	slq5 8 --method slq --planes 5 --rate 0.005
	slq4 8 --method slq --planes 4 --rate 0.005
	quantnet 24 --method quantnet --rate 0.02
	quantnet-2 16 --method quantnet --planes 2 --rate 0.02
	alq-2 20 --method alq --average-bits 2
	alq-1 24 --method alq --average-bits 1
	twn 16 --method twn --rate 0.01
	bwn 24 --method bwn --rate 0.02
	xnor 24 --method bwn --activation-bits 1 --rate 0.02
	kurtosis 24 --method kurtosis --rate 0.02
	bitat 24 --method bitat --rate 0.02
	inq 8 --method inq --rate 0.005
	cpq 12 --method cpq --rate 0.01
	cpq-2.5 16 --method cpq --planes 4 --average-bits 2.5 --rate 0.01
	soft-to-hard 16 --method soft-to-hard --rate 0.01
	dqa 16 --method dqa --rate 0.01
	quantization-networks 16 --method quantization-networks --rate 0.01
	deep-compression 12 --method deep-compression --rate 0.01
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
