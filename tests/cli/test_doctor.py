"""The doctor names what is missing with its remedy, and nothing about the machine's folders."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from avrt.cli import doctor
from avrt.cli.doctor import Check, examine, render


@pytest.fixture
def find(monkeypatch):
    def get(name: str) -> Check:
        return next(check for check in examine() if check.name == name)

    return get


@pytest.fixture
def set_version(monkeypatch):
    """Let a package be installed in another version, or not at all."""
    real = importlib.metadata.version

    def set_to(package: str, version: str | None) -> None:
        def answer(name: str) -> str:
            if name != package:
                return real(name)
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(importlib.metadata, "version", answer)

    return set_to


def test_a_missing_core_package_fails_and_a_missing_extra_warns(find, set_version):
    set_version("av", None)
    assert (find("av").status, find("av").remedy) == (
        "fail",
        "pip install -c constraints.txt -e .",
    )
    set_version("matplotlib", None)
    assert find("matplotlib").status == "warn"
    assert find("matplotlib").remedy.endswith("'.[report]'")


@pytest.mark.parametrize(
    ("version", "status"),
    [("5.20.9", "warn"), ("5.21.0", "ok"), ("5.23.9+cpu", "ok"), ("5.24.0", "warn")],
)
def test_versions_outside_the_tried_range_warn(find, set_version, version, status):
    set_version("transformers", version)
    assert find("transformers").status == status


def test_torch_that_cannot_be_imported_is_a_warning_with_a_remedy(find, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert (find("torch device").status, find("torch device").remedy) == ("warn", "make setup")


def test_a_codec_that_is_not_there_is_named(find, monkeypatch):
    monkeypatch.setattr(doctor, "CODECS", (("h264", "r"), ("no_such_codec", "r")))
    assert find("h264 decoder").status == "ok"
    assert find("no_such_codec decoder").status == "fail"


def test_a_full_disk_and_little_memory_warn(find, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_DISK_GB", 10**9)
    monkeypatch.setattr(doctor, "MIN_MEMORY_GB", 10**9)
    assert (find("disk").status, find("memory").status) == ("warn", "warn")


def test_every_packaged_model_is_there_with_its_card(find):
    weights = Path(doctor.__file__).parents[1] / "world" / "weights"
    assert set(doctor.WORLD_MODELS) == {path.name for path in weights.iterdir()}
    for name in doctor.WORLD_MODELS:
        assert find(f"world:{name}").status == "ok"


def test_a_model_without_weights_is_named(find, monkeypatch):
    monkeypatch.setattr(doctor, "WORLD_MODELS", ("absent",))
    assert find("world:absent").remedy.endswith("avrt world train")


def test_the_table_shows_remedies_only_where_they_are_needed():
    text = render([Check("a", "ok", "1.0", "not shown"), Check("bbb", "fail", "gone", "do it")])
    assert text.splitlines()[1:] == [
        "ok    a    1.0",
        "fail  bbb  gone",
        "           -> do it",
        "2 checks, 0 warnings, 1 failures",
    ]


def test_the_report_holds_no_folder_of_this_machine():
    text = render(examine())
    assert str(Path.cwd()) not in text
    assert str(Path.home()) + "/" not in text
    assert sys.prefix not in text
