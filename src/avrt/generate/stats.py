"""Stage `stats`: the statistics of the built dataset, beside those published for the method's own.

Reads dataset/{train,validation}.parquet and media.parquet; writes dataset/statistics.json. Tokens
are counted with the student's tokenizer when it lies on this machine, else words are; the row says
which.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avrt.answers import is_well_formed, split_trace
from avrt.config import Config
from avrt.errors import ConfigError
from avrt.runs import Result, read_parquet, write_json
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
    "gold A, %": ("24.5", "27.1"),
    "gold B, %": ("25.2", "27.3"),
    "gold C, %": ("24.9", "23.3"),
    "gold D, %": ("25.4", "22.3"),
    "relation both, %": ("99.0", "98.9"),
    "relation sound, %": ("0.7", "0.7"),
    "relation visual, %": ("0.3", "0.3"),
}
"""Train and validation of the published set; its other question types are 0.2 and 0.3 %."""


def run(config: Config) -> Result:
    """Compute, store and print the statistics.

    Raises:
        DataError: there is no dataset in this run.
    """
    folder = config.run.path / "dataset"
    splits = {name: read_parquet(folder / f"{name}.parquet") for name in SPLITS}
    media = {row["path"]: row for row in read_parquet(config.run.path / "media.parquet")}
    count, unit = _length_counter(config.student.model)
    types = _by_frequency(row["question_type"] for rows in splits.values() for row in rows)
    n_letters = max([4, *(len(row["choices"]) for rows in splits.values() for row in rows)])
    tables = {
        name: _describe(rows, media, count, types, LETTERS[:n_letters])
        for name, rows in splits.items()
    }
    write_json(folder / "statistics.json", {"length_unit": unit, **tables})
    return Result(_render(tables, unit), {name: len(rows) for name, rows in splits.items()})


def plan(config: Config) -> str:
    """What `run` would do, in words."""
    return f"stats: describe {config.run.path / 'dataset'}, write statistics.json there"


def _describe(
    rows: Sequence[Mapping[str, Any]],
    media: Mapping[str, Mapping[str, Any]],
    count: Callable[[str], int],
    types: Sequence[str],
    letters: str,
) -> dict[str, str | None]:
    """Name and value of each statistic of one split; None where there is nothing to describe."""
    files = [media.get(row["video"] or row["image"] or "", {}) for row in rows]
    traces = [split_trace(row["av_reasoning"]) for row in rows]
    thinks = [float(count(trace[0])) for trace in traces if trace]
    answers = [float(count(trace[1])) for trace in traces if trace]
    durations = [file["duration_s"] for file in files if file.get("duration_s") is not None]
    sizes = [f"{file['width']}×{file['height']}" for file in files if file.get("width")]
    n_formed = sum(is_well_formed(row["av_reasoning"], len(row["choices"])) for row in rows)
    described: dict[str, str | None] = {
        "samples": f"{len(rows):,}",
        "format compliance, %": _percent(n_formed, len(rows)),
        "think length": _spread(thinks),
        "answer length": _spread(answers),
        "duration, s": _spread(durations),
        "primary resolution": _most_common(sizes),
    }
    for title, column, values in (
        ("type", "question_type", types),
        ("gold", "answer_letter", letters),
        ("relation", "question_relation", RELATIONS),
    ):
        found = Counter(row[column] for row in rows)
        described |= {f"{title} {value}, %": _percent(found[value], len(rows)) for value in values}
    return described


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
    from avrt.engines.checkpoints import resolve

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


def _by_frequency(values: Any) -> list[str]:
    return [
        value for value, _ in sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    ]


def _percent(n: int, total: int) -> str | None:
    return f"{100 * n / total:.1f}" if total else None


def _spread(values: Sequence[float]) -> str | None:
    return f"{statistics.fmean(values):.1f} ± {statistics.pstdev(values):.1f}" if values else None


def _most_common(values: Sequence[str]) -> str | None:
    if not values:
        return None
    value, n = Counter(values).most_common(1)[0]
    return f"{value} ({100 * n / len(values):.0f} %)"


def _render(tables: Mapping[str, Mapping[str, str | None]], unit: str) -> str:
    """A Markdown table: this dataset, then the published one."""
    lines = ["| statistic | train | validation | published train | published validation |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name in tables["train"]:
        values = [tables[split][name] or "–" for split in SPLITS]
        title = f"{name}, {unit} (published: tokens)" if name.endswith("length") else name
        lines.append(f"| {title} | {' | '.join((*values, *PUBLISHED.get(name, ('–', '–'))))} |")
    return "\n".join(lines)
