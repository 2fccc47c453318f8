"""Look at the model calls behind one row of the dataset, and make them again on demand.

Reads RUN/dataset/*.parquet, RUN/ledger.sqlite, RUN/media.parquet and, when calls are sent again,
the media; writes nothing, also not to the ledger, so that a look never changes a run.

The decision to question: what is sent again is the stored request, text and sampling and media
recipe, whatever the configuration says now. Only how the model is reached comes from there.
"""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from avrt.ask.ledger import read_ledger
from avrt.config import Config, ModelRole
from avrt.datasets import row_to_sample
from avrt.engines import make_engine
from avrt.errors import ConfigError, DataError
from avrt.media import read_frames, read_waveform
from avrt.runs import file_digest, read_parquet
from avrt.types import Completion, Prompt, Request, Sample, Sampling

__all__ = ["replay"]

PARTS = ("train", "validation", "rejected")
N_MATCHES = 3
SHORTEST_KEY = 8
"""So many characters of a key are enough to name it."""


@dataclass(frozen=True)
class Stored:
    """One call as the ledger has it."""

    key: str
    stage: str
    sample_id: str
    role: str
    request: Mapping[str, Any]
    completion: Completion


@dataclass(frozen=True)
class File:
    """A media file that a call was made from."""

    kind: str
    """`frames` or `audio`."""
    path: str
    """Relative to `data.root`."""
    sha256: str | None
    """As prepare found it."""
    now: str | None
    """As it is; None when it is not there."""

    @property
    def is_changed(self) -> bool:
        return self.sha256 is not None and self.now != self.sha256


def replay(config: Config, name: str, send: bool = False) -> str:
    """Every call behind the row `name`, or the one call whose key begins with it, as text.

    With `send` each call is made again, and its new reply follows the stored one.

    Raises:
        DataError: no such row or call, no ledger, or (with `send`) media that are not those of the
            call.
        ConfigError: with `send`, no such role is configured any more.
        EngineError: the model cannot be used.
    """
    with read_ledger(config.run.path) as ledger:
        calls = _find(config, ledger, name)
    samples = {row["id"]: row for row in read_parquet(config.run.path / "samples.parquet")}
    parts: list[str] = []
    for number, call in enumerate(calls, start=1):
        files = _files(config, call, row_to_sample(samples[call.sample_id]))
        parts.append(f"# Call {number} of {len(calls)}: {call.stage}, {call.role}")
        parts.append(_describe(call, files))
        if send:
            again, note = _send(config, call, files)
            same = "equal to the stored one" if again.text == call.completion.text else "differs"
            parts.append(f"## Reply now: {_outcome(again)}; {same}{note}\n\n{_text(again)}")
    return "\n\n".join(parts)


def _find(config: Config, ledger: sqlite3.Connection, name: str) -> list[Stored]:
    """The calls of a row in the order in which they were made, or the one with that key."""
    keys = _keys_of_row(config, name)
    if keys is None:
        keys = _keys_like(ledger, name)
    if keys is None:
        raise DataError(_unknown(config, name))
    if not keys:
        raise DataError(f"row {name!r}: no model was called for it; see its `stage` and `reason`")
    rows = {key: _row(ledger, key) for key in keys}
    absent = [key for key, row in rows.items() if row is None]
    if absent:
        raise DataError(
            f"{config.run.path / 'ledger.sqlite'}: no call {absent[0][:12]}…, which row {name!r} "
            "names; the dataset was built from another ledger: run `avrt build` again"
        )
    return [_stored(row) for row in rows.values() if row is not None]


def _rows(config: Config, columns: Sequence[str]) -> list[dict[str, Any]]:
    folder = config.run.path / "dataset"
    paths = (folder / f"{part}.parquet" for part in PARTS)
    return [
        {name: row[name] for name in columns}
        for path in paths
        if path.is_file()
        for row in read_parquet(path)
    ]


def _keys_of_row(config: Config, name: str) -> list[str] | None:
    rows = _rows(config, ("id", "call_keys"))
    return next((list(row["call_keys"]) for row in rows if row["id"] == name), None)


def _keys_like(ledger: sqlite3.Connection, name: str) -> list[str] | None:
    """The key that begins with `name`, which must be long enough to mean one."""
    if len(name) < SHORTEST_KEY or set(name) - set("0123456789abcdef"):
        return None
    query = "SELECT key FROM calls WHERE key GLOB ? LIMIT 2"
    found = [row["key"] for row in ledger.execute(query, (f"{name}*",))]
    if len(found) > 1:
        raise DataError(f"key {name!r}: several calls begin with it; give more of the key")
    return found or None


