"""Stage `stats`: the statistics of the built dataset, beside those published for the method's own.

Reads dataset/{train,validation,rejected}.parquet, and media.parquet and traces/teachers.parquet
where they are there; writes dataset/statistics.json. Tokens are counted with the student's
tokenizer when it lies on this machine, else words are; the row says which.

The decision to question: any set with the columns of `build` is described, an imported one too;
what it does not hold is a dash, not an error.
"""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.answers import is_well_formed, split_trace
from avrt.config import Config
from avrt.errors import ConfigError
from avrt.generate import strata
from avrt.runs import DiskMap, Result, alone, iter_parquet, write_json
from avrt.types import LETTERS, RELATIONS

__all__ = ["plan", "run"]

SPLITS = ("train", "validation")
PUBLISHED: dict[str, tuple[str, str]] = {
    "samples": ("18,279", "945"),
    "format compliance, %": ("100.0", "100.0"),
    "think length": ("165.5 ± 33.9", "163.4 ± 32.5"),
    "answer length": ("1.0 ± 0.0", "1.0 ± 0.0"),
    "duration, s": ("10.0 ± 0.1", "10.0 ± 0.2"),
    "primary resolution": ("1280×720 (62 %)", "1280×720 (43 %)"),
    "type Which, %": ("45.2", "45.7"),
    "type Come From, %": ("30.9", "29.8"),
    "type Happening, %": ("15.5", "14.1"),
    "type Where, %": ("8.0", "9.7"),
    "type Why, %": ("0.2", "0.4"),
    "type all others, %": ("0.2", "0.3"),
    "gold A, %": ("24.5", "27.1"),
    "gold B, %": ("25.2", "27.3"),
    "gold C, %": ("24.9", "23.3"),
    "gold D, %": ("25.4", "22.3"),
    "relation both, %": ("99.0", "98.9"),
    "relation sound, %": ("0.7", "0.7"),
    "relation visual, %": ("0.3", "0.3"),
}
"""Train and validation of the published set."""
_COUNTED = {"type": "question_type", "gold": "answer_letter", "relation": "question_relation"}
_HAS = {"V": "video", "I": "image", "chains": "av_reasoning"}
_COLUMNS = (
    *_COUNTED.values(),
    *_HAS.values(),
    *("choices", "stratum", "teachers", "gates", "stage", "reason"),
)
PUBLISHED_TYPES = ("Which", "Come From", "Happening", "Where", "Why")
MAX_OWN_TYPES = 12
"""Question types beside the published ones that get a row of their own."""
COMPARED = {
    "AVQA": ("57.3", "A + V", "no"),
    "OmniInstruct-v1": ("96.1", "A + I", "no"),
    "MUSIC-AVQA": ("45.9", "A + V", "no"),
    "AVQA-R1-6K": ("6.4", "A + I", "no"),
    "AVRT as published": ("19.2", "A + V", "yes"),
}
"""Published sets: thousands of questions, modalities (audio, video, image), reasoning chains."""


@alone(lambda config: config.run.path / "dataset")
def run(config: Config) -> Result:
    """Compute, store and print the statistics.

    Raises:
        DataError: there is no dataset in this run.
    """
    folder = config.run.path / "dataset"
    count, unit = _length_counter(config.student.model)
    media, losses = _media(config.run.path / "media.parquet"), strata.Losses()
    splits = {name: _Split(media, count) for name in SPLITS}
    for name in (*SPLITS, "rejected"):
        path = folder / f"{name}.parquet"
        own = splits.get(name)
        for row in iter_parquet(path, _COLUMNS):
            losses.add(row)
            if own is not None:
                own.add(row)
    of_types = sum((split.counts["type"] for split in splits.values()), Counter[str]())
    types = _types_with_rows(of_types)
    letters = LETTERS[: max(4, *(split.n_choices for split in splits.values()))]
    tables = {name: split.describe(types, letters) for name, split in splits.items()}
    stored = {
        "comparison": _compare(list(splits.values())),
        "strata": losses.strata(),
        "gates": losses.gates(config.build.gates),
        "losses": losses.losses(),
        "views": strata.count_views(config.run.path, config.build),
    }
    write_json(folder / "statistics.json", {"length_unit": unit, **tables, **stored})
    counts = {name: split.n for name, split in splits.items()}
    return Result(_render(tables, unit, stored), counts)


def plan(config: Config) -> str:
    """The work of `run`, in words."""
    return f"stats: describe {config.run.path / 'dataset'}, write statistics.json there"


def _media(path: Path) -> Mapping[str, tuple[float | None, str | None]]:
    """Duration in seconds and size of each file; nothing when the files were never probed."""
    media = DiskMap[str, tuple[float | None, str | None]]()
    if path.is_file():
        rows = iter_parquet(path, ["path", "duration_s", "width", "height"])
        media.update(
            (
                row["path"],
                (row["duration_s"], f"{row['width']}×{row['height']}" if row["width"] else None),
            )
            for row in rows
        )
    return media


def _compare(splits: Sequence[_Split]) -> tuple[str, str, str]:
    """This set in the columns of `COMPARED`."""
    has = {name for split in splits for name in split.has}
    n = sum(split.n for split in splits)
    modalities = ["A", *(letter for letter in "VI" if letter in has)] if n else ["–"]
    thousands = f"{n / 1000:.{1 if n >= 10_000 else 3}f}"
    return thousands, " + ".join(modalities), "yes" if "chains" in has else "no"


