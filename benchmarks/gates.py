"""How well gates and judges find the faults of labelled traces.

    python benchmarks/gates.py [--judge CONFIG] [--errors] [--output FILE]

Prints for every gate, and with --judge for every finding of every judge in the configuration, true
and false positives and negatives, precision and recall with Wilson 95 % intervals, on both halves
of the labelled traces; then the time of all gates. Writes the counts to FILE
(src/avrt/generate/measured.json), a judge's under its digest; results of other judges in it stay.
--errors prints the traces of the open half that were missed or wrongly flagged: those of the other
half stay unread, so that it can be measured with again.

The decision to question: for a gate or finding only its own label counts. A trace that is rejected
rightly, but for another fault, is a false positive of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avrt.generate.exam import HALVES, Measured, format_share
from avrt.generate.gates import GATES, Case, check
from avrt.types import LETTERS

ROOT = Path(__file__).parents[1]
LABELLED = ROOT / "tests" / "generate" / "labelled"
MEASURED = ROOT / "src" / "avrt" / "generate" / "measured.json"
GATE_FAULTS = {
    "bad_format": {"format"},
    "inconsistent": {"letter"},
    "leak": {"leak"},
    "language": {"language"},
    "repetition": {"repetition"},
}
"""The labelled fault that each gate is for; the other gates are exact and need no labels."""
N_TRACES = 40_000


@dataclass
class Score:
    """What a gate or finding made of the traces of a half."""

    right: int = 0
    passed: int = 0
    wrong: list[str] = field(default_factory=list)
    """Ids flagged without the fault, with what was flagged."""
    missed: list[str] = field(default_factory=list)
    """Ids with the fault that passed, with the label's note."""

    @property
    def measured(self) -> Measured:
        return Measured(self.right, len(self.wrong), len(self.missed), self.passed)


Scores = dict[str, Score]
"""By gate or finding."""


def read_labelled(half: str) -> list[dict[str, Any]]:
    """The labelled traces of a half."""
    lines = (LABELLED / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line]


def to_case(row: Mapping[str, Any]) -> Case:
    """A labelled trace as its gates see it."""
    return Case(
        text=row["text"],
        question=row["question"],
        options=tuple(row["choices"]),
        target=LETTERS[row["answer"]],
        teacher_texts={"v": row["vision_text"], "a": row["audio_text"]},
    )


def score(
    rows: Iterable[tuple[Mapping[str, Any], Mapping[str, str | None]]],
    faults: Mapping[str, set[str]],
) -> Scores:
    """The score of everything in `faults`; each row comes with what was flagged in it."""
    scores = {name: Score() for name in faults}
    for row, flagged in rows:
        for name, labels in faults.items():
            of_name, reason = scores[name], flagged.get(name)
            has_fault = not labels.isdisjoint(row["faults"])
            if reason is not None and has_fault:
                of_name.right += 1
            elif reason is not None:
                of_name.wrong.append(f"{row['id']} {row['faults']}: {reason}")
            elif has_fault:
                of_name.missed.append(f"{row['id']}: {row['note']}")
            else:
                of_name.passed += 1
    return scores


def score_gates(rows: Sequence[Mapping[str, Any]]) -> Scores:
    """The scores of all gates that have labels."""
    return score(((row, check(to_case(row))) for row in rows), GATE_FAULTS)


def format_table(title: str, halves: Mapping[str, Scores]) -> str:
    """A row per gate or finding and half."""
    lines = [f"{title}\n", "| name | half | tp | fp | fn | tn | precision (95 %) | recall (95 %) |"]
    lines.append("| --- | --- |" + " ---: |" * 4 + " --- | --- |")
    for name in next(iter(halves.values())):
        for half, scores in halves.items():
            m = scores[name].measured
            lines.append(
                f"| {name} | {half} | {m.right} | {m.wrong} | {m.missed} | {m.passed} | "
                f"{format_share(m.right, m.right + m.wrong)} | "
                f"{format_share(m.right, m.right + m.missed)} |"
            )
    return "\n".join(lines)


def format_errors(scores: Scores) -> Iterator[str]:
    """A line for each trace that was missed or wrongly flagged."""
    for name, of_name in scores.items():
        yield from (f"{name} flagged {line}" for line in of_name.wrong)
        yield from (f"{name} missed {line}" for line in of_name.missed)


def to_counts(halves: Mapping[str, Scores], name: str) -> dict[str, Any]:
    """The counts of a gate or finding by half."""
    return {half: asdict(scores[name].measured) for half, scores in halves.items()}


def write_measured(path: Path, gates: Mapping[str, Any], judges: Mapping[str, Any]) -> None:
    """Write the results; those of other judges that are there stay."""
    before = json.loads(path.read_text(encoding="utf-8"))["judges"] if path.is_file() else {}
    results = {"gates": gates, "judges": before | dict(judges)}
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def measure_us(rows: Sequence[Mapping[str, Any]]) -> float:
    """CPU microseconds of all gates per trace, from the best of three runs over the rows."""
    times = []
    for _ in range(3):
        cases = [to_case(row) for row in rows]
        start = time.process_time()
        for case in cases:
            check(case)
        times.append(time.process_time() - start)
    return min(times) / len(rows) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--errors", action="store_true", help="print the errors on the open half")
    parser.add_argument("--output", type=Path, default=MEASURED, help="file of the results")
    args = parser.parse_args()
    rows = {half: read_labelled(half) for half in HALVES}
    halves = {half: score_gates(of_half) for half, of_half in rows.items()}
    print(format_table(f"gates; {', '.join(f'{len(rows[h])} {h}' for h in HALVES)}", halves))
    if args.errors:
        print(*format_errors(halves["open"]), sep="\n")
    us = measure_us(rows["open"])
    print(f"\nall gates: {us:.0f} us a trace, {us * N_TRACES / 1e6:.1f} s for {N_TRACES:,} (CPU)")
    gates = {
        name: {"version": GATES[name].version, **to_counts(halves, name)} for name in GATE_FAULTS
    }
    write_measured(args.output, gates, {})


if __name__ == "__main__":
    main()
