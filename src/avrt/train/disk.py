"""Complete checkpoints of a killed training, and one message about a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from avrt.errors import AvrtError

__all__ = ["complete_checkpoints", "describe_last", "naming_full_disks"]


def complete_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints that were written to their end, in order of their steps."""
    written = [
        path.parent
        for path in folder.glob("checkpoint-*/trainer_state.json")  # the file that comes last
        if _is_json(path)
    ]
    return sorted(written, key=lambda path: int(path.name.partition("-")[2]))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


@contextmanager
def naming_full_disks(folder: Path) -> Iterator[None]:
    """Turn the many errors of a full disk into one message about `folder`.

    Raises:
        AvrtError: a file in the stage's folder could not be written for lack of space.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_about_space(error):
            raise
        raise AvrtError(
            f"{folder}: the disk is full, or a limit on the size of files was reached: {error}; "
            f"{describe_last(folder)}; free space and run the same command again: it continues "
            "from there"
        ) from error


def describe_last(folder: Path) -> str:
    """Say which checkpoint a stage's folder would be continued from."""
    complete = complete_checkpoints(folder / "checkpoints")
    return f"the last good checkpoint is {complete[-1]}" if complete else "no checkpoint yet"


def _is_about_space(error: BaseException) -> bool:
    """Recognise a full disk; safetensors and torch put the error's number in a text, or lose it."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    texts = [f"os error {number}" for number in numbers]
    texts += [os.strerror(number) for number in numbers]
    texts += ["PytorchStreamWriter failed writing", "unexpected pos"]
    by_number = isinstance(error, OSError) and error.errno in numbers
    return by_number or any(text in str(error) for text in texts)
