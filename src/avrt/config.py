"""The typed configuration of a run: its sections joined, read, overridden and written.

Reads a YAML file and `section.key=value` overrides; refuses unknown keys and impossible values with
one message. Each value lives in exactly one section, in `avrt.settings` or `avrt.settings_media`.
Nothing heavy is imported here: `avrt --help` and `--dry-run` stay instant.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from avrt.errors import ConfigError
from avrt.eval_settings import EvalConfig, EvalModel
from avrt.settings import (
    TEACHERS,
    BuildConfig,
    DataConfig,
    EngineConfig,
    GenerateConfig,
    GrpoConfig,
    LoraConfig,
    ModelRole,
    ReportConfig,
    RunConfig,
    Section,
    SftConfig,
    StudentConfig,
    TeacherName,
    TeacherRole,
)
from avrt.settings_media import MediaConfig, PrepareConfig

__all__ = [
    "BuildConfig",
    "Config",
    "DataConfig",
    "EngineConfig",
    "EvalConfig",
    "EvalModel",
    "GenerateConfig",
    "GrpoConfig",
    "LoraConfig",
    "MediaConfig",
    "ModelRole",
    "PrepareConfig",
    "ReportConfig",
    "RunConfig",
    "SftConfig",
    "StudentConfig",
    "TeacherRole",
    "dump_config",
    "load_config",
]


class Config(Section):
    """The whole configuration of a run."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    media: MediaConfig = MediaConfig()
    prepare: PrepareConfig = PrepareConfig()
    teachers: dict[TeacherName, TeacherRole] = TEACHERS
    """The models that answer the questions, by name."""
    generate: GenerateConfig = GenerateConfig()
    merger: ModelRole = ModelRole(model="Qwen/Qwen2.5-14B-Instruct", prompt="merge")
    build: BuildConfig = BuildConfig()
    student: StudentConfig = StudentConfig()
    sft: SftConfig = SftConfig()
    grpo: GrpoConfig = GrpoConfig()
    eval: EvalConfig = EvalConfig()
    judge: ModelRole = ModelRole(model="Qwen/Qwen2.5-14B-Instruct", prompt="rubric")
    report: ReportConfig = ReportConfig()


def load_config(path: Path | None, overrides: tuple[str, ...] = ()) -> Config:
    """Merge file and `section.key=value` overrides (values are YAML), validate once.

    Raises:
        ConfigError: unreadable file, an override without "=", an unknown key or an impossible
            value.
    """
    tree = _read_yaml(path) if path else {}
    # A preset on the command line wins over the file, and other overrides win over the preset.
    for override in sorted(overrides, key=lambda one: not _names_preset(one)):
        _apply(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        origin = str(path) if path else "command line"
        problems = [_explain(origin, dict(problem)) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML, every default written out, paths relative to the working
    directory.
    """
    tree = _relative_paths(config.model_dump(mode="json"))
    tree["teachers"] |= dict.fromkeys(TEACHERS.keys() - config.teachers.keys())  # left out: null
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        found = type(tree).__name__
        raise ConfigError(f"{path}: expected sections such as `run:` and `data:`, found {found}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *sections, name = key.split(".")
    node = tree
    for section in sections:
        if node.get(section) is None:  # not there, or null: switched off
            node[section] = {}
        child = node[section]
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {section!r} is a value, not a section")
        node = child
    try:
        node[name] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not valid YAML") from error
    if _names_preset(override) and isinstance(node[name], str):
        from avrt.presets import take_over

        take_over(node)


def _names_preset(override: str) -> bool:
    return override.partition("=")[0].endswith(".preset")


def _explain(origin: str, problem: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{origin}: unknown key {where!r}{_suggestion(problem['loc'])}"
    return f"{origin}: {where or 'configuration'} = {problem['input']!r}: {problem['msg']}"


def _suggestion(location: tuple[str | int, ...]) -> str:
    import difflib

    node: Any = Config().model_dump()
    for part in location[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        return ""
    close = difflib.get_close_matches(str(location[-1]), list(node), n=1)
    if not close:
        return f"; known keys: {', '.join(node)}"
    return f"; did you mean {'.'.join(str(part) for part in (*location[:-1], close[0]))!r}?"


def _relative_paths(tree: Any) -> Any:
    """Models and prompts are texts that may be paths, so every absolute path counts."""
    if isinstance(tree, dict):
        return {key: _relative_paths(value) for key, value in tree.items()}
    if isinstance(tree, str) and Path(tree).is_absolute():
        return os.path.relpath(tree)
    return tree