def _unknown(config: Config, name: str) -> str:
    known = [row["id"] for row in _rows(config, ("id",))]
    if not known:
        return f"{name!r}: no such call, and no dataset in {config.run.path}; run `avrt build`"
    close = difflib.get_close_matches(name, known, N_MATCHES) or known[:N_MATCHES]
    return (
        f"{name!r}: neither a row of {config.run.path / 'dataset'} nor a key in the ledger; "
        f"did you mean {', '.join(close)}?"
    )


def _row(ledger: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    return ledger.execute("SELECT * FROM calls WHERE key = ?", (key,)).fetchone()


def _stored(row: sqlite3.Row) -> Stored:
    names = ("text", "finish_reason", "n_prompt_tokens", "n_completion_tokens", "latency_s",
             "error_class", "error")  # fmt: skip
    return Stored(
        key=row["key"],
        stage=row["stage"],
        sample_id=row["sample_id"],
        role=row["role"],
        request=json.loads(row["request_json"]),
        completion=Completion(**{name: row[name] for name in names}),
    )


def _files(config: Config, call: Stored, sample: Sample) -> list[File]:
    """The files of the media in the request, each compared with the one that was prepared."""
    sources = {"frames": sample.picture_path, "audio": sample.sound_path}
    table = config.run.path / "media.parquet"
    known = {row["path"]: row["sha256"] for row in read_parquet(table)}
    files: list[File] = []
    for kind, path in sources.items():
        if call.request[kind] is not None and path is not None:
            place = config.data.root / path
            now = file_digest(place) if place.is_file() else None
            files.append(File(kind, path, known.get(path), now))
    return files


def _describe(call: Stored, files: Sequence[File]) -> str:
    request = call.request
    lines = [
        f"sample    {call.sample_id}",
        f"key       {call.key}",
        f"model     {_pairs(request['engine'])}",
        f"sampling  {_pairs(request['sampling'])}, k={request['k']}",
    ]
    for file in files:
        recipe = _pairs(request["recipe"][file.kind])
        lines.append(f"{file.kind:<9} {file.path}, sha256 {file.sha256}")
        lines.append(f"          {recipe}, decoded sha256 {request[file.kind]}")
        if file.is_changed:
            state = "is not there" if file.now is None else f"has sha256 {file.now}"
            lines.append(f"          CHANGED since it was prepared: now it {state}")
    parts = ["\n".join(lines)]
    if request["system"] is not None:
        parts.append(f"## System\n\n{request['system']}")
    media = "".join(f"<{file.kind}>" for file in files)
    parts.append(f"## User\n\n{media}{request['text']}")
    parts.append(f"## Reply: {_outcome(call.completion)}\n\n{_text(call.completion)}")
    return "\n\n".join(parts)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items() if name != "kind")


def _outcome(completion: Completion) -> str:
    if completion.finish_reason == "error":
        return f"failed as {completion.error_class}"
    return (
        f"{completion.finish_reason}, {completion.n_prompt_tokens} + "
        f"{completion.n_completion_tokens} tokens, {completion.latency_s:.1f} s"
    )


def _text(completion: Completion) -> str:
    return completion.error or "" if completion.finish_reason == "error" else completion.text


def _send(config: Config, call: Stored, files: Sequence[File]) -> tuple[Completion, str]:
    """The new reply, and what is to be said about the model that gave it."""
    role = _role(config, call.role)
    prompt = _prompt(config, call, files)
    replies: list[Completion] = []
    with closing(make_engine(role.engine, role.model, role.revision, config.media)) as engine:
        identity = dict(engine.identity)
        request = Request(call.key, prompt, Sampling(**call.request["sampling"]))
        engine.generate([request], lambda _, completion: replies.append(completion))
    same = identity == call.request["engine"]
    return replies[0], "" if same else f"; from another model: {_pairs(identity)}"


def _role(config: Config, name: str) -> ModelRole:
    if name == "merger":
        return config.merger
    if name not in config.teachers:
        known = ", ".join(config.teachers)
        raise ConfigError(
            f"teachers.{name}: this call's teacher is not configured; known: {known}; "
            f"use the configuration of the run (its config.yaml)"
        )
    return config.teachers[name]


def _prompt(config: Config, call: Stored, files: Sequence[File]) -> Prompt:
    media: dict[str, Any] = {}
    for file in files:
        if file.is_changed:
            raise DataError(
                f"{config.data.root / file.path}: not the file that this call was made from; bring "
                "that back, or look without --send"
            )
        recipe = call.request["recipe"][file.kind]
        names = type(config.media).model_fields
        settings = {name: value for name, value in recipe.items() if name in names}
        read = read_frames if file.kind == "frames" else read_waveform
        payload = read(config.data.root / file.path, config.media.model_copy(update=settings))
        if payload.digest != call.request[file.kind]:
            raise DataError(
                f"{config.data.root / file.path}: decodes to other {file.kind} than it did for this"
                " call; the libraries are other ones now, see `avrt doctor`"
            )
        media[file.kind] = payload
    return Prompt(call.request["text"], call.request["system"], **media)
