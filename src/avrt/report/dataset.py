"""The dataset: its statistics as `avrt stats` computes them, and what they are distributed like.

Reads RUN/dataset/ and RUN/media.parquet through the stage `stats`, which also stores its numbers in
RUN/dataset/statistics.json; the distributions are counted row by row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any

from avrt.config import Config
from avrt.evaluate.statistics import Accuracy
from avrt.generate import stats
from avrt.report.accuracy import BenchmarkResults, accuracy_cell
from avrt.report.charts import Chart, dot
from avrt.report.links import items_link
from avrt.report.tables import Cell, Table
from avrt.runs import iter_parquet

__all__ = ["Distributions", "count_trained", "dataset_table", "distribution_charts",
           "read_distributions", "repeats_table"]  # fmt: skip

SPLITS = ("train", "validation")
_FILTERS = {"type": "type", "gold": "letter", "relation": "relation"}
"""Groups of statistics that the page can filter by."""


def dataset_table(config: Config) -> Table | None:
    """Every statistic of both splits; None while there is no dataset."""
    folder = config.run.path / "dataset"
    needed = (
        folder / "train.parquet",
        folder / "validation.parquet",
        config.run.path / "media.parquet",
    )
    if not all(path.is_file() for path in needed):
        return None
    stats.run(config)
    described = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
    return Table(
        "dataset",
        "Statistics of the dataset",
        ("", "Train", "Validation"),
        tuple(
            (name, *(_statistic(name, described[split][name], split) for split in SPLITS))
            for name in _ordered(described["train"])
        ),
        (f"Lengths are counted in {described['length_unit']}; ± is one standard deviation.",),
    )


def count_trained(run: Path, benchmarks: Sequence[BenchmarkResults]) -> dict[str, int]:
    """How many items of each benchmark are in the training set, by id and question; those that
    have none are left out.
    """
    path = run / "dataset" / "train.parquet"
    if not path.is_file():
        return {}
    trained = {(row["id"], row["question"]) for row in iter_parquet(path, ["id", "question"])}
    counts = {
        benchmark.name: sum((id_, of.question) in trained for id_, of in benchmark.samples.items())
        for benchmark in benchmarks
    }
    return {name: n for name, n in counts.items() if n}


def _statistic(name: str, text: str | None, split: str) -> Cell | str:
    group, _, value = name.removesuffix(", %").partition(" ")
    if not text or (name != "samples" and (group not in _FILTERS or value == "all others")):
        return text or "–"
    filters = {} if name == "samples" else {_FILTERS[group]: value}
    return Cell(text, href=items_link(origin="dataset", outcome=split, **filters))


_GROUPS = (
    "samples",
    "format",
    "think",
    "answer",
    "duration",
    "primary",
    "type",
    "gold",
    "relation",
)


def _ordered(described: Mapping[str, str | None]) -> list[str]:
    """Statistics in the order of the method's own table; question types by their share."""

    def rank(name: str) -> tuple[int, float, str]:
        group = name.split()[0].rstrip(",")
        share = float(described[name] or 0) if group == "type" else 0.0
        return (_GROUPS.index(group) if group in _GROUPS else len(_GROUPS), -share, name)

    return sorted(described, key=rank)


COLUMNS = {
    "type": ("Type of question", "question_type", "type"),
    "letter": ("Letter of the right answer", "answer_letter", "letter"),
    "relation": ("What the question is about", "question_relation", "relation"),
}
"""Title, column of the dataset, and filter of the page."""
COLUMN_FILTERS = tuple(filter_ for _, _, filter_ in COLUMNS.values())
_MEASURES = {
    "words": ("Length of the thought", "words", "think_words"),
    "duration": ("Duration of the clip", "seconds", "duration_s"),
}
"""Title, unit, and filter of the page."""
_MAX_BARS = 15
_BINS = 16


