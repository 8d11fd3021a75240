# SPDX-License-Identifier: Apache-2.0
# bash completion of bitshed(1)

_bitshed_models() {
	bitshed "$@" --json models 2>/dev/null | sed 's/"name":/\n&/g' | sed -n 's/^"name": *"\([^"]*\)".*/\1/p'
}

_bitshed() {
	local cur prev words cword verb='' place=0 bus=() i
	_init_completion -n = || return

	for ((i = 1; i < cword; i++)); do
		case ${words[i]} in
		--bus=*) bus=("${words[i]}") ;;
		-*) ;;
		*) [ -z "$verb" ] && verb=${words[i]} || place=$((place + 1)) ;;
		esac
	done

	if [ "$verb" = policy ]; then
		case $cur in
		--*=*) _filedir ;;
		-*) COMPREPLY=($(compgen -W '--trace= --policy= --model= --rate= --plot= --json --bus= --interval=
				--duration= --output= --help --version' -- "$cur"))
			[[ ${COMPREPLY-} == *= ]] && compopt -o nospace ;;
		*) if ((place == 0)); then
				COMPREPLY=($(compgen -W 'check simulate record replay' -- "$cur"))
			else
				_filedir
			fi ;;
		esac
		return
	fi
	case $cur in
	--bus=*) COMPREPLY=($(compgen -W 'system session' -- "${cur#*=}")); return ;;
	--device=*) COMPREPLY=($(compgen -W 'any cpu prefer-opencl require-opencl' -- "${cur#*=}")); return ;;
	--input=*) COMPREPLY=($(compgen -W 'pixels floats' -- "${cur#*=}")); return ;;
	-*)
		COMPREPLY=($(compgen -W '--bus= --json --bits= --no-wait --min-bits= --deadline= --priority= --input=
			--top= --repeat= --session --device= --reason= --help --version' -- "$cur"))
		[[ ${COMPREPLY-} == *= ]] && compopt -o nospace
		return ;;
	esac

	case $verb:$place in
	:*) COMPREPLY=($(compgen -W 'status models load unload infer bits profile hold why monitor devices doctor policy' -- "$cur")) ;;
	unload:0 | infer:0 | bits:0 | why:0 | hold:0) COMPREPLY=($(compgen -W "$(_bitshed_models "${bus[@]}")" -- "$cur")) ;;
	load:1) _filedir gguf ;;
	infer:1) _filedir ;;
	hold:1) COMPREPLY=($(compgen -c -- "$cur")) ;;
	bits:1) COMPREPLY=($(compgen -W 'auto 1 2 3 4 5 6 7 8' -- "$cur")) ;;
	devices:0) COMPREPLY=($(compgen -W 'retry' -- "$cur")) ;;
	profile:0) COMPREPLY=($(compgen -W 'power-saver balanced performance' -- "$cur")) ;;
	esac
} && complete -F _bitshed bitshed
