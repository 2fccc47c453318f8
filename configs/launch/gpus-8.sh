#!/usr/bin/env bash
# Training on eight GPUs of one machine, with DeepSpeed ZeRO-2.
#   gpus-8.sh sft paper.yaml student.model=thinker
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings on the command line win.
name=gpus-8
options=()
settings=(student.deepspeed=zero2 sft.gradient_accumulation_steps=4 grpo.prompts_per_step=4)
source "$(dirname "${BASH_SOURCE[0]}")/start.sh"