class Distributions:
    """Counts over the rows of a dataset, by split."""

    def __init__(self) -> None:
        self.n: Counter[str] = Counter()
        self.values: dict[str, dict[str, Counter[str]]] = {
            name: {split: Counter() for split in SPLITS} for name in (*COLUMNS, "resolution")
        }
        self.measures: dict[str, dict[str, Counter[int]]] = {
            name: {split: Counter() for split in SPLITS} for name in _MEASURES
        }
        """Whole words, and tenths of a second."""
        self.questions: Counter[bytes] = Counter()
        self.clips: Counter[bytes] = Counter()
        self.thoughts: Counter[bytes] = Counter()
        self.matches: Counter[tuple[str, str]] = Counter()
        """Samples that a benchmark holds too, by benchmark and rule."""

    def add(self, split: str, row: Mapping[str, Any], media: Mapping[str, _Medium]) -> None:
        self.n[split] += 1
        for name, (_, column, _) in COLUMNS.items():
            self.values[name][split][str(row[column])] += 1
        duration, size = media.get(row["video"] or row["image"] or "", (None, None))
        self.values["resolution"][split][size or "unknown"] += 1
        if duration is not None:
            self.measures["duration"][split][round(10 * duration)] += 1
        if row["think"]:
            self.measures["words"][split][len(row["think"].split())] += 1
            self.thoughts[_digest(row["think"])] += 1
        self.questions[_digest(row["question"], *row["choices"])] += 1
        self.clips[_digest(row["video_id"] or row["id"])] += 1


_Medium = tuple[float | None, str | None]


def read_distributions(run: Path) -> Distributions | None:
    """Count the dataset of a run; None while there is none."""
    folder = run / "dataset"
    if not all((folder / f"{split}.parquet").is_file() for split in SPLITS):
        return None
    media: dict[str, _Medium] = {}
    if (run / "media.parquet").is_file():
        for row in iter_parquet(run / "media.parquet", ["path", "duration_s", "width", "height"]):
            size = intern(f"{row['width']}×{row['height']}") if row["width"] else None
            media[row["path"]] = row["duration_s"], size
    columns = [column for _, column, _ in COLUMNS.values()]
    columns += ["id", "video", "image", "video_id", "think", "question", "choices"]
    counted = Distributions()
    for split in SPLITS:
        for row in iter_parquet(folder / f"{split}.parquet", columns):
            counted.add(split, row, media)
    if (folder / "contamination.parquet").is_file():
        found = iter_parquet(folder / "contamination.parquet", ["id", "benchmark", "by"])
        pairs = {(row["id"], row["benchmark"], row["by"]) for row in found}
        counted.matches.update((benchmark, by) for _, benchmark, by in pairs)
    return counted


def distribution_charts(counted: Distributions) -> tuple[list[Chart], list[Table]]:
    """Bars of every distribution, and the tables with the same numbers."""
    charts, tables = [], []
    for name, (title, _, filter_) in COLUMNS.items():
        charts.append(_bars(name, title, _frequent(counted.values[name]), counted.n, filter_))
    charts.append(
        _bars("resolution", "Resolution of the clip", _frequent(counted.values["resolution"]),
              counted.n, "")
    )  # fmt: skip
    for name, (title, unit, filter_) in _MEASURES.items():
        binned = _histogram(counted.measures[name], 10 if name == "duration" else 1)
        if binned:
            charts.append(_bars(name, f"{title}, {unit}", binned, counted.n, filter_))
    charts = [chart for chart in charts if chart.data["rows"]]
    for chart in charts:
        tables.append(_bars_table(chart))
    return charts, tables


