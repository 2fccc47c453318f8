"""Trainings one after another, as a launcher starts them: `launched.py sft:A.yaml grpo:B.yaml`.

A launch takes longer to start than these trainings take. GRPO gets a reward that tells completions
apart, which those of random weights do not earn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from avrt.cli import cli
from avrt.train import grpo


def tell_apart(set_attribute: Callable[[object, str, object], None]) -> None:
    """Put a reward that differs between completions in the place of the one for format."""
    rewards = {**grpo.REWARDS, "format": lambda completion, *_: float(len(completion) % 5)}
    set_attribute(grpo, "REWARDS", rewards)


def main() -> None:
    """Run the trainings named on the command line; end with the first that fails."""
    tell_apart(setattr)
    for training in sys.argv[1:]:
        stage, path = training.split(":", 1)
        if code := cli.main([stage, path], prog_name="avrt", standalone_mode=False):
            sys.exit(code)


if __name__ == "__main__":
    main()
