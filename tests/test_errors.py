from __future__ import annotations

import os
import subprocess
import sys

import pytest

from avrt import errors
from avrt.errors import MEDIA_ERROR_CLASSES, AvrtError, MediaError


def test_a_media_error_of_an_unknown_class_is_a_defect():
    with pytest.raises(ValueError, match="'broken' is not one of"):
        MediaError("broken", "clip.mp4", "cannot be read")


@pytest.mark.parametrize("error_class", MEDIA_ERROR_CLASSES)
def test_a_media_error_says_file_class_and_detail(error_class):
    error = MediaError(error_class, "clip.mp4", "the end is missing")
    assert str(error) == f"clip.mp4: {error_class}: the end is missing"
    assert (error.error_class, error.path, error.detail) == (
        error_class,
        "clip.mp4",
        "the end is missing",
    )


def test_wrong_use_exits_with_2_and_a_failure_with_1():
    classes = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    assert all(issubclass(found, AvrtError) for found in classes.values())
    codes = {name: found.exit_code for name, found in classes.items()}
    assert codes == {
        "AvrtError": 1,
        "ConfigError": 2,
        "DataError": 2,
        "EngineError": 1,
        "LaunchError": 1,
        "MediaError": 1,
    }


@pytest.mark.parametrize("command", ["prepare", "stats", "config copy paper", "world make w"])
def test_a_folder_that_is_gone_is_one_message(tmp_path, command):
    script = f"cd gone && rmdir ../gone && exec {sys.executable} -m avrt {command}"
    (tmp_path / "gone").mkdir()
    paths = {"PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))}
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.count("\n") == 1, done.stderr
    assert ": No such file or directory; put it back, or choose a folder that" in done.stderr
    assert done.returncode == 1
