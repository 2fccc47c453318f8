"""Write docs/config.md out of the configuration's schema, or check with `--check` that it is
current.

Reads `avrt.config`; the text of each setting is the docstring below its field, so code and page
cannot disagree.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from avrt.config import BenchmarkConfig, Config, EvalModel, JudgeRole, Section

__all__ = ["render"]

PAGE = Path("docs/config.md")
WORDS: dict[Any, str] = {
    str: "text",
    Path: "path",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Any: "any value",
}

HEAD = """# Configuration

This page is generated from `src/avrt/config/`; run `make docs` after a change.

A configuration is a YAML file, or several, overridden on the command line:

```bash
avrt grpo configs/paper.yaml grpo.learning_rate=2e-6 run.name=faster --dry-run
avrt grpo configs/paper.yaml configs/paper-v2.yaml
```

Later files win over earlier ones, section by section, and the command line wins over all files.
A file with the line `after: paper.yaml` holds only what differs from another, and is refused as the
first one.
`--dry-run` prints what differs from the defaults, the other settings that the command uses, and the
plan, and stops. Values on the command line are YAML too: `eval.modalities=[a,av]`,
`data.limit=null`; null takes a teacher, a judge, a model or a benchmark out. Numbers and dates mean
what they look like: `1e-5` is a number, `08` is 8 or the text 08, `2024-01-31` is a text. A text
that is `no`, `null` or all digits needs quotes: `run.name='"2024"'`. `~/` at the start of a path is
the home folder. Unknown keys, keys that stand twice and impossible values are refused. The resolved
configuration is saved as `config.yaml` in the run directory.

`avrt config list` names the packaged configurations, `avrt config copy NAME` writes one to a file.

A preset stands below the settings beside it, and above those of earlier files; on the command line
it stands above all files and below the other values of the command line.

Where a title names several sections, their settings are explained once: `engine.kind` of a teacher
is set as `teachers.vision.engine.kind`.
"""


class Part(NamedTuple):
    """A section of the configuration, with its place and the meaning of that place."""

    where: str
    section: BaseModel
    about: str

    @property
    def title(self) -> str:
        """The place; a name that is the user's choice is `NAME`."""
        return re.sub(r"^(teachers|judges|eval\.models)\.\w+", r"\1.NAME", self.where)


def render() -> str:
    """Write the whole page."""
    judges = {"NAME": JudgeRole(model="that of the merger")}
    config = Config().model_copy(update={"judges": judges})
    parts = [
        *_parts(config, "", ""),
        *_parts(BenchmarkConfig(), "eval.benchmarks.NAME", ""),
        *_parts(EvalModel(model="base"), "eval.models.NAME", ""),
    ]
    kinds: dict[type[BaseModel], list[Part]] = {}
    for part in parts:
        kinds.setdefault(_kind(type(part.section)), []).append(part)
    titles = {kind: of_kind[0].title for kind, of_kind in kinds.items()}
    return "\n".join([HEAD, *(line for each in kinds.values() for line in _table(each, titles))])


def _kind(section: type[BaseModel]) -> type[BaseModel]:
    """Give the class that all roles share, such as that of teachers and judges."""
    base = section.__mro__[1]
    return section if base is Section else _kind(base)


def _parts(section: BaseModel, where: str, about: str) -> Iterator[Part]:
    """Yield the section, if it has settings of its own, then the sections inside it."""
    inner: list[Part] = []
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), f"{where}.{name}".lstrip(".")
        if value is None and (absent := _optional_section(field)) is not None:
            value = absent()
        if isinstance(value, BaseModel):
            inner += _parts(value, path, _meaning(field))
        elif isinstance(value, dict) and _is_named(value):
            for key, part in value.items():
                inner += _parts(part, f"{path}.{key}", _meaning(field))
    if where:
        yield Part(where, section, about)
    yield from inner


def _table(parts: Sequence[Part], titles: Mapping[type[BaseModel], str]) -> Iterator[str]:
    """Yield one table for all sections of a kind, so that no setting is explained twice."""
    yield f"## {', '.join(dict.fromkeys(f'`{part.title}`' for part in parts))}\n"
    for title, about in {part.title: part.about for part in parts if part.about}.items():
        yield f"`{title}`: {about}\n" if len(parts) > 1 else f"{about}\n"
    yield "| setting | default | values | meaning |"
    yield "| --- | --- | --- | --- |"
    names = dict.fromkeys(name for part in parts for name in type(part.section).model_fields)
    for name in names:
        holders = [part for part in parts if name in type(part.section).model_fields]
        fields = [type(part.section).model_fields[name] for part in holders]
        values = [getattr(part.section, name) for part in holders]
        if isinstance(values[0], BaseModel) or any(map(_is_named, values)):
            continue
        whole = len({part.title for part in holders}) == 1
        title = f"{holders[0].title}.{name}" if whole else name
        defaults: dict[str, list[str]] = {}
        for part, value in zip(holders, values, strict=True):
            defaults.setdefault(f"`{_as_yaml(value)}`", []).append(part.where)
        shown = ", ".join(
            value if len(defaults) == 1 else f"{value} ({', '.join(places)})"
            for value, places in defaults.items()
        )
        yield _row((f"`{title}`", shown, _values(fields[0], titles), _meaning(fields[0])))
    yield ""


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


def _row(cells: Iterable[str]) -> str:
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


def _values(field: FieldInfo, titles: Mapping[type[BaseModel], str]) -> str:
    """Give the type, or the allowed words, and the limits."""
    limits = [
        f"{sign} {getattr(rule, attribute)}"
        for rule in field.metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if hasattr(rule, attribute)
    ]
    return ", ".join([_type_name(field.annotation, titles), *limits])


def _type_name(annotation: Any, titles: Mapping[type[BaseModel], str]) -> str:
    """Name a type in plain words.

    Raises:
        KeyError: there are no words for it yet.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {', '.join(f'`{argument}`' for argument in arguments)}"
    if origin is Annotated:
        return _type_name(arguments[0], titles)
    if origin is tuple:
        return f"list of {_type_name(arguments[0], titles).removeprefix('one of ')}"
    if origin is dict:
        return f"for each name: {_type_name(arguments[1], titles)}"
    if origin in (UnionType, Union):
        words = [_type_name(part, titles) for part in arguments if part is not type(None)]
        return " or ".join([*words, *(["null"] if type(None) in arguments else [])])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"settings as of `{titles[_kind(annotation)]}`"
    return WORDS[annotation]


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
