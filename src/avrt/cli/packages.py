"""The packages that AVRT asks for, read from its own metadata, so that no second list disagrees."""

from __future__ import annotations

import importlib.metadata
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Requirement", "extra_of", "requirements"]

_COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_LINE = re.compile(r"""([\w.-]+)(?:\[.*?\])?([^;]*)(?:;.*extra == ["']([\w-]+)["'])?""")
_BOUND = re.compile(r"(>=|<=|==|>|<)\s*([\d.]+)")
_BROUGHT_ALONG = {"huggingface_hub": "train", "tokenizers": "train"}
"""Modules that AVRT imports and that come with a package of the extra."""


@dataclass(frozen=True)
class Requirement:
    """A package that AVRT, or one of its extras, asks for."""

    name: str
    extra: str
    """Empty: every command needs it."""
    bounds: tuple[tuple[str, str], ...]
    """Comparisons that its version must pass, such as (">=", "2.9")."""

    def takes(self, version: str) -> bool:
        """Whether a version is inside the bounds; only its leading numbers count."""
        return all(_COMPARISONS[sign](_release(version), _release(to)) for sign, to in self.bounds)

    def __str__(self) -> str:
        return ", ".join(sign + to for sign, to in self.bounds)


def requirements() -> Iterator[Requirement]:
    """Yield the requirements of the installed AVRT, core first; none when it is not installed."""
    try:
        lines = importlib.metadata.requires("avrt") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in lines:
        if match := _LINE.match(line):
            name, bounds, extra = match.groups()
            yield Requirement(name, extra or "", tuple(_BOUND.findall(bounds)))


def extra_of(module: str) -> str | None:
    """The extra that brings a module, empty for the core; None: nothing of AVRT's brings it."""
    wanted = module.lower().replace("_", "-")
    found = (one.extra for one in requirements() if one.name.lower() == wanted)
    return next(found, _BROUGHT_ALONG.get(module))


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" gives (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
