# SPDX-License-Identifier: Apache-2.0
# fish completion of bitshed-model(1): options and methods are those that its own help names

function __bitshed_model_options
    bitshed-model (commandline -opc)[2] --help 2>/dev/null | string match -ra -- '--[a-z-]+' | sort -u
end

function __bitshed_model_methods
    bitshed-model (commandline -opc)[2] --help 2>/dev/null | sed '1,/^Methods:/d; s/^ *\([a-z-]*\).*/\1/'
end

set -l commands import inspect evaluate run compare sweep pack unpack classes analyse train tune bench
set -l none "not __fish_seen_subcommand_from $commands"
complete -c bitshed-model -n $none -f
complete -c bitshed-model -n $none -a import -d 'Make a model file of an ONNX network'
complete -c bitshed-model -n $none -a inspect -d 'Show a model file'
complete -c bitshed-model -n $none -a evaluate -d 'Measure accuracy and speed at each width'
complete -c bitshed-model -n $none -a run -d 'Classify one picture'
complete -c bitshed-model -n $none -a compare -d 'How often a model file agrees with its network'
complete -c bitshed-model -n $none -a sweep -d 'Methods and widths into a table and a plot'
complete -c bitshed-model -n $none -a pack -d 'Make a model file smaller, for distribution'
complete -c bitshed-model -n $none -a unpack -d 'Get the model file from a packed one'
complete -c bitshed-model -n $none -a classes -d 'Show classes that a width confuses'
complete -c bitshed-model -n $none -a analyse -d 'Show range and sparsity of the weights'
complete -c bitshed-model -n $none -a train -d 'Retrain a network for few bits'
complete -c bitshed-model -n $none -a tune -d 'Measure the kernels on the layers of a network'
complete -c bitshed-model -n $none -a bench -d 'Time one inference at each width'
complete -c bitshed-model -n "__fish_seen_subcommand_from $commands; and string match -q -- '-*' (commandline -ct)" \
    -a '(__bitshed_model_options)'
complete -c bitshed-model -l method -x -a '(__bitshed_model_methods)'
complete -c bitshed-model -l coder -x -a 'zstd huffman arithmetic'
complete -c bitshed-model -l color -x -a 'rgb bgr'
complete -c bitshed-model -l schedule -x -a 'cosine step flat'
complete -c bitshed-model -l optimiser -x -a 'sgd adam amsgrad'
complete -c bitshed-model -l transform -x -a 'klt elt'
complete -c bitshed-model -l clip -x -a 'min-max percentile mse kl aciq'
complete -c bitshed-model -l device -x -a 'cpu opencl'
complete -c bitshed-model -n $none -l version -d 'Show the version'
complete -c bitshed-model -n $none -l help -d 'Show help'
