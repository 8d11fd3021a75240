# SPDX-License-Identifier: Apache-2.0
# bash completion of bitshed-model(1): options and methods are those that its own help names

_bitshed_model() {
	local cur prev words cword command
	_init_completion || return

	if ((cword == 1)); then
		COMPREPLY=($(compgen -W 'import inspect evaluate run compare sweep pack unpack classes analyse train tune bench --help --version' -- "$cur"))
		return
	fi
	command=${words[1]}

	case $prev in
	--method)
		COMPREPLY=($(compgen -W "$(bitshed-model "$command" --help 2>/dev/null |
			sed '1,/^Methods:/d; s/^ *\([a-z-]*\).*/\1/')" -- "$cur"))
		return ;;
	--color) COMPREPLY=($(compgen -W 'rgb bgr' -- "$cur")); return ;;
	--coder) COMPREPLY=($(compgen -W 'zstd huffman arithmetic' -- "$cur")); return ;;
	--clip) COMPREPLY=($(compgen -W 'min-max percentile mse kl aciq' -- "$cur")); return ;;
	--transform) COMPREPLY=($(compgen -W 'klt elt' -- "$cur")); return ;;
	--schedule) COMPREPLY=($(compgen -W 'cosine step flat' -- "$cur")); return ;;
	--optimiser) COMPREPLY=($(compgen -W 'sgd adam amsgrad' -- "$cur")); return ;;
	--device) COMPREPLY=($(compgen -W 'cpu opencl' -- "$cur")); return ;;
	-o | --output | --calibrate | --evaluate | --data | --folder | --labels | --evaluate-labels | --data-labels | --checkpoint | --log | --cache) _filedir; return ;;
	--planes | --edge-planes | --activation-bits) COMPREPLY=($(compgen -W '1 2 3 4 5 6 7 8' -- "$cur")); return ;;
	esac

	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(bitshed-model "$command" --help 2>/dev/null |
			grep -o -e '--[a-z-]*')" -- "$cur"))
		return
	fi
	case $command:$cword in
	import:2 | compare:2 | train:2) _filedir onnx ;;
	compare:3 | inspect:2 | evaluate:2 | run:2 | pack:2 | classes:2 | analyse:2 | tune:2 | bench:2) _filedir gguf ;;
	*) _filedir ;;
	esac
} && complete -F _bitshed_model bitshed-model
