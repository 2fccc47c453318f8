# Sourced by the launch files: starts `avrt STAGE FILES... SETTINGS...` with the processes of $name.yaml.
# $settings stand behind the files, so that they win over those, and the caller's own over them.
set -euo pipefail
stage="${1:?name a stage, sft or grpo, then configurations and settings}"
shift
files=()
while [[ $# -gt 0 && "$1" != *=* && "$1" != -* ]]; do
    files+=("$1")
    shift
done
exec accelerate launch --config_file "$(dirname "${BASH_SOURCE[0]}")/$name.yaml" "${options[@]}" \
    -m avrt "$stage" "${files[@]}" sft.per_device_batch_size=1 "${settings[@]}" "$@"
