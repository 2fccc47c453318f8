#!/bin/bash
# SFT, then GRPO, as jobs of a Ray cluster that is up, each on the eight GPUs of one of its nodes.
set -euo pipefail
AVRT_DIR="${AVRT_DIR:-/shared/avrt}"
CONFIG="${CONFIG:-configs/paper.yaml}" STUDENT="${STUDENT:-thinker}"

submit() {
    ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" \
        --entrypoint-num-gpus 8 -- \
        env --chdir "$AVRT_DIR" PATH="$AVRT_DIR/.venv/bin:$PATH" \
        torchrun --standalone --nproc-per-node 8 -m avrt "$@"
}

submit sft "$CONFIG" student.model="$STUDENT" sft.gradient_accumulation_steps=4
submit grpo "$CONFIG" student.model="$STUDENT" grpo.prompts_per_step=4
