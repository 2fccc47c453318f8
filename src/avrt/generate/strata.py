"""Tables of the teachers' answers and of the losses: strata, gates, views.

Pure tables over the rows of train, validation and rejected together. A stratum says whether the
vision teacher, the audio teacher and, where one was asked, the teacher without media were right;
the first two by their first answers, as everywhere, the blind one when more than half of its
answers are right, since one lucky guess of several says little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.config import BuildConfig
from avrt.datasets import row_to_sample
from avrt.errors import ConfigError
from avrt.evaluate.statistics import Accuracy
from avrt.generate.records import STRATA, load_teachers, teachers_path
from avrt.generate.views import VIEWS, in_view
from avrt.runs import read_parquet

__all__ = ["count_gates", "count_losses", "count_strata", "count_views", "render_gates",
           "render_losses", "render_strata", "render_views"]  # fmt: skip

ALL = "all"
BLIND = {None: "no answer", True: "right", False: "not right"}


def count_strata(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per question type (and `all`), blind verdict and stratum, with its share.

    `n` of the `of` answered samples of that type; `low` and `high` bound the share (Wilson, 95 %).
    """
    answered = [row for row in rows if row["stratum"] is not None]
    types = [name for name, _ in Counter(row["question_type"] for row in answered).most_common()]
    blind = {row["id"]: _blind_right(row) for row in answered}
    verdicts = [verdict for verdict in BLIND if verdict in blind.values()]
    table: list[dict[str, Any]] = []
    for name in [ALL, *types] if answered else []:
        of_type = [row for row in answered if name in (ALL, row["question_type"])]
        counts = Counter((blind[row["id"]], row["stratum"]) for row in of_type)
        for verdict in verdicts:
            for stratum in STRATA:
                share = Accuracy(counts[verdict, stratum], len(of_type))
                low, high = share.interval
                entry = {"question_type": name, "blind": BLIND[verdict], "stratum": stratum}
                table.append(entry | {"n": share.k, "of": share.n, "low": low, "high": high})
    return table


def count_gates(
    rows: Sequence[Mapping[str, Any]], rejecting: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For every gate how many traces it looked at, found faulty, and rejected as the first."""
    judged = [row["gates"] for row in rows if row["gates"] is not None]
    names = judged[0] if judged else {}
    reasons = Counter(row.get("reason") for row in rows)
    return {
        name: {
            "looked_at": len(judged),
            "found": sum(findings[name] is not None for findings in judged),
            "rejects": name in rejecting,
            "rejected": reasons[f"dropped/{name}"],
        }
        for name in names
    }


def count_losses(rejected: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Rejected samples by `stage: reason`, the most frequent first."""
    return dict(Counter(f"{row['stage']}: {row['reason']}" for row in rejected).most_common())


def count_views(run: Path, build: BuildConfig) -> dict[str, int | None]:
    """How many samples each packaged and each own view selects, before any gate.

    None where a view asks for a teacher that was not asked; empty without teachers' traces.
    """
    if not teachers_path(run).is_file():
        return {}
    answers = load_teachers(run)
    rows = read_parquet(run / "samples.parquet")
    samples = [row_to_sample(row) for row in rows if row["id"] in answers]
    sizes: dict[str, int | None] = {}
    for view in dict.fromkeys([*VIEWS, *build.views, build.view]):
        try:
            reasons = in_view(view, build.views, samples, answers)
        except ConfigError:
            sizes[view] = None
        else:
            sizes[view] = sum(reason is None for reason in reasons.values())
    return sizes


def render_strata(table: Sequence[Mapping[str, Any]]) -> str:
    """One line per question type, a column per stratum: count, share and interval in percent."""
    has_blind = any(entry["blind"] != BLIND[None] for entry in table)
    titles = ["type", *(["blind"] if has_blind else []), "answered"]
    titles += [name.replace("_", " ") for name in STRATA]
    lines = [_line(titles), _rule(len(titles), 1 + has_blind)]
    for start in range(0, len(table), len(STRATA)):
        entries = table[start : start + len(STRATA)]
        first = entries[0]
        head = [first["question_type"], *([first["blind"]] if has_blind else []), str(first["of"])]
        lines.append(_line([*head, *(_share(entry) for entry in entries)]))
    return "\n".join(lines)


def render_gates(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """One line per gate."""
    lines = [_line(["gate", "traces", "found faulty", "%", "rejected by it"]), _rule(5, 1)]
    for name, count in gates.items():
        share = f"{100 * count['found'] / count['looked_at']:.1f}"
        rejected = str(count["rejected"]) if count["rejects"] else "does not reject"
        numbers = [str(count["looked_at"]), str(count["found"]), share, rejected]
        lines.append(_line([name, *numbers]))
    return "\n".join(lines)


def render_losses(losses: Mapping[str, int]) -> str:
    """One line per stage and reason."""
    lines = [_line(["rejected at", "samples"]), _rule(2, 1)]
    return "\n".join([*lines, *(_line([name, str(n)]) for name, n in losses.items())])


def render_views(sizes: Mapping[str, int | None]) -> str:
    """One line per view."""
    lines = [_line(["view", "condition", "selected samples"]), _rule(3, 2)]
    for name, n in sizes.items():
        selected = "needs teachers that were not asked" if n is None else str(n)
        lines.append(_line([name, f"`{VIEWS[name]}`" if name in VIEWS else "own", selected]))
    return "\n".join(lines)


def _blind_right(row: Mapping[str, Any]) -> bool | None:
    for teacher in row["teachers"] or ():
        if teacher["modality"] == "none" and teacher["k"]:
            return 2 * teacher["right"] > teacher["k"]
    return None


def _share(entry: Mapping[str, Any]) -> str:
    if not entry["of"]:
        return "–"
    share, low, high = (
        100 * part for part in (entry["n"] / entry["of"], entry["low"], entry["high"])
    )
    return f"{entry['n']} ({share:.1f} [{low:.1f}, {high:.1f}])"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _rule(n_columns: int, n_left: int) -> str:
    return _line(["---"] * n_left + ["---:"] * (n_columns - n_left))
