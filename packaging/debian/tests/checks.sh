# SPDX-License-Identifier: Apache-2.0
# Sourced by tests: checks that print a row each and count those that fail.

checks=0
failures=0

row() { # row STATUS WORDS
	checks=$((checks + 1))
	if [ "$1" = 0 ]; then
		printf 'ok    %s\n' "$2"
	else
		failures=$((failures + 1))
		printf 'FAIL  %s\n' "$2"
		sed 's/^/      | /' "$log"
	fi
}

# check WORDS COMMAND... - it succeeds
check() {
	words=$1
	shift
	status=0
	"$@" >"$log" 2>&1 || status=$?
	row "$status" "$words"
}

# ends WORDS STATUS TEXT COMMAND... - it ends with just this status, and its output holds the text
ends() {
	words=$1 expected=$2 text=$3
	shift 3
	status=0
	"$@" >"$log" 2>&1 || status=$?
	if [ "$status" = "$expected" ] && grep -q -e "$text" "$log"; then
		row 0 "$words"
	else
		echo "expected status $expected with \"$text\", got $status" >>"$log"
		row 1 "$words"
	fi
}

# until_true SECONDS COMMAND... - soon; an emulated board is given several times as long
until_true() {
	end=$((SECONDS + $1 * ${BITSHED_TEST_PATIENCE:-1}))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.1
	done
}

# make_shapes SHAPES FOLDER - a model file of the demo network, and a picture of a star; made once on a board, which keeps
# it in $BITSHED_SHAPES_KEPT
make_shapes() {
	kept=${BITSHED_SHAPES_KEPT:-}
	chmod 755 "$2" || return 1
	if [ -f "${kept:-/}/shapes.gguf" ]; then
		cp "$kept"/* "$2/"
		return
	fi
	draw_shapes "$@" || return 1
	[ -z "$kept" ] || { mkdir -p "$kept" && cp "$2"/{shapes.gguf,star.ppm} "$kept/"; }
}

draw_shapes() {
		"$1/draw.py" 100 1 "$2/pictures.bin" &&
		"$1/draw.py" --labels >"$2/labels.txt" &&
		"$1/draw.py" --ppm star 7 "$2/star.ppm" &&
		bitshed-model import "$1/shapes.onnx" -o "$2/shapes.gguf" --planes 4 --scale 0.00392156862745098 \
			--mean 0.5,0.5,0.5 --std 1,1,1 --calibrate "$2/pictures.bin" --labels "$2/labels.txt" &&
		chmod 644 "$2"/*
}

finish() {
	echo "$((checks - failures)) of $checks checks passed"
	[ "$failures" = 0 ]
}
