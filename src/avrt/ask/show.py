"""Show the ledger: calls and failures in numbers, one call in full, failures to try again.

Reads the ledger of a run, also while a stage writes it. Only `retry` changes something: it forgets
which files failed, and marks stages as to do again.

The decision to question: texts of models are printed without control characters, which could
change the terminal; `--json` escapes them, and is exact.
"""

from __future__ import annotations

import json
import sqlite3
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.ask.ledger import LedgerReader, ledger_shards, open_ledger, read_ledger
from avrt.errors import ConfigError

__all__ = ["load_call", "load_stats", "render_call", "render_stats", "retry"]

_STATUS = "CASE finish_reason WHEN 'error' THEN COALESCE(error_class, 'unknown') ELSE 'ok' END"
_COLUMNS = (
    "stage",
    "role",
    "status",
    "calls",
    "prompt_tokens",
    "completion_tokens",
    "seconds",
    "attempts",
)
_MIN_PREFIX = 4
_STAGES = ("trace", "merge", "judge", "eval", "rubric")
"""The stages that call models, in their order."""


def load_stats(run: Path) -> dict[str, Any]:
    """Calls by stage, role and status; failures by class with an example; files by their state.

    Raises:
        DataError: there is no ledger, or it is none.
    """
    with read_ledger(run) as ledger:
        calls = ledger.query(
            f"SELECT stage, role, {_STATUS} AS status, MIN(calls.created) AS since,"
            " COUNT(*) AS calls, SUM(n_prompt_tokens) AS prompt_tokens,"
            " SUM(n_completion_tokens) AS completion_tokens,"
            " SUM(latency_s) AS seconds, SUM(n_attempts) AS attempts FROM calls"
            " JOIN (SELECT key, COUNT(*) AS n_attempts FROM attempts GROUP BY key) USING (key)"
            " GROUP BY stage, role, status"
        )
        failures = ledger.query(
            f"SELECT {_STATUS} AS class, COUNT(*) AS attempts, COUNT(DISTINCT key) AS calls,"
            " MIN(key) AS example_key, error AS example FROM attempts"
            " WHERE finish_reason = 'error' GROUP BY class"
        )
        files = ledger.query(
            "SELECT COALESCE(error_class, 'ok') AS status, COUNT(*) AS payloads, error AS example"
            " FROM payloads GROUP BY status"
        )
    by_call = _summed(calls, _COLUMNS[:3])
    since: dict[tuple[str, str], str] = {}
    for row in by_call:
        role = row["stage"], row["role"]
        since[role] = min(since.get(role, row["since"]), row["since"])
    by_call.sort(key=lambda row: (since[row["stage"], row["role"]], -row["calls"]))
    return {
        "calls": [
            {name: row[name] for name in _COLUMNS} | {"seconds": round(row["seconds"], 1)}
            for row in by_call
        ],
        "failures": sorted(
            _summed(failures, ("class",)), key=lambda row: (-row["attempts"], row["class"])
        ),
        "payloads": sorted(
            _summed(files, ("status",)), key=lambda row: (-row["payloads"], row["status"])
        ),
    }


