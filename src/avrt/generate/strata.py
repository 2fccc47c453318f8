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
from avrt.datasets.prepared import load_samples
from avrt.errors import ConfigError
from avrt.evaluate.statistics import Accuracy
from avrt.generate.records import STRATA, answers_about, teachers_path
from avrt.generate.views import VIEWS, Selection

__all__ = ["Losses", "count_views", "render_gates", "render_losses", "render_strata",
           "render_views"]  # fmt: skip

ALL = "all"
BLIND = {None: "no answer", True: "right", False: "not right"}


class Losses:
    """The counts over all rows of a dataset, kept or rejected, one by one."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, bool | None, str]] = Counter()
        """By question type, blind verdict and stratum."""
        self._gates: dict[str, int] = {}
        """Traces that each gate found faulty."""
        self._n_gated = 0
        self._reasons: Counter[str | None] = Counter()
        self._losses: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row; a rejected one has `stage` and `reason`."""
        if row["stratum"] is not None:
            self._answered[row["question_type"], _blind_right(row), row["stratum"]] += 1
        if row["gates"] is not None:
            self._n_gated += 1
            for name, fault in row["gates"].items():
                self._gates[name] = self._gates.get(name, 0) + (fault is not None)
        self._reasons[row.get("reason")] += 1
        if "reason" in row:
            self._losses[f"{row['stage']}: {row['reason']}"] += 1

    def strata(self) -> list[dict[str, Any]]:
        """One entry per question type (and `all`), blind verdict and stratum, with its share.

        `n` of the `of` answered samples of that type; `low` and `high` bound the share (Wilson,
        95 %).
        """
        types: Counter[str] = Counter()
        for (name, _, _), n in self._answered.items():
            types[name] += n
        seen = {verdict for _, verdict, _ in self._answered}
        table: list[dict[str, Any]] = []
        for name in [ALL, *(name for name, _ in types.most_common())] if types else []:
            counts: Counter[tuple[bool | None, str]] = Counter()
            for (of_type, verdict, stratum), n in self._answered.items():
                if name in (ALL, of_type):
                    counts[verdict, stratum] += n
            for verdict in BLIND:
                for stratum in STRATA if verdict in seen else ():
                    share = Accuracy(counts[verdict, stratum], counts.total())
                    low, high = share.interval
                    entry = {"question_type": name, "blind": BLIND[verdict], "stratum": stratum}
                    table.append(entry | {"n": share.k, "of": share.n, "low": low, "high": high})
        return table

    def gates(self, rejecting: Sequence[str]) -> dict[str, dict[str, Any]]:
        """For every gate how many traces it looked at, found faulty, and rejected as the first."""
        return {
            name: {
                "looked_at": self._n_gated,
                "found": found,
                "rejects": name in rejecting,
                "rejected": self._reasons[f"dropped/{name}"],
            }
            for name, found in self._gates.items()
        }

    def losses(self) -> dict[str, int]:
        """Rejected samples by `stage: reason`, the most frequent first."""
        return dict(self._losses.most_common())


def count_views(run: Path, build: BuildConfig) -> dict[str, int | None]:
    """How many samples each packaged and each own view selects, before any gate.

    None where a view asks for a teacher that was not asked; empty without teachers' traces.
    """
    if not teachers_path(run).is_file():
        return {}
    sizes: dict[str, int | None] = {}
    pairs = answers_about(run, load_samples(run), with_texts=False)
    with Selection(build.views, pairs) as selection:
        for view in dict.fromkeys([*VIEWS, *build.views, build.view]):
            try:
                reasons = selection.reasons(view)
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
