"""Which process of a launch this is: torchrun tells it in the environment.

Imports nothing heavy: the command line asks too, before it knows whether torch is needed.
"""

from __future__ import annotations

import os
from datetime import timedelta

__all__ = ["first_to_say", "is_launched", "is_main", "n_processes", "rank"]

STORE_S = 5.0
"""How long the launcher's store may take to answer."""


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


def first_to_say() -> bool:
    """Whether this process is the first of its launch to say why the launch ends.

    Of several processes that end for one reason, any may be the one that was killed, so none can
    be the one that speaks; the store of torchrun, which outlives them, counts. Without such a store
    every process is the first.
    """
    if not is_launched() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    key = f"avrt-said-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        store = TCPStore(
            address, port, None, False, timedelta(seconds=STORE_S), wait_for_workers=False
        )
        return store.add(key, 1) == 1
    except RuntimeError:  # the launcher itself is gone
        return True