def _summed(rows: Iterable[sqlite3.Row], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of several files with equal keys as one row: numbers are added."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in map(dict, rows):
        first = sums.setdefault(tuple(row[key] for key in keys), row)
        if first is not row:
            numbers = {name: n for name, n in row.items() if isinstance(n, int | float)}
            first.update({name: first[name] + n for name, n in numbers.items()})
    return list(sums.values())


def render_stats(stats: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """`load_stats` as text."""
    totals: dict[str, Any] = dict.fromkeys(_COLUMNS[:3], "") | {"stage": "total"}
    for name in _COLUMNS[3:]:
        totals[name] = round(sum(row[name] for row in stats["calls"]), 1)
    rows = [
        list(_COLUMNS),
        *([_format(row[name]) for name in _COLUMNS] for row in [*stats["calls"], totals]),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    if stats["failures"]:
        lines += ["", "failed attempts:"]
    for row in stats["failures"]:
        lines.append(
            f"  {row['class']}: {row['attempts']} attempts of {row['calls']} calls, such as "
            f"{row['example_key'][:12]}: {_printable(row['example'] or '')[:200]}"
        )
    bad = [row for row in stats["payloads"] if row["status"] != "ok"]
    if bad:
        lines += ["", "media that cannot be used:"]
    for row in bad:
        example = _printable(row["example"] or "")[:200]
        lines.append(f"  {row['status']}: {row['payloads']}, such as: {example}")
    return "\n".join(line.rstrip() for line in lines)


def load_call(run: Path, prefix: str) -> dict[str, Any]:
    """One call: its columns, `request` as it was made, and `attempts`.

    Raises:
        ConfigError: no call's key starts so, or several do.
        DataError: there is no ledger, or it is none.
    """
    with read_ledger(run) as ledger:
        keys = _find_keys(ledger, prefix)
        if len(keys) != 1:
            known = f"; these do: {', '.join(keys[:5])}" if keys else ""
            raise ConfigError(
                f"{run}: {len(keys) or 'no'} calls have a key that starts with {prefix!r}{known}"
            )
        rows = [dict(row) for row in ledger.query("SELECT * FROM calls WHERE key = ?", keys)]
        call = max(rows, key=lambda row: (row["finish_reason"] != "error", row["created"]))
        attempts = ledger.query("SELECT * FROM attempts WHERE key = ? ORDER BY attempt", keys)
    call["request"] = json.loads(call.pop("request_json"))
    call["files"] = json.loads(call.pop("files_json"))
    call["attempts"] = [
        {name: value for name, value in dict(row).items() if name != "key"} for row in attempts
    ]
    return call


def render_call(call: Mapping[str, Any]) -> str:
    """`load_call` as text."""
    request = dict(call["request"])
    system, text = request.pop("system"), request.pop("text")
    status = call["error_class"] if call["finish_reason"] == "error" else call["finish_reason"]
    tokens = f"{call['n_prompt_tokens']} + {call['n_completion_tokens']} tokens"
    parts = [
        f"call {call['key']}",
        f"  {call['stage']}, {call['role']}, sample {call['sample_id']}, answer {call['k']}",
        f"  {status}, {tokens}, {call['latency_s']:.2f} s, {call['created']}",
        _section("request", json.dumps(request, indent=2, ensure_ascii=False, sort_keys=True)),
        *([] if system is None else [_section("system", system)]),
        _section("prompt", text),
        _section("reply", call["text"]),
    ]
    for attempt in call["attempts"]:
        title = f"attempt {attempt['attempt']}, {attempt['created']}, {attempt['latency_s']:.2f} s"
        error_class = attempt["error_class"]
        outcome = f"{error_class}: {attempt['error']}" if error_class else "replied"
        parts.append(_section(title, "\n".join(filter(None, [outcome, attempt.get("text")]))))
    return "\n".join(parts)


def retry(run: Path, error_class: str) -> str:
    """Have the calls and files that failed with a class tried again; the message says which.

    Failed calls are tried again by every repeated command; a stage that was finished with some is
    marked as to do again, and files that could not be decoded are forgotten.

    Raises:
        ConfigError: nothing failed with this class, or another process is at work.
        DataError: there is no ledger, or it is none.
    """
    stats = load_stats(run)
    n_calls: Counter[str] = Counter()
    n_payloads = 0
    for shard in ledger_shards(run):
        with open_ledger(run, shard) as ledger:
            n_calls = ledger.failed_calls(error_class)
            n_payloads += ledger.forget_payload_failures(error_class)
    stages = set(n_calls) | ({"trace"} if n_payloads else set())
    if not stages:
        known = {row["status"] for row in [*stats["calls"], *stats["payloads"]]} - {"ok"}
        raise ConfigError(
            f"{run}: no call and no file failed with class {error_class!r}; "
            f"classes in the ledger: {', '.join(sorted(known)) or 'none'}"
        )
    for stage in stages:
        (run / "manifests" / f"{stage}.json").unlink(missing_ok=True)
    commands = " and ".join(f"`avrt {stage}`" for stage in _STAGES if stage in stages)
    return (
        f"{n_calls.total()} calls and {n_payloads} media that failed with class "
        f"{error_class!r} are to be tried again: run {commands} with the same settings"
    )


def _find_keys(ledger: LedgerReader, prefix: str) -> list[str]:
    if len(prefix) < _MIN_PREFIX or not prefix.isalnum():
        raise ConfigError(f"{prefix!r} is no key: give at least its first {_MIN_PREFIX} characters")
    rows = ledger.query("SELECT key FROM calls WHERE key GLOB ? LIMIT 6", (f"{prefix.lower()}*",))
    return sorted({row["key"] for row in rows})


def _section(title: str, text: str) -> str:
    return f"\n{title}\n{textwrap.indent(_printable(text), '  ')}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _format(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
