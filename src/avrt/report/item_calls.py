"""What the ledger has of the calls behind an item's texts: the time each took, and its prompt.

Reads RUN/ledger*.sqlite, 200 items at a time. Most of a prompt stands in others too: it is kept as
a template, and the page fills it from what the item has anyway. What is filled is, character by
character, what was sent: a prompt is taken apart, not made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from avrt.ask.database import ledger_paths
from avrt.ask.ledger import LedgerReader, read_ledger
from avrt.errors import DataError
from avrt.prompts import format_options, letter_options
from avrt.report.script import cut_texts
from avrt.types import LETTERS

__all__ = ["Calls", "open_calls"]

MAX_TEMPLATES = 64
"""Templates that all items share; prompts of further ones stand in the items themselves."""
MAX_LENGTH = 4000
"""Characters of such a template."""
_MIN_LENGTH = 4
"""Characters of a text that is looked for in a prompt: a shorter one is there by chance."""


class Calls:
    """The calls of a run, for its items."""

    def __init__(self, ledger: LedgerReader | None, faults: list[str]) -> None:
        self._ledger, self._faults = ledger, faults
        self._numbers: dict[str, int] = {}

    @property
    def templates(self) -> list[dict[str, Any]]:
        """Of prompts: `system` and `user` in parts; every other part names what fills it."""
        return [json.loads(template) for template in self._numbers]

    def fill(self, items: Sequence[dict[str, Any]]) -> None:
        """Give every trace whose call the ledger has its `latency_s` and what was `asked`."""
        if self._ledger is None:
            return
        texts = [(item, text) for item in items for text in _texts(item)]
        try:
            rows = self._ledger.latest("latency_s, request_json", [t["key"] for _, t in texts])
        except DataError as error:
            self._faults.append(str(error))
            self._ledger = None
            return
        for item, text in texts:
            if (row := rows.get(text["key"])) is not None:
                text["latency_s"] = round(row["latency_s"], 3)
                text["asked"] = self._asked(json.loads(row["request_json"]), _fields(item, text))

    def _asked(self, request: Mapping[str, Any], fields: Mapping[str, str]) -> int | dict[str, Any]:
        """The number of the prompt's template, or the template."""
        template = {
            part: cut_texts(_take_apart(request[key], fields))
            for part, key in (("system", "system"), ("user", "text"))
            if request[key] is not None
        }
        name = json.dumps(template)
        number = self._numbers.get(name)
        if number is None and len(self._numbers) < MAX_TEMPLATES and len(name) <= MAX_LENGTH:
            number = self._numbers[name] = len(self._numbers)
        return template if number is None else number


@contextmanager
def open_calls(run: Path, faults: list[str]) -> Iterator[Calls]:
    """The calls in the run's ledger; of a ledger that cannot be read, none."""
    with ExitStack() as stack:
        ledger = None
        try:
            if ledger_paths(run):
                ledger = stack.enter_context(read_ledger(run))
        except DataError as error:
            faults.append(str(error))
        yield Calls(ledger, faults)


def _texts(item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The item's traces that have a call."""
    for text in (*item["traces"], item["merged"]):
        if text is not None and text["key"]:
            yield text


def _fields(item: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, str]:
    """What a prompt may hold of its item; web/src/items/prompts.ts gives the same texts."""
    options = item["options"]
    given = [options[place] for place in text.get("order", range(len(options)))]
    place = LETTERS.find(item["target"] or "-")
    fields = {
        "question": item["question"],
        "options": format_options(given),
        "lettered_options": letter_options(given),
        "answer": f"({item['target']}) {options[place]}" if 0 <= place < len(options) else "",
    }
    for number, trace in enumerate(item["traces"]):
        fields[f"trace {number}"] = trace["text"].strip(" \t\r\n")
    return fields


def _take_apart(prompt: str, fields: Mapping[str, str]) -> list[str]:
    """Literal text and names of fields in turns."""
    parts = [prompt]
    for name, value in sorted(fields.items(), key=lambda field: -len(field[1])):
        if len(value) >= _MIN_LENGTH:
            parts = list(_split(parts, name, value))
    return parts


def _split(parts: Iterable[str], name: str, value: str) -> Iterator[str]:
    for number, part in enumerate(parts):
        if number % 2 == 1:
            yield part
            continue
        first, *others = part.split(value)
        yield first
        for other in others:
            yield from (name, other)
