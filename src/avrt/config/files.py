"""YAML as a configuration is written in: a key that stands twice is refused with both lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from avrt.errors import ConfigError

__all__ = ["parse_yaml", "read_yaml"]


class _Repeated(yaml.YAMLError):
    """A key that stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which by itself keeps the last of several values without a word, and makes
    values without end.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if node is not None and node.end_mark is None:  # an alias of a node that still begins
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"an alias stands inside the value that it names (line {line})")
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                raise _Repeated(f"`{key.value}` stands at lines {first} and {line}")
            lines[key.tag, key.value] = line
        return node


def parse_yaml(text: str | bytes) -> Any:
    """The value of a YAML text; bytes may be UTF-8 or, with their mark, UTF-16.

    Raises:
        yaml.YAMLError: not YAML, a key stands twice in one mapping, or an alias holds itself.
    """
    return yaml.load(text, _Loader)


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a configuration file.

    Raises:
        ConfigError: unreadable, not text in UTF-8 or UTF-16, not YAML, a key that stands twice, or
            something else than sections.
    """
    try:
        tree = parse_yaml(path.read_bytes())
    except OSError as error:
        is_yaml = path.suffix in (".yaml", ".yml")
        hint = "" if is_yaml else "; give a value of a setting as section.key=value"
        raise ConfigError(
            f"{path}: cannot read the configuration: {error.strerror}{hint}"
        ) from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except _Repeated as error:
        raise ConfigError(f"{path}: {error}; keep one of them") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise ConfigError(f"{path}: expected sections such as `run:` and `data:`, found {kind}")
    return tree
