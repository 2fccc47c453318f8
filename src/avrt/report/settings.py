"""The configuration that a run was made with, for readers: without paths of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import yaml

from avrt.errors import ConfigError

__all__ = ["flat_settings", "settings_text"]


def settings_text(run: Path) -> str:
    """The run's configuration; paths that tell about this machine are cut to their last part."""
    tree = _read(run)
    return "" if tree is None else yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def flat_settings(run: Path) -> dict[str, str]:
    """Every setting of a run as `section.key` and its value."""
    return dict(_flat(_read(run) or {}, ""))


def _flat(tree: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, yaml.safe_dump(tree, default_flow_style=True, allow_unicode=True).split("\n")[0]


def _read(run: Path) -> Any:
    path = run / "config.yaml"
    if not path.is_file():
        return None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: not valid YAML: {error}; run a stage again to write it"
        ) from error
    return _without_outer_paths(tree)


def _without_outer_paths(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_outer_paths(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_without_outer_paths(value) for value in tree]
    if isinstance(tree, str) and (PurePath(tree).is_absolute() or tree.startswith("../")):
        return f"…/{PurePath(tree).name}"
    return tree
