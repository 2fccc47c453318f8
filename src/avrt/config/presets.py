"""Presets: models with everything a role says about them, as packaged YAML files.

One file per use of a model. `teachers.vision.preset=NAME` or `merger.preset=NAME` puts its `role`
above the default; settings given beside it win. The other fields are for people: how to
serve the model, how its replies are read, under which terms, on what hardware.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import cache, partial
from importlib import resources
from textwrap import fill
from typing import Any

import yaml
from pydantic import ValidationError

from avrt.config.baselines import baselines, role_of_baseline
from avrt.config.files import parse_yaml
from avrt.config.recipes import find_recipe
from avrt.config.roles import DEFAULT_ROLES, ModelRole, TeacherRole
from avrt.config.section import Section
from avrt.errors import ConfigError

__all__ = [
    "Preset",
    "expand_presets",
    "load_preset",
    "merge_trees",
    "parse_preset",
    "preset_names",
    "render",
    "render_all",
]

_ROOT = resources.files("avrt.config").joinpath("presets")
_PROSE = ("parser", "licence", "needs", "note")


class Preset(Section):
    """One use of a model: as a teacher when its role has a modality, else as the merger."""

    title: str
    role: dict[str, Any]
    """Settings of a `TeacherRole` or a `ModelRole`."""
    serve: str
    """The commands that serve the model at `role.model`, one a line: the last starts the server,
    those before it are needed once.
    """
    parser: str
    """How a reply is read: the marks of thinking, and where the answer stands."""
    licence: str
    """Its name, a colon, and its meaning for the texts that the model writes."""
    needs: str
    """Memory, roughly, and where the figure comes from."""
    note: str
    """The parts that were tried and that were not, traps, and where the facts come from."""


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
        raise ConfigError(f"no preset {name!r}; {meant}`avrt list teachers` lists all")
    return parse_preset(name, _ROOT.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))


def parse_preset(name: str, text: str) -> Preset:
    """The preset in the text of a file.

    Raises:
        ConfigError: not YAML, an unknown or missing key, or no valid role.
    """
    try:
        preset = Preset.model_validate(parse_yaml(text))
        kind = TeacherRole if "modality" in preset.role else ModelRole
        kind.model_validate(preset.role)
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"preset {name}: {error}") from error
    return preset


def merge_trees(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `over` sets, section by section.

    Both stay as they are, and the dictionaries of `over` are copied: YAML's aliases share them.
    """
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict):
            below = base.get(key)
            merged[key] = merge_trees(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def expand_presets(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with every role that names a preset completed by it, and `grpo` by its recipe; the
    tree stays as it is.

    Raises:
        ConfigError: no such preset or recipe, or a preset that does not fit its role; the message
            begins with the setting.
    """
    expanded = dict(tree)
    for section, role_of in (
        ("merger", partial(_text_role, "the merger")),
        ("rubric", partial(_grader_role, "the model that grades by rubrics")),
    ):
        if section in expanded:
            expanded[section] = _completed(section, expanded[section], role_of)
    if isinstance(teachers := tree.get("teachers"), dict):
        expanded["teachers"] = {
            name: _completed(f"teachers.{name}", role, partial(_teacher_role, name))
            for name, role in teachers.items()
        }
    if isinstance(judges := tree.get("judges"), dict):
        role_of = partial(_grader_role, "a judge")
        expanded["judges"] = {
            name: _completed(f"judges.{name}", role, role_of) for name, role in judges.items()
        }
    if isinstance(grpo := tree.get("grpo"), dict) and isinstance(grpo.get("recipe"), str):
        try:
            expanded["grpo"] = merge_trees(find_recipe(grpo["recipe"]).settings, grpo)
        except ConfigError as error:
            raise ConfigError(f"grpo.recipe: {error}") from error
    evaluation = tree.get("eval")
    if isinstance(evaluation, dict) and isinstance(models := evaluation.get("models"), dict):
        completed = {
            name: _completed(f"eval.models.{name}", role, _evaluated_role)
            for name, role in models.items()
        }
        expanded["eval"] = evaluation | {"models": completed}
    return expanded


def _completed(setting: str, role: Any, role_of: Callable[[str], dict[str, Any]]) -> Any:
    """The role of that setting with the preset that it names below it."""
    if not isinstance(role, dict) or not isinstance(role.get("preset"), str):
        return role
    try:
        return merge_trees(role_of(role["preset"]), role)
    except ConfigError as error:
        raise ConfigError(f"{setting}.preset: {error}") from error


def _teacher_role(name: str, preset: str) -> dict[str, Any]:
    """The packaged teachers stay what they are called: `vision` is not replaced by ears."""
    role = load_preset(preset).role
    if "modality" not in role:
        raise ConfigError(
            f"preset {preset!r} is for the merger, not for a teacher; "
            "`avrt list teachers` says what each preset is for"
        )
    wanted, modality = DEFAULT_ROLES["teachers"].get(name, {}).get("modality"), role["modality"]
    if wanted is not None and wanted != modality:
        raise ConfigError(
            f"preset {preset!r} has modality {modality} and would replace a teacher of "
            f"modality {wanted}; choose another (`avrt list teachers` lists all), or give the "
            "teacher another name"
        )
    return role


def _text_role(user: str, preset: str) -> dict[str, Any]:
    role = load_preset(preset).role
    if "modality" in role:
        raise ConfigError(
            f"preset {preset!r} is for a teacher, not for {user}; "
            "`avrt list teachers` says what each preset is for"
        )
    return role


def _grader_role(user: str, preset: str) -> dict[str, Any]:
    """A text model that grades is asked with its own prompt and sampling, not the merger's."""
    role = _text_role(user, preset)
    return {key: role[key] for key in ("model", "revision", "engine") if key in role}


def _evaluated_role(preset: str) -> dict[str, Any]:
    if preset in baselines():
        return role_of_baseline(preset)
    if preset not in preset_names():
        close = difflib.get_close_matches(preset.lower(), [*baselines(), *preset_names()], n=3)
        meant = f"did you mean {' or '.join(close)}? " if close else ""
        raise ConfigError(
            f"no preset {preset!r}; {meant}`avrt list baselines` and `avrt list teachers` list all"
        )
    role = load_preset(preset).role
    if "modality" not in role:
        raise ConfigError(f"preset {preset!r} is for the merger, which sees no clip")
    return {key: value for key, value in role.items() if key != "merge_thought"}


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
    """The whole preset, for reading."""
    preset = load_preset(name)
    role = yaml.safe_dump(preset.role, sort_keys=False, allow_unicode=True)
    section = "teachers.NAME" if "modality" in preset.role else "merger"
    parts = [
        ("role", role.strip()),
        ("serve", preset.serve),  # whole lines, to be copied
        *((field, fill(getattr(preset, field), 96, break_on_hyphens=False)) for field in _PROSE),
    ]
    head = f"{name}: {preset.title}\nuse it with {section}.preset={name}"
    return "\n\n".join([head, *(f"{title}\n{_indented(text)}" for title, text in parts)])


def _use(preset: Preset) -> str:
    return f"teacher, {preset.role['modality']}" if "modality" in preset.role else "merger"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
