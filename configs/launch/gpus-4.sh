#!/usr/bin/env bash
# Training on four GPUs of one machine, with DeepSpeed ZeRO-2.
#   gpus-4.sh sft paper.yaml student.model=thinker
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings on the command line win.
name=gpus-4
options=()
settings=(student.deepspeed=zero2 sft.gradient_accumulation_steps=8 grpo.prompts_per_step=8)
source "$(dirname "${BASH_SOURCE[0]}")/start.sh"
