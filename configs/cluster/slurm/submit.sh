#!/bin/bash
# Servers, generation and training as jobs that depend on each other; from the checkout, on a file system
# that all nodes see:
#   CONFIG=configs/paper.yaml configs/cluster/slurm/submit.sh --account=NAME
# Arguments go to every sbatch. The servers end with the generation, however it ended.
set -euo pipefail
recipes=configs/cluster/slurm

servers=$(sbatch --parsable "$@" "$recipes/servers.sbatch")
generate=$(SERVERS_JOB="$servers" sbatch --parsable --dependency="after:$servers" "$@" \
    "$recipes/generate.sbatch")
sbatch --parsable --job-name=avrt-end-servers --dependency="afterany:$generate" "$@" \
    --wrap "scancel $servers" >/dev/null
train=$(sbatch --parsable --dependency="afterok:$generate" "$@" "$recipes/train.sbatch")
echo "servers $servers, generation $generate, training $train"
