"""Write docs/config.md out of the configuration's schema, or check with `--check` that it is
current.

Reads `avrt.config`; the text of each setting is the docstring below its field, so code and page
cannot disagree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from avrt.config import Config, EvalModel, JudgeRole

__all__ = ["render"]

PAGE = Path("docs/config.md")

HEAD = """# Configuration

This page is generated from `src/avrt/config/`; run `make docs` after a change.

A configuration is a YAML file, or several, overridden on the command line:

```bash
avrt grpo configs/paper.yaml grpo.learning_rate=2e-6 run.name=faster --dry-run
avrt grpo configs/paper.yaml configs/paper-v2.yaml
```

Later files win over earlier ones, section by section, and the command line wins over all files.
`--dry-run` prints the resolved configuration and the plan, and stops. Values on the command line
are YAML too: `eval.modalities=[a,av]`, `data.limit=null`; null takes a teacher, a judge, a model or
a benchmark out. `~/` at the start of a path is the home folder. Unknown keys, keys that stand twice
and impossible values are refused. The resolved configuration is saved as `config.yaml` in the run
directory.

A preset stands below the settings beside it, and above those of earlier files; on the command line
it stands above all files and below the other values of the command line.
"""


def render() -> str:
    """Write the whole page."""
    judges = {"NAME": JudgeRole(model="that of the merger")}
    config = Config().model_copy(update={"judges": judges})
    model = EvalModel(model="base")
    return "\n".join([HEAD, *_sections(config, ""), *_sections(model, "eval.models.NAME.")])


def _sections(section: BaseModel, prefix: str, about: str = "") -> Iterator[str]:
    """Yield the table of the section's own settings, then those of its inner sections."""
    fields = type(section).model_fields
    values = {name: getattr(section, name) for name in fields}
    inner = {name: value for name, value in values.items() if isinstance(value, BaseModel)}
    absent = {
        name: section_type()
        for name, field in fields.items()
        if values[name] is None and (section_type := _optional_section(field)) is not None
    }
    named = {name: value for name, value in values.items() if _is_named(value)}
    if len(inner) + len(named) < len(values):
        yield f"## `{prefix.rstrip('.')}`\n"
        if about:
            yield f"{about}\n"
        yield "| setting | default | values | meaning |"
        yield "| --- | --- | --- | --- |"
        for name, value in values.items():
            if name not in inner and name not in named:
                yield _row(f"{prefix}{name}", value, fields[name])
        yield ""
    for name, value in (inner | absent).items():
        yield from _sections(value, f"{prefix}{name}.", _meaning(fields[name]))
    for name, parts in named.items():
        for part, value in parts.items():
            yield from _sections(value, f"{prefix}{name}.{part}.", _meaning(fields[name]))


def _optional_section(field: FieldInfo) -> type[BaseModel] | None:
    """Give the section that a setting holds unless it is null, such as `student.lora`."""
    parts = get_args(field.annotation)
    if type(None) not in parts:
        return None
    return next(
        (part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None
    )


def _is_named(value: Any) -> bool:
    """True for sections by name, such as the teachers."""
    return isinstance(value, dict) and any(isinstance(part, BaseModel) for part in value.values())


def _row(name: str, value: Any, field: FieldInfo) -> str:
    cells = (f"`{name}`", f"`{_as_yaml(value)}`", _values(field), _meaning(field))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _as_yaml(value: Any) -> str:
    if isinstance(value, Path):
        value = value.as_posix()
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("...").strip()


def _values(field: FieldInfo) -> str:
    """Give the type, or the allowed words, and the limits."""
    limits = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if hasattr(rule, attribute)
    ]
    return ", ".join([_type_name(field.annotation), *limits])


def _type_name(annotation: Any) -> str:
    arguments = get_args(annotation)
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return " or ".join(f"`{argument}`" for argument in arguments)
    if type(None) in arguments:
        rest = " or ".join(_type_name(part) for part in arguments if part is not type(None))
        return f"{rest} or null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "the section below"
    names = {str: "text", Path: "path", bool: "true or false", int: "whole number", float: "number"}
    names[Any] = "any value"
    if annotation in names:
        return names[annotation]
    if getattr(annotation, "__origin__", None) is tuple:
        return f"list of {_type_name(arguments[0])}"
    if getattr(annotation, "__origin__", None) is dict:
        value = arguments[1]
        is_section = isinstance(value, type) and issubclass(value, BaseModel)
        return f"name: {f'`{value.__name__}`' if is_section else _type_name(value)}"
    if isinstance(annotation, UnionType):
        return " or ".join(_type_name(part) for part in arguments)
    return str(annotation)


def main() -> None:
    """Write the page, or with `--check` exit 1 if it is not current."""
    page = render()
    if sys.argv[1:] != ["--check"]:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page, encoding="utf-8")
        print(f"wrote {PAGE}")
        return
    current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if current != page:
        sys.exit(f"{PAGE}: does not match src/avrt/config; run `make docs`")
    print(f"{PAGE}: ok")


if __name__ == "__main__":
    main()
