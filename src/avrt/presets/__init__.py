"""Presets: models with everything a role says about them, as packaged YAML files.

One file per use of a model. `teachers.vision.preset=NAME` or `merger.preset=NAME` puts its `role`
in the place of the default; settings given beside it win. The other fields are for people: how to
serve the model, how its replies are read, under which terms, on what hardware.
"""

from __future__ import annotations

import copy
import difflib
from functools import cache
from importlib import resources
from textwrap import fill
from typing import Any

import yaml
from pydantic import ValidationError

from avrt.config import ModelRole, Section, TeacherRole
from avrt.errors import ConfigError

__all__ = [
    "Preset",
    "check_modality",
    "complete_eval_model",
    "complete_role",
    "load_preset",
    "parse_preset",
    "preset_names",
    "render",
    "render_all",
    "take_over",
]

_ROOT = resources.files(__name__)
_PROSE = ("parser", "licence", "needs", "note")


class Preset(Section):
    """One use of a model: as a teacher when its role has a modality, else as the merger."""

    title: str
    role: dict[str, Any]
    """Settings of a `TeacherRole` or a `ModelRole`."""
    serve: str
    """The command that serves the model at `role.model`."""
    parser: str
    """How a reply is read: the marks of thinking, and where the answer stands."""
    licence: str
    """Its name, a colon, and what it means for the texts that the model writes."""
    needs: str
    """Memory, roughly, and where the figure comes from."""
    note: str
    """What was tried and what was not, traps, and where the facts come from."""


def preset_names() -> list[str]:
    """All packaged presets."""
    files = (file.name for file in _ROOT.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


@cache
def load_preset(name: str) -> Preset:
    """The packaged preset of that name.

    Raises:
        ConfigError: there is none, or its file is not a preset.
    """
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.4)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(f"no preset {name!r}; {meant}`avrt teachers` lists all")
    return parse_preset(name, _ROOT.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def parse_preset(name: str, text: str) -> Preset:
    """The preset in the text of a file.

    Raises:
        ConfigError: not YAML, an unknown or missing key, or a role that is none.
    """
    try:
        preset = Preset.model_validate(yaml.safe_load(text))
        kind = TeacherRole if "modality" in preset.role else ModelRole
        kind.model_validate(preset.role)
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"preset {name}: {error}") from error
    return preset


def check_modality(name: str, wanted: str | None) -> None:
    """The packaged teachers stay what they are called: `vision` is not replaced by ears.

    Raises:
        ConfigError: no such preset, or a teacher's of another modality than `wanted`.
    """
    found = load_preset(name).role.get("modality")
    if None not in (wanted, found) and wanted != found:
        raise ConfigError(
            f"preset {name!r} has modality {found} and would replace a teacher of modality "
            f"{wanted}; choose another (`avrt teachers` lists all), or give the teacher another "
            "name"
        )


def complete_role(values: dict[str, Any], for_teacher: bool) -> dict[str, Any]:
    """The role of the preset that `values` names, with what they set besides.

    Raises:
        ConfigError: no such preset, or one of a teacher for the merger, or the other way round.
    """
    role = load_preset(values["preset"]).role
    if for_teacher != ("modality" in role):
        place, other = ("a teacher", "the merger") if for_teacher else ("merger", "a teacher")
        raise ConfigError(
            f"preset {values['preset']!r} is for {other}, not for {place}; "
            "`avrt teachers` says what each preset is for"
        )
    return _merged(role, values)


def complete_eval_model(values: dict[str, Any]) -> dict[str, Any]:
    """The evaluated model that `values` names, a baseline or a teacher, with what they set besides.

    Raises:
        ConfigError: no such preset, one of a merger, or a baseline without a checkpoint.
    """
    from avrt.evaluate.published import baselines, role_of

    name = values["preset"]
    if name in baselines():
        return _merged(role_of(name), values)
    if name not in preset_names():
        close = difflib.get_close_matches(name.lower(), [*baselines(), *preset_names()], n=3)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(
            f"no preset {name!r}; {meant}`avrt baselines` and `avrt teachers` list all"
        )
    role = load_preset(name).role
    if "modality" not in role:
        raise ConfigError(f"preset {name!r} is for the merger, which sees no clip")
    return _merged(role, values)


def take_over(role: dict[str, Any]) -> None:
    """Write the values of the preset that `role` names over its others, in place.

    Raises:
        ConfigError: no such preset.
    """
    role.update(_merged(role, copy.deepcopy(load_preset(role["preset"]).role)))


def render_all() -> str:
    """All presets as a table: name, model, modality, licence."""
    rows = [("PRESET", "MODEL", "FOR", "LICENCE")]
    for name in preset_names():
        preset = load_preset(name)
        licence = preset.licence.partition(":")[0]
        rows.append((name, preset.role["model"], _use(preset), licence))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]]
        )
        for row in rows
    )


def render(name: str) -> str:
    """The whole preset, as one reads it."""
    preset = load_preset(name)
    role = yaml.safe_dump(preset.role, sort_keys=False, allow_unicode=True)
    place = "teachers.NAME" if "modality" in preset.role else "merger"
    parts = [
        ("role", role.strip()),
        ("serve", preset.serve),  # one line, to be copied
        *((field, fill(getattr(preset, field), 96, break_on_hyphens=False)) for field in _PROSE),
    ]
    head = f"{name}: {preset.title}\nuse it with {place}.preset={name}"
    return "\n\n".join([head, *(f"{title}\n{_indented(text)}" for title, text in parts)])


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `over` sets, section by section."""
    both = {
        key: _merged(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], dict) and isinstance(over[key], dict)
    }
    return base | over | both


def _use(preset: Preset) -> str:
    return f"teacher, {preset.role['modality']}" if "modality" in preset.role else "merger"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