class _Split:
    """The numbers of one split, row by row."""

    def __init__(
        self,
        media: Mapping[str, tuple[float | None, str | None]],
        count: Callable[[str], int],
    ) -> None:
        self._media, self._count = media, count
        self.n = self.n_choices = self._n_traces = self._n_formed = 0
        self.has: set[str] = set()
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
        self._sizes: Counter[str] = Counter()
        self._thinks, self._answers, self._durations = (array("d") for _ in range(3))

    def add(self, row: Mapping[str, Any]) -> None:
        self.n += 1
        self.n_choices = max(self.n_choices, len(row["choices"]))
        for title, column in _COUNTED.items():
            self.counts[title][row[column]] += 1
        duration, size = self._media.get(row["video"] or row["image"] or "", (None, None))
        if duration is not None:
            self._durations.append(duration)
        if size is not None:
            self._sizes[size] += 1
        self.has |= {name for name, column in _HAS.items() if row[column]}
        if text := row["av_reasoning"]:
            self._n_traces += 1
            self._n_formed += is_well_formed(text, len(row["choices"]))
            if parts := split_trace(text):
                self._thinks.append(self._count(parts[0]))
                self._answers.append(self._count(parts[1]))

    def describe(self, types: Sequence[str], letters: str) -> dict[str, str | None]:
        """Name and value of each statistic; None where there is nothing to describe."""
        described: dict[str, str | None] = {
            "samples": f"{self.n:,}",
            "format compliance, %": _percent(self._n_formed, self._n_traces),
            "think length": _spread(self._thinks),
            "answer length": _spread(self._answers),
            "duration, s": _spread(self._durations),
            "primary resolution": _most_common(self._sizes),
        }
        for title, values in {"type": types, "gold": letters, "relation": RELATIONS}.items():
            counts = self.counts[title]
            described |= {
                f"{title} {value}, %": _percent(counts[value], self.n) for value in values
            }
        n_others = self.n - sum(self.counts["type"][value] for value in types)
        return described | {"type all others, %": _percent(n_others, self.n)}


def _length_counter(model: str) -> tuple[Callable[[str], int], str]:
    """How to count the length of a text, and the name of the unit."""
    path = _local_tokenizer(model)
    if path is not None:
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError:
            return lambda text: len(text.split()), "words"
        tokenizer = Tokenizer.from_file(str(path))
        return lambda text: len(
            tokenizer.encode(text, add_special_tokens=False).ids
        ), "student tokens"
    return lambda text: len(text.split()), "words"


def _local_tokenizer(model: str) -> Path | None:
    """The student's tokenizer file, without any download."""
    from avrt.engines.weights import resolve

    try:
        path = Path(resolve(model)) / "tokenizer.json"
    except ConfigError:  # a world model that this package does not hold
        return None
    if path.is_file():
        return path
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        return None
    is_hub_id = model.count("/") == 1 and not model.startswith((".", "/"))
    cached = try_to_load_from_cache(model, "tokenizer.json") if is_hub_id else None
    return Path(cached) if isinstance(cached, str) else None


def _types_with_rows(counts: Counter[str]) -> list[str]:
    """The published types and the most frequent others; the rest share one row."""
    frequent = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    own = [name for name in frequent if name not in PUBLISHED_TYPES][:MAX_OWN_TYPES]
    shown = {*own, *PUBLISHED_TYPES}
    return [name for name in frequent if name in shown] + [
        name for name in PUBLISHED_TYPES if name not in counts
    ]


def _percent(n: int, total: int) -> str | None:
    return f"{100 * n / total:.1f}" if total else None


def _spread(values: Sequence[float]) -> str | None:
    return f"{statistics.fmean(values):.1f} ± {statistics.pstdev(values):.1f}" if values else None


def _most_common(sizes: Counter[str]) -> str | None:
    if not sizes:
        return None
    value, n = sizes.most_common(1)[0]
    return f"{value} ({100 * n / sizes.total():.0f} %)"


def _render(
    tables: Mapping[str, Mapping[str, str | None]], unit: str, stored: Mapping[str, Any]
) -> str:
    """Markdown: the tables of the publication with this dataset in them, then those it lacks."""
    names = [*tables["train"]]
    is_type = [name.startswith("type ") for name in names]
    of_set = [name for name, there in zip(names, is_type, strict=True) if not there]
    of_types = [name for name, there in zip(names, is_type, strict=True) if there]
    comparison = [f"| {' | '.join((name, *row))} |" for name, row in COMPARED.items()]
    comparison.append(f"| this set | {' | '.join(stored['comparison'])} |")
    parts = [
        "Table 1, datasets",
        "\n".join([_COMPARISON_HEAD, *comparison]),
        "Table 2, the set",
        _beside_published(tables, of_set, unit),
        "Table 7, question types",
        _beside_published(tables, of_types, unit),
    ]
    if stored["strata"]:
        parts += [_STRATA_TITLE, strata.render_strata(stored["strata"])]
    if stored["views"]:
        parts += ["Views, before any gate", strata.render_views(stored["views"])]
    if stored["gates"]:
        parts += ["Gates", strata.render_gates(stored["gates"])]
    if stored["losses"]:
        parts += ["Rejected", strata.render_losses(stored["losses"])]
    return "\n\n".join(parts)


_COMPARISON_HEAD = """| set | thousand questions | modalities | reasoning chains |
| --- | ---: | --- | --- |"""
_STRATA_TITLE = (
    "Which teacher was right, over all answered samples, kept or not: samples (% [95 % interval])"
)


def _beside_published(
    tables: Mapping[str, Mapping[str, str | None]], names: Sequence[str], unit: str
) -> str:
    lines = ["| statistic | train | validation | published train | published validation |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        values = [tables[split][name] or "–" for split in SPLITS]
        title = f"{name}, {unit} (published: tokens)" if name.endswith("length") else name
        lines.append(f"| {title} | {' | '.join((*values, *PUBLISHED.get(name, ('–', '–'))))} |")
    return "\n".join(lines)
