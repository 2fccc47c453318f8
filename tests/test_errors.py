from __future__ import annotations

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
        "MediaError": 1,
    }
