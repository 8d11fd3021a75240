# SPDX-License-Identifier: Apache-2.0
# fish completion of bitshed(1)

function __bitshed_verb -d 'Whether the verb is given, and how many arguments after it'
    set -l given (string match -v -- '-*' (commandline -opc)[2..])
    test "$given[1]" = $argv[1]; and test (count $given) -eq (math $argv[2] + 1)
end

function __bitshed_models
    bitshed (string match -- '--bus=*' (commandline -opc)) --json models 2>/dev/null |
        string match -ra '"name": *"[^"]*"' | string replace -r '.*"([^"]*)"$' '$1'
end

complete -c bitshed -f
set -l verbs status models load unload infer bits profile hold why monitor devices doctor policy
set -l none "not __fish_seen_subcommand_from $verbs"
complete -c bitshed -n $none -a status -d 'The daemon, its devices and models'
complete -c bitshed -n $none -a models -d 'A table of the models'
complete -c bitshed -n $none -a load -d 'Load a model file'
complete -c bitshed -n $none -a unload -d 'Forget a model'
complete -c bitshed -n $none -a infer -d 'Classify an image or raw data'
complete -c bitshed -n $none -a bits -d 'Show or set the width of a model'
complete -c bitshed -n $none -a profile -d 'Show or set the profile'
complete -c bitshed -n $none -a hold -d 'Keep a model at a width'
complete -c bitshed -n $none -a why -d 'Which rule set the width of a model'
complete -c bitshed -n $none -a monitor -d 'Print changes as they happen'
complete -c bitshed -n $none -a devices -d 'What computes'
complete -c bitshed -n $none -a doctor -d 'Why an OpenCL device is not used'
complete -c bitshed -n $none -a policy -d 'Check, simulate, record and replay rules'

complete -c bitshed -n '__bitshed_verb unload 0' -a '(__bitshed_models)'
complete -c bitshed -n '__bitshed_verb infer 0' -a '(__bitshed_models)'
complete -c bitshed -n '__bitshed_verb bits 0' -a '(__bitshed_models)'
complete -c bitshed -n '__bitshed_verb bits 1' -a 'auto 1 2 3 4 5 6 7 8'
complete -c bitshed -n '__bitshed_verb hold 0' -a '(__bitshed_models)'
complete -c bitshed -n '__bitshed_verb hold 1' -a '(__fish_complete_command)'
complete -c bitshed -n '__bitshed_verb why 0' -a '(__bitshed_models)'
complete -c bitshed -n '__bitshed_verb profile 0' -a 'power-saver balanced performance'
complete -c bitshed -n '__bitshed_verb devices 0' -a retry
complete -c bitshed -n '__bitshed_verb load 1' -F
complete -c bitshed -n '__bitshed_verb infer 1' -F
complete -c bitshed -n '__bitshed_verb policy 0' -a 'check simulate record replay'
complete -c bitshed -n '__bitshed_verb policy 1' -F

set -l rehearsed '__fish_seen_subcommand_from policy'
complete -c bitshed -n $rehearsed -l trace -r -F -d 'simulate: inputs over time'
complete -c bitshed -n $rehearsed -l policy -r -F -d 'These rules'
complete -c bitshed -n $rehearsed -l model -r -F -d 'A model file'
complete -c bitshed -n $rehearsed -l rate -x -d 'Inferences per second'
complete -c bitshed -n $rehearsed -l plot -r -F -d 'Draw it'
complete -c bitshed -n $rehearsed -l interval -x -d 'record: seconds between two lines'
complete -c bitshed -n $rehearsed -l duration -x -d 'record: seconds'
complete -c bitshed -n $rehearsed -l output -r -F -d 'record: rather than standard output'

complete -c bitshed -l bus -x -a 'system session' -d 'Where the daemon is'
complete -c bitshed -l json -d 'For programs'
complete -c bitshed -n '__fish_seen_subcommand_from load' -l bits -x -d 'The width to begin with'
complete -c bitshed -n '__fish_seen_subcommand_from load' -l no-wait -d 'Do not wait until it is ready'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l min-bits -x -d 'Fail rather than run at less'
complete -c bitshed -n '__fish_seen_subcommand_from hold' -l min-bits -x -d 'What is kept'
complete -c bitshed -n '__fish_seen_subcommand_from hold' -l reason -x -d 'For a person who asks why'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l deadline -x -d 'Milliseconds; fail rather than be later'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l priority -x -d '-100 to 100, higher first'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l input -x -a 'pixels floats' -d 'What the file holds'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l top -x -d 'So many classes'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l repeat -x -d 'So many times'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l session -d 'Through shared memory'
complete -c bitshed -n '__fish_seen_subcommand_from infer' -l device -x -a 'any cpu prefer-opencl require-opencl' -d 'Where'
complete -c bitshed -s h -l help -d 'Show help'
complete -c bitshed -l version -d 'Show the version'
