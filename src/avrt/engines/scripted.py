"""The scripted engine: answers from a function or a file, for dry runs, replays and tests.

Reads a JSON Lines file of {"match": text, "reply": text}: the first line whose text occurs in the
prompt answers, an empty `match` answers everything. A prompt that no line matches fails as
`no_reply`, like any other failed call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from avrt.engines.base import OnCompletion, failure
from avrt.errors import ConfigError, DataError
from avrt.runs import file_digest
from avrt.texts import read_json_lines, shown
from avrt.types import Completion, Prompt, Request

__all__ = ["ScriptedEngine", "read_script"]


class ScriptedEngine:
    """Answers every prompt with `answer(prompt)`; None means that there is no reply to it."""

    takes_encoded = False

    def __init__(self, answer: Callable[[Prompt], str | None], identity: Mapping[str, Any]) -> None:
        self._answer = answer
        self.identity = dict(identity)

    def generate(self, requests: Iterable[Request], on_completion: OnCompletion) -> None:
        for request in requests:
            reply = self._answer(request.prompt)
            if reply is None:
                completion = failure("no_reply", "no line of the script matches this prompt")
            else:
                completion = Completion(reply, "stop")
            on_completion(request, completion)

    def close(self) -> None:
        pass


def read_script(path: Path | None, model: str) -> ScriptedEngine:
    """The engine that answers from a script file.

    Raises:
        ConfigError: no file is named.
        DataError: it cannot be read, or a line is not {"match": text, "reply": text}.
    """
    if path is None:
        raise ConfigError("engine.kind is 'scripted' but engine.script is not set; name a file")
    replies = [_reply(entry, f"{path}: line {row}") for row, entry in read_json_lines(path)]

    def answer(prompt: Prompt) -> str | None:
        return next((reply for match, reply in replies if match in prompt.text), None)

    return ScriptedEngine(answer, {"model": model, "script": file_digest(path)})


def _reply(entry: Any, source: str) -> tuple[str, str]:
    match entry:
        case {"match": str(match), "reply": str(reply)} if len(entry) == 2:
            return match, reply
    raise DataError(
        f'{source}: expected {{"match": text, "reply": text}} (engine.script), found {shown(entry)}'
    )