def _frequent(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """The most frequent values; the others together."""
    total = sum(counts.values(), Counter[str]())
    names = sorted(total, key=lambda name: (-total[name], name))
    shown = names[:_MAX_BARS] if len(names) > _MAX_BARS + 1 else names
    bars = {name: {split: of[name] for split, of in counts.items()} for name in sorted(shown)}
    if len(shown) <= 6 and all(len(name) == 1 for name in shown):
        return bars  # letters stay in their order
    bars = {name: bars[name] for name in shown}
    if len(shown) < len(names):
        rest = names[len(shown) :]
        bars[OTHERS] = {split: sum(of[name] for name in rest) for split, of in counts.items()}
    return bars


OTHERS = "all others"


def _histogram(counts: Mapping[str, Counter[int]], parts: int) -> dict[str, dict[str, int]]:
    """Counts in bins of one round width; values are given in parts of a unit."""
    values = [value for of in counts.values() for value in of]
    if not values:
        return {}
    low, high = min(values), max(values)
    width = _round_step((high - low) / _BINS / parts) if high > low else 1.0
    step = max(1, round(width * parts))  # no bin is narrower than what its name can say
    first = low // step
    bins = {
        _bin_name(place * step / parts, step / parts, parts): dict.fromkeys(counts, 0)
        for place in range(first, high // step + 1)
    }
    names = list(bins)
    for split, of in counts.items():
        for value, n in of.items():
            bins[names[value // step - first]][split] += n
    return bins


def _round_step(width: float) -> float:
    """The next of 1, 2, 5, 10, … that is not smaller."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= width * 0.999)


def _bin_name(low: float, step: float, parts: int) -> str:
    if step == 1 and parts == 1:
        return f"{low:.0f}"
    digits = 0 if step >= 1 else 1
    return f"{low:.{digits}f}–{low + step - (1 if parts == 1 else 0):.{digits}f}"


def _bars(
    name: str,
    title: str,
    bars: Mapping[str, Mapping[str, int]],
    sizes: Mapping[str, int],
    filter_: str,
) -> Chart:
    rows = [
        dot(
            value,
            split.capitalize(),
            Accuracy(n, sizes[split]),
            items_link(origin="dataset", outcome=split, **{filter_: _wanted(filter_, value)})
            if filter_ and value != OTHERS
            else "",
            k=n,
        )
        for value, of in bars.items()
        for split, n in of.items()
        if sizes[split]
    ]
    if filter_ not in COLUMN_FILTERS:  # a description, not an estimate
        ends = ("low", "high", "interval")
        rows = [{key: row[key] for key in row if key not in ends} for row in rows]
    series = [
        {"name": split.capitalize(), "colour": str(1 + place)} for place, split in enumerate(SPLITS)
    ]
    data = {"x": "share of the split, %", "series": series, "rows": rows}
    shown = ", ".join(f"{split} n = {sizes[split]:,}" for split in SPLITS)
    return Chart(f"dataset-{name}", "bars", f"{title} ({shown})", data, f"dataset-{name}")


def _wanted(filter_: str, value: str) -> str:
    """What the filter is set to; a bin is a range."""
    is_bin = any(filter_ == name for _, _, name in _MEASURES.values())
    return value.replace("–", "..") if is_bin else value


def _bars_table(chart: Chart) -> Table:
    rows: dict[str, list[Cell | str]] = {}
    for row in chart.data["rows"]:
        share = accuracy_cell(Accuracy(row["k"], row["n"]), row.get("href", ""))
        details = (f"{row['k']:,} of {row['n']:,}", share.details[0].partition(", n")[0])
        rows.setdefault(row["y"], []).append(Cell(**{**vars(share), "details": details}))
    header = list(dict.fromkeys(row["series"] for row in chart.data["rows"]))
    return Table(
        chart.name,
        chart.title.partition(" (")[0],
        ("Value", *header),
        tuple((value, *cells) for value, cells in rows.items()),
        ("Shares of a split with 95 % interval.",),
    )


def repeats_table(counted: Distributions) -> Table:
    """What stands in the dataset more than once, and what benchmarks hold too."""
    n = counted.n.total()

    def repeated(counts: Counter[bytes]) -> int:
        return sum(times for times in counts.values() if times > 1)

    rows: list[tuple[Cell | str, ...]] = [
        (
            "Another sample has the same question and options",
            accuracy_cell(Accuracy(repeated(counted.questions), n)),
        ),
        (
            "Another sample is about the same clip",
            accuracy_cell(Accuracy(repeated(counted.clips), n)),
        ),
        (
            "Another sample has the same thought, word for word",
            accuracy_cell(Accuracy(repeated(counted.thoughts), n)),
        ),
    ]
    rows += [
        (f"{benchmark} has the same {by}", accuracy_cell(Accuracy(min(k, n), n)))
        for (benchmark, by), k in sorted(counted.matches.items())
    ]
    return Table(
        "repeats",
        "Duplicates, and samples that benchmarks hold too",
        ("Samples of which", "Share"),
        tuple(rows),
        (
            "Over train and validation, with 95 % interval.",
            "Benchmarks are those of build.decontaminate; without them nothing was compared.",
            "The same question: 95 % of the letters of the question and of every option are alike.",
        ),
    )


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=12).digest()
