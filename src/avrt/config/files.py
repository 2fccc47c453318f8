"""YAML as a configuration is written in: a key that stands twice is refused with both lines.

The decision to question: numbers and dates mean what YAML 1.2 says. In YAML 1.1, which the library
reads, 010 is 8, 12:30 is 750, 2024-01-01 is a date and 1e-5 is a text. `no` stays false, because a
server's switch may be written so; where a text belongs it is refused.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
from pathlib import Path
from typing import Any

import yaml

from avrt.errors import ConfigError, DataError
from avrt.texts import clean, read_text, shown

__all__ = ["parse_yaml", "read_yaml", "write_yaml"]

_PLAIN = {
    "bool": (
        "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
        "yYnNtTfFoO",
    ),
    "null": ("~|null|Null|NULL|", "~nN\0"),
    "int": (r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\d[\d_]*(?:\.[\d_]*|(?=[eE]))|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)",
        "-+0123456789.",
    ),
    "merge": ("<<", "<"),
}
"""Words without quotes that are not texts, by their type, and their first characters; `\\0` stands
for nothing at all.
"""


MAX_VALUES = 100_000
"""Values of a file; aliases of aliases can make billions of a few lines."""


class _Repeated(yaml.YAMLError):
    """A key that stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which by itself keeps the last of several values without a word, and makes
    values without end.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the library's table; ours is filled in below

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if node is not None and node.end_mark is None:  # an alias of a node that still begins
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"an alias stands inside the value that it names (line {line})")
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}  # by what is read: `no` and `off` are one key
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line, read = key.start_mark.line + 1, self.construct_object(key)
            if read in lines:
                name = shown(key.value)[1:-1]
                raise _Repeated(f"`{name}` stands at lines {lines[read]} and {line}")
            lines[read] = line
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        return clean(super().construct_scalar(node))


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that either YAML would take for something else."""


for _name, (_pattern, _first) in _PLAIN.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}",
            re.compile(f"(?:{_pattern})$"),
            [character.strip("\0") for character in _first],
        )


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; half surrogate pairs and NUL in its texts become U+FFFD.

    Raises:
        yaml.YAMLError: not YAML, a key stands twice in one mapping, an alias holds itself, or
            aliases and nesting make more of the text than any configuration is.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _size(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases make over {MAX_VALUES:,} values of it")
        return None if node is None else loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise yaml.YAMLError(f"line {line}: {shown(text[error.position])} is no text") from error
    except yaml.MarkedYAMLError as error:  # the library's own message takes many lines
        said = ", ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise yaml.YAMLError(place + shown(said, 300)[1:-1]) from error
    except RecursionError as error:
        raise yaml.YAMLError("too many levels of nesting") from error
    except (AttributeError, TypeError, ValueError) as error:  # the library lets them through
        raise yaml.YAMLError(f"a value is not what its form or tag says: {error}") from error


def _size(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """The number of values that a node stands for, with what its aliases repeat."""
    if id(node) not in sizes:
        parts: Any = getattr(node, "value", ())
        if isinstance(node, yaml.MappingNode):
            parts = itertools.chain.from_iterable(parts)
        elif not isinstance(node, yaml.SequenceNode):
            parts = ()
        sizes[id(node)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The sections of a configuration file.

    Raises:
        ConfigError: unreadable, not text in UTF-8 or UTF-16, not YAML, a key that stands twice, or
            something else than sections.
    """
    try:
        tree = parse_yaml(read_text(path))
    except DataError as error:
        raise ConfigError(f"{error}{_hint(path)}") from error
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


def _hint(path: Path) -> str:
    """What a person may have meant by the name of a file that cannot be read."""
    beside: list[str] = []
    with contextlib.suppress(OSError, ValueError):  # a name that no disk can have
        if not path.exists():
            beside = [found.name for found in path.parent.glob("*.y*ml")]
    if close := difflib.get_close_matches(path.name, beside, n=1):
        return f"; did you mean {path.with_name(close[0])}?"
    is_yaml = path.suffix in (".yaml", ".yml")
    return "" if is_yaml else "; give a value of a setting as section.key=value"


def write_yaml(tree: Any) -> str:
    """YAML that `parse_yaml` and other programs read back as the same values."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
