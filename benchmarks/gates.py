"""How well gates and judges find the faults of labelled traces.

    python benchmarks/gates.py [--judge CONFIG] [--errors] [--output FILE]

Prints for every gate, and with --judge for every finding of every judge in the configuration, true
and false positives and negatives, precision and recall with Wilson 95 % intervals, on both halves
of the labelled traces; then the time of all gates. Writes the counts to FILE
(src/avrt/generate/measured.json), a judge's under its digest; results of other judges in it stay.
The judges' calls are kept in RUN/exam/ledger.sqlite of the configuration's run, so the same command
goes on where it stopped. --errors prints the traces of the open half that were missed or wrongly
flagged: those of the other half stay unread, so that it can be measured with again.

The decision to question: for a gate or finding only its own labels count. A trace that is rejected
rightly, but for another fault, is a false positive of it. A trace without a verdict counts as not
flagged, so it costs recall.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from avrt.ask.budget import Budget
from avrt.ask.calls import Drafts, call_all, check_failure_rate
from avrt.ask.ledger import open_ledger
from avrt.config import Config, load_config
from avrt.engines import engine_of_role
from avrt.generate.exam import HALVES, Measured, format_share
from avrt.generate.gates import GATES, Case, check
from avrt.generate.verdict import Verdict, describe_judge, draft_votes, read_verdict
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
FINDING_FAULTS = {
    "leak": {"leak"},
    "grounding": {"unsupported"},
    "contradiction": {"contradiction"},
    "support": {"letter", "grounding"},
}
"""The labelled faults that each finding of a judge is for. The label `unsupported` says that facts
are in no teacher's text, `grounding` that the trace leaves out a sense that the question needs."""
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


def judge_all(config: Config, name: str, cases: Mapping[str, Case]) -> dict[str, Verdict]:
    """The verdicts of a judge on labelled traces, by id; calls that are in the ledger are not made
    again.
    """
    judge, folder = config.judges[name], config.run.path / "exam"
    drafts = list(draft_votes(name, judge, config.run.seed, cases.items()))
    with open_ledger(folder) as ledger, closing(engine_of_role(judge, config.media)) as engine:
        each = Drafts(f"exam of {name}", len(drafts), drafts, config.media)
        outcomes = call_all(ledger, engine, each, Budget())
        replies = ledger.find_all([o.key for o in outcomes.values() if o.key is not None])
    limit = config.generate.max_failure_rate
    check_failure_rate(f"exam of {name}", outcomes.values(), limit)
    return {
        id_: read_verdict([outcomes[id_, vote] for vote in range(judge.votes)], replies, case.text)
        for id_, case in cases.items()
    }


def score_judge(
    verdicts: Mapping[str, Verdict], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Scores]:
    """The scores of a judge's findings by half."""
    return {
        half: score(((row, verdicts[f"{half}/{row['id']}"].findings) for row in of), FINDING_FAULTS)
        for half, of in rows.items()
    }


def measure_judges(
    config: Config, rows: Mapping[str, Sequence[Mapping[str, Any]]], errors: bool
) -> dict[str, Any]:
    """Print how good every judge of a configuration is; the results by its digest."""
    cases = {f"{half}/{row['id']}": to_case(row) for half, of in rows.items() for row in of}
    results: dict[str, Any] = {}
    for name, judge in config.judges.items():
        verdicts = judge_all(config, name, cases)
        halves = score_judge(verdicts, rows)
        unread = sum(verdict.status != "ok" for verdict in verdicts.values())
        title = f"judge {name}, {judge.model}; {unread} of {len(cases)} traces without a verdict"
        print(f"\n{format_table(title, halves)}")
        if errors:
            print(*format_errors(halves["open"]), sep="\n")
        description = describe_judge(judge, config.media)
        results[description["digest"]] = {
            "judge": {key: description[key] for key in ("engine", "prompt", "votes")},
            "unread": unread,
            "findings": {finding: to_counts(halves, finding) for finding in FINDING_FAULTS},
        }
    return results


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--judge", type=Path, help="configuration whose judges are measured")
    parser.add_argument("--errors", action="store_true", help="print the errors on the open half")
    parser.add_argument("--output", type=Path, default=MEASURED, help="file of the results")
    args = parser.parse_args(arguments)
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
    config = load_config(args.judge) if args.judge is not None else None
    judges = measure_judges(config, rows, args.errors) if config is not None else {}
    write_measured(args.output, gates, judges)


if __name__ == "__main__":
    main()
