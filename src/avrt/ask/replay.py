"""Look at the model calls behind a row of the dataset, or at one call, and make them again.

Reads RUN/dataset/*.parquet, the ledger and, when calls are sent again, the media; writes nothing,
also not to the ledger, so that a look never changes a run.

The decision to question: the request that is sent again is the stored one, text and sampling and
media recipe, whatever the configuration says now. Only how the model is reached comes from there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.ask.ledger import LedgerReader, read_ledger
from avrt.ask.rows import StoredCall
from avrt.config import MediaConfig
from avrt.engines import Engine, complete
from avrt.errors import DataError, MediaError
from avrt.media import read_frames, read_waveform
from avrt.media.cache import copy_digest
from avrt.runs import read_parquet
from avrt.texts import clean
from avrt.types import Completion, Prompt, Sampling

__all__ = ["Sender", "replay"]

PARTS = ("train", "validation", "rejected")
N_MATCHES = 3
SHORTEST_KEY = 8
"""Characters of a key that are enough to name it."""


@dataclass(frozen=True)
class Sender:
    """The means to make calls again."""

    engine_of: Callable[[StoredCall], Engine]
    """The engine of the model that the call's role is configured with."""
    media: MediaConfig


@dataclass(frozen=True)
class MediaFile:
    """A media file that a call was made from."""

    kind: str
    """`frames` or `audio`."""
    name: str
    """Path below the dataset's root."""
    path: Path | None
    """None when the evaluation set, and so its root, is not configured."""
    sha256: str | None
    """Digest when the call was made."""
    sha256_now: str | None
    """None when the file is not there, or nobody knows where it is."""

    @property
    def is_changed(self) -> bool:
        known = self.path is not None and self.sha256 is not None
        return known and self.sha256_now != self.sha256


def replay(
    run: Path,
    name: str,
    roots: Mapping[str, Path],
    sender: Sender | None = None,
    media: MediaConfig | None = None,
) -> str:
    """Every call behind the row `name`, or the one call whose key begins with it, as text.

    `roots` holds the folder of each evaluation set by name, and that of the run's own dataset under
    the empty name. With a sender each call is made again, and its new reply follows the stored one.
    `media` says where files of a store are copied to.

    Raises:
        DataError: no such row or call, no ledger, or (with a sender) media that are not those of
            the call, or of an evaluation set that is not configured.
        ConfigError: with a sender, no such role is configured any more.
        EngineError: the model cannot be used.
    """
    with read_ledger(run) as ledger:
        calls = _find(run, ledger, name)
    parts: list[str] = []
    for number, call in enumerate(calls, start=1):
        files = _files(call, roots, media or MediaConfig())
        parts.append(f"# Call {number} of {len(calls)}: {call.stage}, {call.role}")
        parts.append(_describe(call, files))
        if sender is not None:
            again, note = _send(sender, call, files)
            same = "equal to the stored one" if again.text == call.completion.text else "differs"
            parts.append(f"## Reply now: {_outcome(again)}; {same}{note}\n\n{_text(again)}")
    return "\n\n".join(parts)


def _find(run: Path, ledger: LedgerReader, name: str) -> list[StoredCall]:
    """The calls of a row, role by role in the order in which they were made, or that of a key."""
    keys = _keys_of_row(run, name)
    if keys is None:
        keys = _keys_like(ledger, name)
    if keys is None:
        raise DataError(_unknown(run, name))
    if not keys:
        raise DataError(f"row {name!r}: no model was called for it; see its `stage` and `reason`")
    calls = ledger.find_calls(keys)
    absent = [key for key in keys if key not in calls]
    if absent:
        raise DataError(
            f"{run / 'ledger.sqlite'}: no call {absent[0][:12]}…, which row {name!r} "
            "names; the dataset was built from another ledger: run `avrt build` again"
        )
    return [calls[key] for key in keys]


