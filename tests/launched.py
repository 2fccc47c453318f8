"""A training as torchrun starts it, whose rollouts are a function of the prompt alone.

Sampling draws from each process's own random state, so one process and two would train on different
completions; these are the same.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

from avrt.config import load_config
from avrt.ranks import is_main
from avrt.train import grpo
from avrt.train.omni_grpo import OmniGRPOTrainer

WORDS = range(30, 500)
"""Token ids of plain words."""


def scripted(self, prompt_ids, *_args, **_kwargs):
    """Completions (B) of up to six tokens, in the place of sampled ones."""
    completions = []
    for place, ids in enumerate(prompt_ids):
        draw = random.Random(f"{ids} {place % self.num_generations}")
        completions.append([*draw.choices(WORDS, k=draw.randint(2, 5)), self.eos_token_ids[0]])
    return completions, None


def script_rollouts(set_attribute: Callable[[object, str, object], None]) -> None:
    """Put `scripted` and a reward that tells completions apart in their places."""
    set_attribute(OmniGRPOTrainer, "_generate_single_turn", scripted)
    rewards = {**grpo.REWARDS, "format": lambda completion, *_: float(len(completion) % 5)}
    set_attribute(grpo, "REWARDS", rewards)


def main() -> None:
    """Run GRPO with the configuration named on the command line."""
    script_rollouts(setattr)
    result = grpo.run(load_config(Path(sys.argv[1])))
    if is_main():
        print(result.summary)


if __name__ == "__main__":
    main()
