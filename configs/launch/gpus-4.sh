#!/usr/bin/env bash
# Training on four GPUs of one machine, with DeepSpeed ZeRO-2.
#   gpus-4.sh sft paper.yaml student.model=thinker
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings that follow win.
set -euo pipefail
exec accelerate launch --config_file "$(dirname "${BASH_SOURCE[0]}")/gpus-4.yaml" -m avrt "$1" \
    student.deepspeed=zero2 sft.per_device_batch_size=1 sft.gradient_accumulation_steps=8 grpo.prompts_per_step=8 "${@:2}"
