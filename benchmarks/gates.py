"""How well the gates find the faults of labelled traces: one table per file.

    python benchmarks/gates.py tests/generate/labelled/open.jsonl [more.jsonl ...] [--errors]

Prints true and false positives and negatives, precision and recall of every gate that has a label,
with Wilson 95 % intervals, and for the other gates how many traces they reject; --errors names the
traces that were missed or wrongly flagged. Then the time of all gates for 40,000 such traces.

The decision to question: for a gate only its own label counts. A trace that is rejected rightly,
but for the fault of another gate, is a false positive of this one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.generate.gates import GATES, Case, judge
from avrt.types import LETTERS

LABELS = {
    "bad_format": "format",
    "inconsistent": "letter",
    "leak": "leak",
    "language": "language",
    "repetition": "repetition",
    "grounding": "grounding",
    "contradiction": "contradiction",
    "unsupported": "unsupported",
}
"""The labelled fault that each gate is to find; the other gates need no labels."""
N_TRACES = 40_000


@dataclass
class Score:
    """What one gate made of the traces of one file."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    """Ids flagged without the fault, with what was found."""
    missed: list[str] = field(default_factory=list)
    """Ids with the fault that passed, with the label's note."""
    n: int = 0

    @property
    def passed(self) -> int:
        return self.n - self.right - len(self.wrong) - len(self.missed)


def to_case(row: Mapping[str, Any]) -> Case:
    """The labelled trace as its gates see it."""
    return Case(
        text=row["text"],
        question=row["question"],
        options=tuple(row["choices"]),
        target=LETTERS[row["answer"]],
        question_relation=row["question_relation"],
        teacher_texts={"v": row["vision_text"], "a": row["audio_text"]},
    )


def read_labelled(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of labelled traces."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def score(rows: Iterable[Mapping[str, Any]]) -> dict[str, Score]:
    """Every gate's score over the rows."""
    scores = {name: Score() for name in GATES}
    for row in rows:
        for name, found in judge(to_case(row)).items():
            one, has_fault = scores[name], LABELS.get(name) in row["faults"]
            one.n += 1
            if found is not None and has_fault:
                one.right += 1
            elif found is not None:
                one.wrong.append(f"{row['id']} {row['faults']}: {found}")
            elif has_fault:
                one.missed.append(f"{row['id']}: {row['note']}")
    return scores


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share; all of it when nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    z, share = 1.959964, hits / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def format_share(hits: int, n: int) -> str:
    """A share with its interval; "none" of nothing."""
    if n == 0:
        return "none"
    low, high = wilson(hits, n)
    return f"{hits / n:.2f} ({low:.2f}-{high:.2f})"


def format_table(scores: Mapping[str, Score]) -> str:
    """The rows of the table, labelled gates first."""
    lines = ["| gate | tp | fp | fn | tn | precision (95 %) | recall (95 %) |", "|" + " --- |" * 7]
    for name in LABELS:
        one = scores[name]
        wrong, missed = len(one.wrong), len(one.missed)
        lines.append(
            f"| {name} | {one.right} | {wrong} | {missed} | {one.passed} | "
            f"{format_share(one.right, one.right + wrong)} | "
            f"{format_share(one.right, one.right + missed)} |"
        )
    without = [f"{name} {len(one.wrong)}" for name, one in scores.items() if name not in LABELS]
    return "\n".join([*lines, f"without a label, rejected: {', '.join(without)}"])


def format_errors(scores: Mapping[str, Score]) -> str:
    """One line for each trace that a labelled gate got wrong."""
    return "\n".join(
        f"{name} {what} {one}"
        for name in LABELS
        for what, errors in (("flagged", scores[name].wrong), ("missed", scores[name].missed))
        for one in errors
    )


def measure_s(rows: Sequence[Mapping[str, Any]]) -> float:
    """CPU seconds of all gates for 40,000 traces, from the best of three runs over the rows."""
    times = []
    for _ in range(3):
        start = time.process_time()
        for row in rows:
            judge(to_case(row))
        times.append(time.process_time() - start)
    return min(times) / len(rows) * N_TRACES


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, help="labelled traces, JSON Lines")
    parser.add_argument("--errors", action="store_true", help="name the traces that were missed")
    args = parser.parse_args()
    for path in args.files:
        rows = read_labelled(path)
        scores = score(rows)
        print(f"{path}: {len(rows)} traces\n{format_table(scores)}")
        if args.errors and (errors := format_errors(scores)):
            print(errors)
        print(f"all gates, {N_TRACES:,} traces: {measure_s(rows):.1f} s of CPU time\n")


if __name__ == "__main__":
    main()
