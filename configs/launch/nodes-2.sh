#!/usr/bin/env bash
# Training on two machines of eight GPUs, with DeepSpeed ZeRO-2; the same on both, but for the rank:
#   HEAD=10.0.0.1 NODE=0 nodes-2.sh sft paper.yaml student.model=thinker     # on the machine HEAD
#   HEAD=10.0.0.1 NODE=1 nodes-2.sh sft paper.yaml student.model=thinker     # on the other one
# Both see the run directory and the clips under the same paths.
# A step takes 32 samples of SFT or 32 prompts of GRPO, as the paper's; settings that follow win.
set -euo pipefail
: "${HEAD:?set it to the address of the first machine}" "${NODE:?set it to 0 on the first machine, 1 on the other}"
exec accelerate launch --config_file "$(dirname "${BASH_SOURCE[0]}")/nodes-2.yaml" \
    --machine_rank "$NODE" --main_process_ip "$HEAD" -m avrt "$1" \
    student.deepspeed=zero2 sft.per_device_batch_size=1 sft.gradient_accumulation_steps=2 grpo.prompts_per_step=2 "${@:2}"
