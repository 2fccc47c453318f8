#!/usr/bin/env bash
# Training on two machines of eight GPUs, with DeepSpeed ZeRO-2; the same on both, but for the number:
#   HEAD=10.0.0.1 NODE=0 nodes-2.sh sft paper.yaml student.model=thinker     # on the machine HEAD
#   HEAD=10.0.0.1 NODE=1 nodes-2.sh sft paper.yaml student.model=thinker     # on the other one
# Both see the run directory and the clips under the same paths.
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings on the command line win.
name=nodes-2
options=(--main_process_ip "${HEAD:?set it to the address of the first machine}")
options+=(--machine_rank "${NODE:?set it to 0 on the first machine, to 1 on the other}")
settings=(student.deepspeed=zero2 sft.gradient_accumulation_steps=2 grpo.prompts_per_step=2)
source "$(dirname "${BASH_SOURCE[0]}")/start.sh"
