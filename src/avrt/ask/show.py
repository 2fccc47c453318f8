"""Show the ledger: calls and failures in numbers, one call in full, failures to try again.

Reads the ledger of a run, also while a stage writes it. Only `retry` changes something: it forgets
which files failed.

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
from avrt.ask.rows import latest_by_key
from avrt.errors import ConfigError

__all__ = ["load_call", "load_stats", "render_call", "render_stats", "retry"]

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
            "SELECT key, stage, role, finish_reason, error_class, n_prompt_tokens,"
            " n_completion_tokens, latency_s, created FROM calls"
        )
        attempts = ledger.query("SELECT key, COUNT(*) AS n FROM attempts GROUP BY key")
        failures = ledger.query(
            "SELECT key, error_class, error FROM attempts WHERE finish_reason = 'error'"
        )
        files = ledger.query("SELECT file_sha256, recipe, error_class, error FROM payloads")
    n_attempts: Counter[str] = Counter()
    for row in attempts:
        n_attempts[row["key"]] += row["n"]
    return {
        "calls": _count_calls(latest_by_key(calls).values(), n_attempts),
        "failures": _count_failures(failures),
        "payloads": _count_files(files),
    }


def _count_calls(
    calls: Iterable[sqlite3.Row], n_attempts: Mapping[str, int]
) -> list[dict[str, Any]]:
    """A row per stage, role and status, in the order in which the roles began."""
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    since: dict[tuple[str, str], str] = {}
    for call in calls:
        status = (call["error_class"] or "unknown") if call["finish_reason"] == "error" else "ok"
        role = call["stage"], call["role"]
        since[role] = min(since.get(role, call["created"]), call["created"])
        numbers: dict[str, Any] = dict.fromkeys(_COLUMNS[3:], 0)
        group = groups.setdefault((*role, status), numbers)
        group["calls"] += 1
        group["prompt_tokens"] += call["n_prompt_tokens"]
        group["completion_tokens"] += call["n_completion_tokens"]
        group["seconds"] += call["latency_s"]
        group["attempts"] += n_attempts[call["key"]]
    rows = [
        {
            **dict(zip(_COLUMNS[:3], names, strict=True)),
            **group,
            "seconds": round(group["seconds"], 1),
        }
        for names, group in groups.items()
    ]
    return sorted(rows, key=lambda row: (since[row["stage"], row["role"]], -row["calls"]))


def _count_failures(failures: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
    by_class: dict[str, list[sqlite3.Row]] = {}
    for row in failures:
        by_class.setdefault(row["error_class"] or "unknown", []).append(row)
    rows = [
        {
            "class": name,
            "attempts": len(of_class),
            "calls": len({row["key"] for row in of_class}),
            "example_key": of_class[0]["key"],
            "example": of_class[0]["error"],
        }
        for name, of_class in by_class.items()
    ]
    return sorted(rows, key=lambda row: (-row["attempts"], row["class"]))


def _count_files(files: Iterable[sqlite3.Row]) -> list[dict[str, Any]]:
    """A file that decodes by one ledger file decodes."""
    errors: dict[tuple[str, str], tuple[str, str | None]] = {}
    for row in files:
        name = row["file_sha256"], row["recipe"]
        if row["error_class"] is None or name not in errors:
            errors[name] = (row["error_class"] or "ok", row["error"])
    counts = Counter(status for status, _ in errors.values())
    examples = dict(errors.values())
    return [
        {"status": status, "payloads": n, "example": examples[status]}
        for status, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


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
    if not call["attempts"]:
        parts.append("\nnot made here: the reply is another run's (run.calls_from)")
    for attempt in call["attempts"]:
        title = f"attempt {attempt['attempt']}, {attempt['created']}, {attempt['latency_s']:.2f} s"
        error_class = attempt["error_class"]
        outcome = f"{error_class}: {attempt['error']}" if error_class else "replied"
        parts.append(_section(title, "\n".join(filter(None, [outcome, attempt.get("text")]))))
    return "\n".join(parts)


def retry(run: Path, error_class: str) -> str:
    """Have the calls and files that failed with a class tried again; the message says which.

    Every repeated command tries failed calls again; files that could not be decoded are forgotten
    here, so that they are tried again, too.

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
    if not n_calls and not n_payloads:
        known = {row["status"] for row in [*stats["calls"], *stats["payloads"]]} - {"ok"}
        raise ConfigError(
            f"{run}: no call and no file failed with class {error_class!r}; "
            f"classes in the ledger: {', '.join(sorted(known)) or 'none'}"
        )
    asked = {row["stage"] for row in stats["calls"]}
    reading = [stage for stage in ("trace", "eval") if stage in asked] if n_payloads else []
    commands = [f"`avrt {stage}`" for stage in _STAGES if stage in {*n_calls, *reading}]
    return (
        f"{n_calls.total()} calls and {n_payloads} media that failed with class {error_class!r} "
        f"are to be tried again: run {' and '.join(commands) or '`avrt trace`'} with the same "
        "settings"
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
