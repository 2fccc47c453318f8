#!/usr/bin/env bash
# Training on one GPU.
#   gpus-1.sh sft paper.yaml student.model=thinker
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings that follow win.
set -euo pipefail
exec accelerate launch --config_file "$(dirname "${BASH_SOURCE[0]}")/gpus-1.yaml" -m avrt "$1" \
    student.deepspeed=null sft.per_device_batch_size=1 sft.gradient_accumulation_steps=32 grpo.prompts_per_step=32 "${@:2}"
