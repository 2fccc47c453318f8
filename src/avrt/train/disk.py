"""What a killed training, or a full disk, leaves behind, and what is said about it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from avrt.errors import AvrtError

__all__ = ["complete_checkpoints", "naming_full_disks"]


def complete_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that were written to their end, in order of their steps."""
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
    """Turn what a full disk raises, in its many forms, into one message about `folder`.

    Raises:
        AvrtError: something in the stage's folder could not be written for lack of space.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_about_space(error):
            raise
        complete = complete_checkpoints(folder / "checkpoints")
        kept = f"the last good checkpoint is {complete[-1]}" if complete else "no checkpoint yet"
        raise AvrtError(
            f"{folder}: the disk is full, or a limit on the size of files was reached: {error}; "
            f"{kept}; free some space and run the same command again, it goes on from there"
        ) from error


def _is_about_space(error: BaseException) -> bool:
    """Also for safetensors and torch, which keep the number of the error in their text, or lose
    it.
    """
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    texts = [f"os error {number}" for number in numbers]
    texts += [os.strerror(number) for number in numbers]
    texts += ["PytorchStreamWriter failed writing", "unexpected pos"]
    by_number = isinstance(error, OSError) and error.errno in numbers
    return by_number or any(text in str(error) for text in texts)
