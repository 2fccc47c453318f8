"""Lets opening a file fail in every new process, as a machine in trouble would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HOOK = """
import errno, os, signal, sys

NAME, HOW = os.environ["AVRT_TEST_NAME"], os.environ["AVRT_TEST_HOW"]

def audit(event, arguments):
    if event == "open" and str(arguments[0]).endswith(NAME):
        if HOW == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(getattr(errno, HOW), os.strerror(getattr(errno, HOW)), arguments[0])

sys.addaudithook(audit)
"""


def fail_opens(patch: pytest.MonkeyPatch, folder: Path, name: str, how: str) -> None:
    """Whoever opens a file with this end of its name gets the errno `how`, or is `killed`.

    It holds in processes that start while `patch` is in force; the hook lies in `folder`.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    patch.setenv("AVRT_TEST_NAME", name)
    patch.setenv("AVRT_TEST_HOW", how)