def _rows(run: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    paths = (run / "dataset" / f"{part}.parquet" for part in PARTS)
    return [
        {name: row[name] for name in columns}
        for path in paths
        if path.is_file()
        for row in read_parquet(path)
    ]


def _keys_of_row(run: Path, name: str) -> list[str] | None:
    rows = _rows(run, ("id", "call_keys"))
    return next((list(row["call_keys"]) for row in rows if row["id"] == name), None)


def _keys_like(ledger: LedgerReader, name: str) -> list[str] | None:
    """The key that begins with `name`, which must be long enough to mean one."""
    if len(name) < SHORTEST_KEY or set(name) - set("0123456789abcdef"):
        return None
    query = "SELECT key FROM calls WHERE key GLOB ? LIMIT 2"
    keys = sorted({row["key"] for row in ledger.query(query, (f"{name}*",))})
    if len(keys) > 1:
        raise DataError(f"key {name!r}: several calls begin with it; give more of the key")
    return keys or None


def _unknown(run: Path, name: str) -> str:
    known = [row["id"] for row in _rows(run, ("id",))]
    if not known:
        return f"{name!r}: no such call, and no dataset in {run}; run `avrt build`"
    ending = sorted((id_ for id_ in known if id_.endswith(name)), key=len)[:N_MATCHES]
    close = list(dict.fromkeys(ending + difflib.get_close_matches(name, known, N_MATCHES)))
    return (
        f"{name!r}: neither a row of {run / 'dataset'} nor a key in the ledger; "
        f"did you mean {', '.join((close or known)[:N_MATCHES])}?"
    )


def _files(call: StoredCall, roots: Mapping[str, Path], media: MediaConfig) -> list[MediaFile]:
    """The files of the media in the request, each compared with the file of then."""
    files: list[MediaFile] = []
    for kind, (name, sha256) in call.files.items():
        path = roots[call.dataset] / name if call.dataset in roots else None
        now = None
        with suppress(OSError, MediaError):
            now = None if path is None else copy_digest(path, media)
        files.append(MediaFile(kind, name, path, sha256, now))
    return files


def _describe(call: StoredCall, files: Sequence[MediaFile]) -> str:
    request = call.request
    lines = [
        f"sample    {call.sample_id}",
        f"key       {call.key}",
        f"model     {_pairs(request['engine'])}",
        f"sampling  {_pairs(request['sampling'])}, k={request['k']}",
    ]
    for file in files:
        recipe = _pairs(request["recipe"][file.kind])
        lines.append(f"{file.kind:<9} {file.name}, sha256 {file.sha256}")
        lines.append(f"          {recipe}, decoded sha256 {request[file.kind]}")
        if file.path is None:
            lines.append(
                f"          file unknown: eval.benchmarks.{call.dataset} is not configured"
            )
        elif file.is_changed:
            now = file.sha256_now
            state = "is not there" if now is None else f"has sha256 {now}"
            lines.append(f"          CHANGED since the call was made: now it {state}")
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


def _send(sender: Sender, call: StoredCall, files: Sequence[MediaFile]) -> tuple[Completion, str]:
    """The new reply, and a note when another model gave it."""
    media: dict[str, Any] = {file.kind: _read_again(sender.media, call, file) for file in files}
    prompt = Prompt(call.request["text"], call.request["system"], **media)
    with closing(sender.engine_of(call)) as engine:
        identity = dict(engine.identity)
        (reply,) = complete(engine, [prompt], Sampling(**call.request["sampling"]))
    again = replace(reply, text=clean(reply.text))  # as it would be stored
    same = identity == call.request["engine"]
    return again, "" if same else f"; from another model: {_pairs(identity)}"


def _read_again(media: MediaConfig, call: StoredCall, file: MediaFile) -> Any:
    """The frames or the sound that the call was made with."""
    if file.path is None:
        raise DataError(
            f"eval.benchmarks.{call.dataset} is not configured; name it, with its root, so that "
            f"{file.name} can be read"
        )
    if file.is_changed:
        raise DataError(
            f"{file.path}: not the file that this call was made from; bring that back, or look "
            "without --send"
        )
    recipe = {"opposite_phase": "mix", "fps": None, **call.request["recipe"][file.kind]}
    settings = {name: value for name, value in recipe.items() if name in type(media).model_fields}
    read = read_frames if file.kind == "frames" else read_waveform
    payload = read(file.path, media.model_copy(update=settings))
    if payload.digest != call.request[file.kind]:
        raise DataError(
            f"{file.path}: decodes to other {file.kind} than it did for this call; the libraries "
            "are other ones now, see `avrt doctor`"
        )
    return payload
