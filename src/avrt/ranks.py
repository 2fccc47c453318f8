"""Which process of a launch this is: torchrun tells it in the environment.

Imports nothing heavy: the command line asks too, before it knows whether torch is needed.
"""

from __future__ import annotations

import os

__all__ = ["is_launched", "is_main", "n_processes", "rank"]


def is_launched() -> bool:
    """Whether torchrun or a launcher like it started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def n_processes() -> int:
    """Processes that train together; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if is_launched() else 1


def rank() -> int:
    """The number of this process in its launch; 0 without a launcher."""
    return int(os.environ["RANK"]) if is_launched() else 0


def is_main() -> bool:
    """Whether this process writes files and the terminal; the only one without a launcher."""
    return rank() == 0
