"""Prompts as text files, and the one function that fills them.

Reads a packaged file (`vision`, `audio`, `merge`, `student`, `direct`, `world/...`; `official/...`,
the benchmarks' own; `baselines/...`, in the form of published models) or any file a configuration
names, so that a published wording can be used verbatim. Only `{lower_case}` names count as
placeholders: other braces in a prompt, and all braces in the values, stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from avrt.errors import ConfigError, DataError
from avrt.texts import read_text, shown
from avrt.types import LETTERS

__all__ = ["FIELDS", "PromptTemplate", "format_options", "letter_options", "load_prompt"]

FIELDS = (
    "question",
    "options",
    "lettered_options",
    "media",
    "n_frames",
    "answer",
    "audio_analysis",
    "visual_analysis",
    "analyses",
    "reply",
    "criteria",
    "trace",
    "quote",
)
"""Every placeholder that a prompt file may use."""

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_FOLDERS = ("world", "official", "baselines")
_SECTION = re.compile(r"^\[(system|user)\][ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt with placeholders, in its two parts."""

    name: str
    """Packaged name or file path, for messages."""
    system: str | None
    user: str

    @property
    def digest(self) -> str:
        """sha256 over both parts, whatever the file is called."""
        return hashlib.sha256(f"{self.system!r}\n{self.user!r}".encode()).hexdigest()

    @property
    def fields(self) -> set[str]:
        """The placeholders of the prompt."""
        return {*_PLACEHOLDER.findall(f"{self.system}\n{self.user}")}

    def uses(self, field: str) -> bool:
        """Whether the prompt has that placeholder."""
        return field in self.fields

    def fill(self, **fields: str) -> tuple[str | None, str]:
        """The system text (or None) and the user text; superfluous fields are ignored.

        Raises:
            ConfigError: the prompt uses a placeholder that this stage has no value for.
        """

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in fields:
                known = ", ".join(f"{{{field}}}" for field in fields)
                raise ConfigError(
                    f"prompt {self.name}: no value for placeholder {{{name}}} here; "
                    f"available: {known or 'none'}"
                )
            return fields[name]

        system = None if self.system is None else _PLACEHOLDER.sub(value, self.system)
        return system, _PLACEHOLDER.sub(value, self.user)


def load_prompt(name_or_path: str) -> PromptTemplate:
    """The prompt of that packaged name, else the prompt in the file at that path.

    Raises:
        ConfigError: neither exists, the file has no user text, or it uses an unknown placeholder.
    """
    text = _read_packaged(name_or_path)
    if text is None:
        try:
            text = read_text(Path(name_or_path))
        except DataError as error:
            names = ", ".join(_packaged_names())
            raise ConfigError(
                f"prompt {shown(name_or_path)}: neither a packaged prompt ({names}) "
                f"nor a readable text file: {error}"
            ) from error
    return _parse(name_or_path, text)


def format_options(options: Sequence[str]) -> str:
    """One option per line with its letter: `(A) dog`, `(B) cat`."""
    return "\n".join(
        f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)
    )


def letter_options(options: Sequence[str]) -> str:
    """One option per line in another form: `A. dog`, `B. cat`."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))


def _parse(name: str, text: str) -> PromptTemplate:
    preamble, *parts = _SECTION.split(text)
    if not parts:
        preamble, parts = "", ["user", text]
    if preamble.strip():
        raise ConfigError(
            f"prompt {name}: text before the first section; begin with [system] or [user]"
        )
    titles, bodies = parts[0::2], [body.strip() for body in parts[1::2]]
    if titles not in (["user"], ["system", "user"]):
        raise ConfigError(
            f"prompt {name}: sections {titles}; expected [user], or [system] and then [user]"
        )
    if not bodies[-1]:
        raise ConfigError(f"prompt {name}: the [user] section is empty")
    template = PromptTemplate(name, bodies[0] if len(bodies) == 2 else None, bodies[-1])
    if unknown := sorted(template.fields - {*FIELDS}):
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise ConfigError(
            f"prompt {name}: unknown placeholder {{{shown(unknown[0])[1:-1]}}}; known: {known}"
        )
    return template


def _read_packaged(name: str) -> str | None:
    if name not in _packaged_names():
        return None
    return resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8")


@cache
def _packaged_names() -> list[str]:
    root = resources.files(__name__)
    folders = [("", root), *((f"{name}/", root.joinpath(name)) for name in _FOLDERS)]
    return sorted(
        prefix + file.name.removesuffix(".txt")
        for prefix, folder in folders
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".txt")
    )
