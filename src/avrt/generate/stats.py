"""Stage `stats`: the statistics of the built dataset, beside those published for the method's own.

Reads dataset/{train,validation,rejected}.parquet, and media.parquet and traces/teachers.parquet
where they are there; writes dataset/statistics.json. Tokens are counted with the student's
tokenizer when it lies on this machine, else words are; the row says which.

The decision to question: any set with the columns of `build` is described, an imported one too;
what it does not hold is a dash, not an error.
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
from avrt.generate import strata
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
PUBLISHED_TYPES = ("Which", "Come From", "Happening", "Where", "Why")
COMPARED = {
    "AVQA": ("57.3", "A + V", "no"),
    "OmniInstruct-v1": ("96.1", "A + I", "no"),
    "MUSIC-AVQA": ("45.9", "A + V", "no"),
    "AVQA-R1-6K": ("6.4", "A + I", "no"),
    "AVRT as published": ("19.2", "A + V", "yes"),
}
"""Published sets: thousands of questions, modalities (audio, video, image), reasoning chains."""


def run(config: Config) -> Result:
    """Compute, store and print the statistics.

    Raises:
        DataError: there is no dataset in this run.
    """
    folder = config.run.path / "dataset"
    splits = {name: read_parquet(folder / f"{name}.parquet") for name in SPLITS}
    rejected = read_parquet(folder / "rejected.parquet")
    kept = [row for rows in splits.values() for row in rows]
    count, unit = _length_counter(config.student.model)
    own = _by_frequency(row["question_type"] for row in kept)
    types = [*own, *(name for name in PUBLISHED_TYPES if name not in own)]
    letters = LETTERS[: max([4, *(len(row["choices"]) for row in kept)])]
    media = _media(config.run.path / "media.parquet")
    tables = {name: _describe(rows, media, count, types, letters) for name, rows in splits.items()}
    stored = {
        "comparison": _compare(kept),
        "strata": strata.count_strata([*kept, *rejected]),
        "gates": strata.count_gates([*kept, *rejected], config.build.gates),
        "losses": strata.count_losses(rejected),
        "views": strata.count_views(config.run.path, config.build),
    }
    write_json(folder / "statistics.json", {"length_unit": unit, **tables, **stored})
    counts = {name: len(rows) for name, rows in splits.items()}
    return Result(_render(tables, unit, stored), counts)


def plan(config: Config) -> str:
    """The work of `run`, in words."""
    return f"stats: describe {config.run.path / 'dataset'}, write statistics.json there"


def _media(path: Path) -> dict[str, dict[str, Any]]:
    """The probe of each file by its path; nothing when the files were never probed."""
    return {row["path"]: row for row in read_parquet(path)} if path.is_file() else {}


def _compare(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """This set in the columns of `COMPARED`."""
    visual = {"V": any(row["video"] for row in rows), "I": any(row["image"] for row in rows)}
    modalities = ["A", *(letter for letter, is_there in visual.items() if is_there)]
    has_chains = any(row["av_reasoning"] for row in rows)
    return f"{len(rows) / 1000:.1f}", " + ".join(modalities), "yes" if has_chains else "no"


def _describe(
    rows: Sequence[Mapping[str, Any]],
    media: Mapping[str, Mapping[str, Any]],
    count: Callable[[str], int],
    types: Sequence[str],
    letters: str,
) -> dict[str, str | None]:
    """Name and value of each statistic of one split; None where there is nothing to describe."""
    files = [media.get(row["video"] or row["image"] or "", {}) for row in rows]
    texts = [(row["av_reasoning"], len(row["choices"])) for row in rows if row["av_reasoning"]]
    traces = [split_trace(text) for text, _ in texts]
    thinks = [float(count(trace[0])) for trace in traces if trace]
    answers = [float(count(trace[1])) for trace in traces if trace]
    durations = [file["duration_s"] for file in files if file.get("duration_s") is not None]
    sizes = [f"{file['width']}×{file['height']}" for file in files if file.get("width")]
    n_formed = sum(is_well_formed(text, n_choices) for text, n_choices in texts)
    described: dict[str, str | None] = {
        "samples": f"{len(rows):,}",
        "format compliance, %": _percent(n_formed, len(texts)),
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
        counts = Counter(row[column] for row in rows)
        described |= {f"{title} {value}, %": _percent(counts[value], len(rows)) for value in values}
    n_others = sum(row["question_type"] not in types for row in rows)
    return described | {"type all others, %": _percent(n_others, len(rows))}


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
