"""What `run.calls_from` saves: how many calls of a stage another run's ledger answers, told before
any is made, and what keeps it from answering the first of the others.

Reads both ledgers, writes nothing; the copying itself is `Ledger.adopt`.

The decision to question: media that neither run has decoded with these settings count as calls to
make, without a look into the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avrt.ask.calls import Draft, batches, known_calls
from avrt.ask.database import ledger_paths, near_run, open_read_only
from avrt.ask.ledger import LedgerReader, count_finished, open_source
from avrt.texts import shown

__all__ = ["check_source", "forecast_calls", "reused_text"]


def check_source(source: Path | None, planned: bool = False) -> None:
    """Refuse a `run.calls_from` that cannot be read, before anything is done.

    A run that is not there yet may be `planned`, unless its name is nearly that of another.

    Raises:
        ConfigError: as `open_source`.
    """
    if source is not None and not (planned and not source.is_dir() and not near_run(source)):
        with open_source(source):
            pass


def reused_text(reader: LedgerReader, stage: str, source: Path | None) -> str:
    """A line below a stage's summary: how many of its replies in the ledger the run `source` gave.
    Empty without one.
    """
    if source is None:
        return ""
    n_replies, n_reused = reader.count_replies().get(stage, (0, 0))
    return f"\n  {n_reused:,} of {n_replies:,} replies were taken from {source} (run.calls_from)"


def forecast_calls(
    run: Path,
    source: Path | None,
    stage: str,
    asked: Iterable[tuple[Mapping[str, Any], Iterable[Draft]]],
) -> str:
    """How many calls of a stage are finished; with a `source`, also how many of the others it
    answers, and how many are left to make.

    `asked` holds drafts by the identity of the engine that they go to, and is read only then.

    Raises:
        ConfigError: as `open_source`.
        DataError: the run's own ledger cannot be read.
    """
    finished = f"{count_finished(run, stage)} finished calls are in the ledger"
    if source is None:
        return finished
    check_source(source, planned=True)
    if not source.is_dir():
        return f"{finished}; {source} (run.calls_from) is not there yet"
    n_own = n_reused = n_unreadable = n_left = 0
    reason = ""
    with ExitStack() as stack:
        other = stack.enter_context(open_source(source))
        own = LedgerReader(open_read_only(ledger_paths(run), stack))
        both = LedgerReader([*own.files, *other.files])
        for identity, drafts in asked:
            for batch in batches(drafts):
                failed, calls = known_calls(both, identity, batch)
                keys = {id_: call.key for id_, call in calls.items()}
                finished = own.finished(list(keys.values()))
                found = other.finished([key for key in keys.values() if key not in finished])
                n_own += sum(key in finished for key in keys.values())
                n_reused += sum(key in found for key in keys.values())
                n_unreadable += len(failed)
                left = [
                    draft
                    for group in batch
                    for draft in group
                    if draft.id not in failed and keys.get(draft.id) not in finished | found
                ]
                n_left += len(left)
                if left and not reason:
                    reason = _difference(other, identity, left[0])
    unreadable = f", {n_unreadable:,} without media" if n_unreadable else ""
    text = (
        f"{n_own:,} calls are finished, {n_reused:,} are answered by {source} "
        f"(run.calls_from){unreadable}, {n_left:,} are left to make"
    )
    return f"{text}; the first: {reason}" if reason else text


def _difference(other: LedgerReader, identity: Mapping[str, Any], draft: Draft) -> str:
    """How a draft differs from the calls that the other run made about its sample."""
    rows = other.query(
        "SELECT request_json FROM calls WHERE stage = ? AND sample_id = ?"
        " AND finish_reason != 'error'",
        (draft.stage, draft.sample_id),
    )
    call = draft.call(identity, {"frames": "", "audio": ""})
    wanted = _flat(json.loads(json.dumps(call.request)))
    found = [
        [name for name in wanted if request.get(name) != wanted[name]]
        for request in (_flat(json.loads(row["request_json"])) for row in rows)
    ]
    sample = shown(draft.sample_id)
    if not found:
        return f"{sample} has no reply there"
    names = min(found, key=len)
    if not names:
        return f"the media of {sample} are other ones than there"
    return f"{sample} is asked with other {', '.join(names)} than there"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a request by their names, such as `recipe.frames.n_frames`; digests of media,
    which a draft does not have, are left out.
    """
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{prefix}{name}.")
        elif prefix or name not in ("frames", "audio"):
            values[f"{prefix}{name}"] = value
    return values
