#!/bin/bash
# Generation as a job of a Ray cluster that is up, its models in the workers' GPUs:
#   ray dashboard configs/cluster/ray/cluster.yaml      # in another terminal: forwards the port
#   configs/cluster/ray/generate.sh
# The job's output follows; `ray job stop` ends it, and the same command goes on.
set -euo pipefail
AVRT_DIR="${AVRT_DIR:-/shared/avrt}"
CONFIG="${CONFIG:-configs/paper.yaml}"

submit() {
    ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" -- \
        env --chdir "$AVRT_DIR" PATH="$AVRT_DIR/.venv/bin:$PATH" "$@"
}

submit avrt prepare "$CONFIG" run.on=ray
submit avrt generate "$CONFIG" configs/cluster/in-process.yaml run.on=ray
