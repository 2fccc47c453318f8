"""The doctor names what is missing with its remedy, and nothing about the machine's folders."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from avrt.cli import doctor, packages
from avrt.cli.doctor import Check, examine, render
from avrt.cli.packages import requirements


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
    assert find("core packages") == Check(
        "core packages", "fail", "not installed: av", "pip install avrt"
    )


@pytest.mark.parametrize("extra", ["data", "train", "deepspeed", "lora", "eval", "report", "dev"])
def test_every_extra_is_checked(find, monkeypatch, extra):
    required = [one for one in requirements() if one.extra == extra]
    assert required, "the metadata name it"

    def version(name: str) -> str:
        if name in {one.name for one in required[:1]}:
            raise importlib.metadata.PackageNotFoundError(name)
        return next(to for one in required if one.name == name for _, to in one.bounds)

    monkeypatch.setattr(doctor, "requirements", lambda: iter(required))
    monkeypatch.setattr(importlib.metadata, "version", version)
    check = find(f"extra {extra}")
    assert (check.status, check.detail) == ("warn", f"not installed: {required[0].name}")
    assert check.remedy == f'pip install "avrt[{extra}]"'


@pytest.mark.parametrize(
    ("version", "status"),
    [("5.20.9", "warn"), ("5.21.0", "ok"), ("5.23.9+cpu", "ok"), ("5.24.0", "warn")],
)
def test_versions_outside_the_bounds_warn_with_the_bounds(find, monkeypatch, version, status):
    required = packages.Requirement("transformers", "train", ((">=", "5.21"), ("<", "5.24")))
    monkeypatch.setattr(doctor, "requirements", lambda: iter([required]))
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    check = find("transformers")
    assert check.status == status
    if status == "warn":
        assert check.detail == f"{version}; AVRT asks for >=5.21, <5.24"
        assert check.remedy == 'pip install "avrt[train]"'


@pytest.mark.parametrize(
    ("line", "required"),
    [
        ("tqdm<5,>=4.66", ("tqdm", "", (("<", "5"), (">=", "4.66")))),
        ("soxr >= 0.4", ("soxr", "", ((">=", "0.4"),))),
        ("av", ("av", "", ())),
        ("trl~=1.16; extra == 'train'", ("trl", "train", ())),
        (
            'transformers[serving]<5.24,>=5.21; python_version > "3" and extra == "dev"',
            ("transformers", "dev", (("<", "5.24"), (">=", "5.21"))),
        ),
    ],
)
def test_the_lines_of_the_metadata_are_read(monkeypatch, line, required):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: [line])
    assert [*requirements()] == [packages.Requirement(*required)]


def test_a_copy_that_was_never_installed_is_said(find, monkeypatch):
    def refuse(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", refuse)
    assert (find("avrt").status, find("avrt").remedy) == ("warn", "pip install avrt")


def test_torch_that_cannot_be_imported_is_a_warning_with_a_remedy(find, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert (find("torch device").status, find("torch device").remedy) == (
        "warn",
        'pip install "avrt[train]"',
    )


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
