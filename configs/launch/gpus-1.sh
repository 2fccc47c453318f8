#!/usr/bin/env bash
# Training on one GPU.
#   gpus-1.sh sft paper.yaml student.model=thinker
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings on the command line win.
name=gpus-1
options=()
settings=(student.deepspeed=null sft.gradient_accumulation_steps=32 grpo.prompts_per_step=32)
source "$(dirname "${BASH_SOURCE[0]}")/start.sh"
