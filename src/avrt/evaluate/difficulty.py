"""How hard each item of a benchmark is, by how many single-modality teachers get it right.

Reads the teachers' logs; writes RUN/eval/BENCH/difficulty.parquet: the item's id, each teacher's
verdict and `easy` (all teachers right), `medium` (some) or `hard` (none). The file stands for
itself: its metadata say who the teachers are and under which protocol they answered.

The decision to question: an item that a teacher could not be asked (its sound cannot be decoded) is
one that it did not get right. The publication leaves three such items out, so its counts add to
1,139 of 1,142.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from avrt.config import Config
from avrt.errors import ConfigError
from avrt.evaluate.levels import LEVELS, difficulty_path, level_of
from avrt.evaluate.results import ModelResult, read_results
from avrt.runs import Result, write_parquet

__all__ = ["make_difficulty"]


def make_difficulty(config: Config, teachers: Sequence[str]) -> Result:
    """Write the difficulty of every benchmark that all these teachers have answered.

    Raises:
        ConfigError: fewer than two teachers, one that has answered no set in its own modality
            alone, or no set that all have finished.
    """
    if len(set(teachers)) < 2:
        raise ConfigError("name two teachers or more, each evaluated in a modality of its own")
    results = [
        result for result in read_results(config, with_texts=False) if result.model in teachers
    ]
    counts: Counter[str] = Counter()
    texts: list[str] = []
    left: list[str] = []
    for benchmark in sorted({result.benchmark for result in results}):
        own = [_own_result(results, benchmark, name) for name in teachers]
        finished = [result for result in own if result is not None and not result.n_left]
        left += [
            f"{result.model} has {result.n_left} answers to {benchmark} left"
            for result in own
            if result is not None and result.n_left
        ]
        if len(finished) == len(own):
            path = difficulty_path(config.run.path, benchmark)
            levels = _write(path, finished)
            counts.update(levels)
            shares = ", ".join(f"{levels[level]} {level}" for level in LEVELS)
            texts.append(f"{benchmark}: {shares}; {path}{_unasked(finished)}")
    if not texts:
        raise ConfigError(
            f"{config.run.path}/eval: no set that all of {', '.join(teachers)} have finished"
            f"{''.join(f'; {text}' for text in left)}; run `avrt eval` with each of them in "
            f"eval.models, with a modality of its own"
        )
    return Result("\n".join([*texts, *left]), counts)


def _own_result(results: Sequence[ModelResult], benchmark: str, name: str) -> ModelResult | None:
    """The answers of a teacher with its one modality; None before it has any.

    Raises:
        ConfigError: it has answered in several, so that it is no single-modality teacher.
    """
    own = [r for r in results if (r.benchmark, r.model) == (benchmark, name)]
    if len(own) > 1:
        given = ", ".join(result.modality.upper() for result in own)
        raise ConfigError(
            f"{name!r} has answered {benchmark} by {given}; a teacher has one modality: set "
            f"eval.models.{name}.modality, and delete the other logs"
        )
    return own[0] if own else None


def _write(path: Path, results: Sequence[ModelResult]) -> Counter[str]:
    """Write the levels of one benchmark and count them."""
    rows: list[dict[str, Any]] = []
    for sample_id in results[0].items:
        if not all(sample_id in result.by_id for result in results):
            continue  # beyond the limit
        verdicts = [result.correct.get(sample_id, [False])[0] for result in results]
        row: dict[str, Any] = {"id": sample_id, "difficulty": level_of(verdicts)}
        for result, verdict in zip(results, verdicts, strict=True):
            row[f"{result.model}_correct"] = verdict
            row[f"{result.model}_status"] = result.by_id[sample_id].status
        rows.append(row)
    about = {
        result.model: {
            "modality": result.modality,
            "model": result.settings.model,
            "protocol": result.protocol_id,
        }
        for result in results
    }
    fields = [pa.field("id", pa.string()), pa.field("difficulty", pa.string())]
    for result in results:
        fields.append(pa.field(f"{result.model}_correct", pa.bool_()))
        fields.append(pa.field(f"{result.model}_status", pa.string()))
    metadata = {"benchmark": results[0].benchmark, "teachers": json.dumps(about, sort_keys=True)}
    write_parquet(path, rows, pa.schema(fields, metadata=metadata))
    return Counter(row["difficulty"] for row in rows)


def _unasked(results: Sequence[ModelResult]) -> str:
    parts = [
        f"{result.model} has no reply to {n}"
        for result in results
        if (n := result.counts["missing_media"] + result.counts["failed"])
    ]
    return f" ({', '.join(parts)}: not right)" if parts else ""
