"""What `avrt ledger` tells: calls and failures in numbers, one call in full, failures to retry.

Reads RUN/ledger.sqlite, also while a stage writes it. Only `retry` changes something: it forgets
what is known about files that failed, and marks stages as to do again.

The decision to question: what models wrote is printed without control characters, which could
change the terminal; `--json` escapes them, and is exact.
"""

from __future__ import annotations

import json
import sqlite3
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.ask.ledger import open_ledger, read_ledger
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


def load_stats(run: Path) -> dict[str, Any]:
    """Calls by stage, role and status; failures by class with an example; what was decoded.

    Raises:
        DataError: there is no ledger, or it is none.
    """
    with read_ledger(run) as connection:
        calls = connection.execute(
            f"SELECT stage, role, {_STATUS} AS status, COUNT(*) AS calls,"
            " SUM(n_prompt_tokens) AS prompt_tokens, SUM(n_completion_tokens) AS completion_tokens,"
            " ROUND(SUM(latency_s), 1) AS seconds, SUM(n_attempts) AS attempts FROM calls"
            " JOIN (SELECT key, COUNT(*) AS n_attempts FROM attempts GROUP BY key) USING (key)"
            " GROUP BY stage, role, status ORDER BY MIN(calls.created), role, calls DESC"
        )
        failures = connection.execute(
            f"SELECT {_STATUS} AS class, COUNT(*) AS attempts, COUNT(DISTINCT key) AS calls,"
            " MIN(key) AS example_key, error AS example FROM attempts"
            " WHERE finish_reason = 'error' GROUP BY class ORDER BY attempts DESC, class"
        )
        files = connection.execute(
            "SELECT COALESCE(error_class, 'ok') AS status, COUNT(*) AS payloads, error AS example"
            " FROM payloads GROUP BY status ORDER BY payloads DESC, status"
        )
        tables = {"calls": calls, "failures": failures, "payloads": files}
        return {name: [dict(row) for row in rows] for name, rows in tables.items()}


def render_stats(stats: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """`load_stats` as text."""
    totals: dict[str, Any] = dict.fromkeys(_COLUMNS[:3], "") | {"stage": "total"}
    for name in _COLUMNS[3:]:
        totals[name] = round(sum(row[name] for row in stats["calls"]), 1)
    rows = [
        list(_COLUMNS),
        *([_format(row[name]) for name in _COLUMNS] for row in [*stats["calls"], totals]),
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
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
        ConfigError: no call's key, of now or of an older version, starts so, or several do.
        DataError: there is no ledger, or it is none.
    """
    with read_ledger(run) as connection:
        keys = _find_keys(connection, prefix)
        if len(keys) != 1:
            known = f"; these do: {', '.join(keys[:5])}" if keys else ""
            raise ConfigError(
                f"{run}: {len(keys) or 'no'} calls have a key that starts with {prefix!r}{known}"
            )
        call = dict(connection.execute("SELECT * FROM calls WHERE key = ?", keys).fetchone())
        attempts = connection.execute(
            "SELECT * FROM attempts WHERE key = ? ORDER BY attempt", keys
        ).fetchall()
    call["request"] = json.loads(call.pop("request_json"))
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
    for one in call["attempts"]:
        title = f"attempt {one['attempt']}, {one['created']}, {one['latency_s']:.2f} s"
        failure = f"{one['error_class']}: {one['error']}" if one["error_class"] else "replied"
        parts.append(_section(title, "\n".join(filter(None, [failure, one.get("text")]))))
    return "\n".join(parts)


def retry(run: Path, error_class: str) -> str:
    """Mark what failed with this class as to be tried again; says what that is.

    Raises:
        ConfigError: nothing failed with this class, or another process is at work.
        DataError: there is no ledger, or it is none.
    """
    stats = load_stats(run)
    with open_ledger(run) as ledger:
        n_calls = ledger.failed_calls(error_class)
        n_payloads = ledger.forget_payload_failures(error_class)
    stages = set(n_calls) | ({"trace"} if n_payloads else set())
    if not stages:
        known = {row["status"] for row in [*stats["calls"], *stats["payloads"]]} - {"ok"}
        raise ConfigError(
            f"{run}: no call and no file failed with class {error_class!r}; "
            f"classes in the ledger: {', '.join(sorted(known)) or 'none'}"
        )
    for stage in stages:
        (run / "manifests" / f"{stage}.json").unlink(missing_ok=True)
    commands = " and ".join(f"`avrt {stage}`" for stage in ("trace", "merge") if stage in stages)
    return (
        f"{sum(n_calls.values())} calls and {n_payloads} media that failed with class "
        f"{error_class!r} are to be tried again: run {commands} with the same settings"
    )


def _find_keys(connection: sqlite3.Connection, prefix: str) -> list[str]:
    if len(prefix) < _MIN_PREFIX or not prefix.isalnum():
        raise ConfigError(f"{prefix!r} is no key: give at least its first {_MIN_PREFIX} characters")
    query = "SELECT key FROM calls WHERE key GLOB ?"
    has_former = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'former_keys'")
    patterns = [f"{prefix.lower()}*"]
    if has_former.fetchone():
        query += " UNION SELECT key FROM former_keys WHERE former GLOB ?"
        patterns *= 2
    return [key for (key,) in connection.execute(f"{query} LIMIT 6", patterns)]


def _section(title: str, text: str) -> str:
    return f"\n{title}\n{textwrap.indent(_printable(text), '  ')}"


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)


def _format(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
