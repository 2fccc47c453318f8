"""Every item of the run for the page: data/index.js, data/items-NNNN.js, media/.

Reads the run directory and, for the items that are shown with their media, the files that they
name. Items are written some at a time; texts of 200 items are held at once.

The decision to question: media are shown of `report.gallery_items` items, taken in turns from every
part of the dataset and every benchmark, in each from every reason or outcome, in each of those from
every question type, so that the page does not show successes alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from avrt.answers import split_trace
from avrt.config import EvalConfig, MediaConfig
from avrt.errors import DataError, MediaError
from avrt.evaluate.benchmarks import media_of
from avrt.evaluate.results import ModelResult
from avrt.report.accuracy import by_benchmark
from avrt.report.faults import attempt
from avrt.report.item import Made, Roles, to_item
from avrt.report.item_calls import Calls, open_calls
from avrt.report.item_index import CHUNK, Index, code_of
from avrt.report.item_media import (
    MAX_SOUND_S,
    MediaJob,
    clip_address,
    missing_text,
    render_all,
    shown_names,
)
from avrt.report.item_rows import (
    DATASET,
    Benchmark,
    Part,
    benchmark_rows,
    part_rows,
    parts_of_run,
)
from avrt.report.script import encode, write_list, write_script
from avrt.runs import DiskMap, iter_parquet
from avrt.types import Sample

__all__ = ["ItemSources", "Written", "write_items"]

T = TypeVar("T")
_REPLIED = ("ok", "no_answer")
"""States of a teacher's trace that has a text."""
_Key = tuple[str, str]
"""Part or benchmark, and the id of an item."""


@dataclass(frozen=True)
class ItemSources:
    """Where the items, their media, and words about them come from."""

    run: Path
    root: Path
    """Of the dataset's media."""
    media: MediaConfig
    evaluation: EvalConfig
    roles: Roles
    project: Path | None = None
    """Media files below this folder are named as they lie; None: none is."""


@dataclass
class Written:
    """What was written, and what could not be."""

    n_items: int = 0
    n_media: int = 0
    faults: list[str] = field(default_factory=list)
    """Files of the run that could not be read."""
    media_errors: list[MediaError] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    """Templates of what was asked: see `Calls`."""


def write_items(
    sources: ItemSources, results: Sequence[ModelResult], report: Path, n_media: int
) -> Written:
    """Write all items; the media of `n_media` of them."""
    done = Written()
    with open_calls(sources.run, done.faults) as calls:
        _write_all(sources, results, report, n_media, calls, done)
        done.prompts = calls.templates
    done.faults = [fault.replace(f"{sources.run}/", "") for fault in done.faults]
    return done


def _write_all(
    sources: ItemSources,
    results: Sequence[ModelResult],
    report: Path,
    n_media: int,
    calls: Calls,
    done: Written,
) -> None:
    benchmarks = _benchmarks(sources, results)
    parts = parts_of_run(sources.run)
    media = _Media(sources, report, n_media)
    media.render(_choose(parts, benchmarks, sources.evaluation, n_media, done.faults), done)
    durations = attempt(lambda: _durations(sources.run), {}, done.faults)
    index, chunk = Index(), _Chunks(report / "data", calls)
    for part in parts:
        rows = part_rows(sources.run, part, benchmarks, done.faults)
        for made in _readable(rows, done.faults):
            item = to_item(made, sources.roles, media.entry(_name(part), made.sample))
            chunk.add(item)
            duration = durations.get(made.sample.picture_path or made.sample.sound_path or "")
            _note(index, made, item, duration, sources.roles.pooled)
    for benchmark in benchmarks:
        _note_models(index, benchmark)
        for made in benchmark_rows(benchmark, done.faults):
            item = to_item(made, sources.roles, media.entry(benchmark.name, made.sample))
            chunk.add(item)
            _note(index, made, item, _sound_s(benchmark, made.sample.id), sources.roles.pooled)
    chunk.finish()
    write_script(report / "data" / "index.js", "index", index.to_json())
    done.n_items = index.n


class _Chunks:
    """Data files of `CHUNK` items each, with what the ledger has of their calls."""

    def __init__(self, folder: Path, calls: Calls) -> None:
        self._folder, self._calls, self._n = folder, calls, 0
        self._items: list[dict[str, Any]] = []

    def add(self, item: dict[str, Any]) -> None:
        self._items.append(item)
        if len(self._items) == CHUNK:
            self.finish()

    def finish(self) -> None:
        """Write the items that wait."""
        if self._items:
            self._calls.fill(self._items)
            name = f"{self._n:04}"
            texts = [encode(item) for item in self._items]
            write_list(self._folder / f"items-{name}.js", f"items/{name}", texts)
            self._items, self._n = [], self._n + 1


class _Media:
    """The media of the items that are shown with them."""

    def __init__(self, sources: ItemSources, report: Path, n_items: int) -> None:
        self._sources, self._report, self._n_items = sources, report, n_items
        self._page, self._project = report.resolve(), sources.project and sources.project.resolve()
        self._entries: dict[_Key, dict[str, Any]] = {}

    def render(self, chosen: Mapping[_Key, Sample], done: Written) -> None:
        """Write their files, and remove those of an earlier report that are not theirs."""
        folder = self._report / "media"
        jobs = [
            MediaJob(number, sample, self._root(name), self._settings(name))
            for number, ((name, _), sample) in enumerate(chosen.items())
        ]
        rendered = render_all(jobs, folder, self._sources.media, len(jobs)) if jobs else {}
        for number, key in enumerate(chosen):
            self._entries[key] = rendered[number]
        found = [entry for entries in rendered.values() for entry in entries.values()]
        if found and all(isinstance(e, MediaError) and e.error_class == "missing" for e in found):
            done.faults.append(
                f"none of the {len(jobs)} clips that were chosen is found, such as "
                f"{found[0].path}: a relative data.root is looked for in the working directory; "
                "run the command where the run was made, or set data.root"
            )
            return  # earlier pictures stay for that command
        done.media_errors = [entry for entry in found if isinstance(entry, MediaError)]
        done.n_media = len(jobs)
        names = shown_names(entry for entry in found if not isinstance(entry, MediaError))
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in names:
                path.unlink()

    def entry(self, name: str, sample: Sample) -> dict[str, Any]:
        """What the page knows of an item's media."""
        entry: dict[str, Any] = {"clip": self._clip(name, sample)}
        missing: dict[str, str] = {}
        found = self._entries.get((name, sample.id))
        for kind, path in (("frames", sample.picture_path), ("sound", sample.sound_path)):
            if path is None:
                missing[kind] = "the question has none"
            elif found is None:
                missing[kind] = f"not made: report.gallery_items is {self._n_items}"
            elif isinstance(one := found[kind], MediaError):
                missing[kind] = missing_text(one)
            else:
                entry |= one
        return {**entry, "missing": missing}

    def _clip(self, name: str, sample: Sample) -> str | None:
        path = sample.video or sample.audio or sample.image
        if path is None or self._project is None:
            return None
        return clip_address(self._root(name) / path, self._page, self._project)

    def _root(self, name: str) -> Path:
        data = self._sources.evaluation.benchmarks.get(name)
        return self._sources.root if data is None or _is_part(name) else data.root

    def _settings(self, name: str) -> MediaConfig:
        """What the models got, but no more frames and sound than a page has room for."""
        media = self._sources.media
        data = self._sources.evaluation.benchmarks.get(name)
        given = media if data is None or _is_part(name) else media_of(data, media)
        n_frames = min(given.n_frames, media.n_frames)
        seconds = min(given.max_audio_s or MAX_SOUND_S, MAX_SOUND_S)
        return given.model_copy(update={"fps": None, "n_frames": n_frames, "max_audio_s": seconds})


def _name(part: Part) -> str:
    """No benchmark has this name: it is no name for a folder."""
    return f"{DATASET}/{part.path.stem}"


def _is_part(name: str) -> bool:
    return "/" in name


def _benchmarks(sources: ItemSources, results: Sequence[ModelResult]) -> list[Benchmark]:
    """Those with results, in the configured order; models that are pools of others are left out."""
    by_name: dict[str, list[ModelResult]] = defaultdict(list)
    for benchmark in by_benchmark(results, sources.evaluation):
        by_name[benchmark.name] = []
    for result in results:
        if result.model not in sources.evaluation.pools:
            by_name[result.benchmark].append(result)
    return [Benchmark(name, sources.run, of) for name, of in by_name.items() if of]


def _choose(
    parts: Sequence[Part],
    benchmarks: Sequence[Benchmark],
    evaluation: EvalConfig,
    n: int,
    faults: list[str],
) -> dict[_Key, Sample]:
    """The items whose media are shown."""
    if n == 0:
        return {}
    keys: dict[_Key, tuple[str, ...]] = {}
    asked = {id_ for benchmark in benchmarks for id_ in benchmark.ids}
    for part in parts:
        for sample, outcome, reason in _readable(part.light_rows(), faults):
            known = "0" if sample.id in asked else "1"  # those with answers first
            fate = (DATASET, outcome or "", reason or "", sample.question_type, known)
            keys[_name(part), sample.id] = ("", *fate)
    for shown in by_benchmark([r for b in benchmarks for r in b.results], evaluation):
        benchmark = next(each for each in benchmarks if each.name == shown.name)
        for id_ in benchmark.ids:
            lines = (
                [
                    shown.line(model, shown.modalities[-1], id_)
                    for model in (shown.models[0], shown.models[-1])
                ]
                if shown.modalities
                else []
            )
            right = "".join(str(int(line.correct)) for line in lines if line)
            is_same = str(int(len(set(right)) < 2))  # those that changed first
            kind = benchmark.sample(id_).question_type
            keys[shown.name, id_] = ("~", shown.name, is_same, right, kind, "")
    chosen = set(_in_turns(list(keys), keys)[:n])
    samples: dict[_Key, Sample] = {}
    for part in parts:
        name = _name(part)
        for sample, *_ in _readable(part.light_rows(), []):
            if (name, sample.id) in chosen:
                samples[name, sample.id] = sample
    for benchmark in benchmarks:
        for id_ in benchmark.ids:
            if (benchmark.name, id_) in chosen:
                samples[benchmark.name, id_] = benchmark.sample(id_)
    return samples


def _in_turns(
    items: Sequence[_Key], keys: Mapping[_Key, tuple[str, ...]], level: int = 0
) -> list[_Key]:
    """One item of every group, then the next of every group; groups are ordered alike inside."""
    if not items or level == len(keys[items[0]]):
        return list(items)
    groups: dict[str, list[_Key]] = defaultdict(list)
    for item in items:
        groups[keys[item][level]].append(item)
    queues = [_in_turns(group, keys, level + 1) for _, group in sorted(groups.items())]
    return [item for turn in zip_longest(*queues) for item in turn if item is not None]


def _readable(rows: Iterable[T], faults: list[str]) -> Iterator[T]:
    """The rows up to the first that cannot be read."""
    try:
        yield from rows
    except DataError as error:
        if str(error) not in faults:
            faults.append(str(error))


def _note(
    index: Index, made: Made, item: Mapping[str, Any], duration_s: float | None, is_pooled: bool
) -> None:
    merged = item["merged"]
    thought = split_trace(made.merged.text) if merged and made.merged else None
    coded = {
        "origin": made.origin,
        "outcome": made.outcome,
        "reason": made.reason,
        "stratum": made.stratum,
        "type": item["type"],
        "relation": made.sample.question_relation,
        "letter": made.sample.target,
        "finding": made.findings[0]["finding"] if made.findings else None,
    }
    numbers = {
        "think_words": len(thought[0].split()) if thought else None,
        "duration_s": duration_s and round(duration_s, 2),
        "n_options": len(made.sample.options),
    }
    sets: dict[str, Iterable[str]] = {"gates": item["gates"]}
    if is_pooled:
        traces = [
            trace for trace in item["traces"] if trace["status"] in _REPLIED and trace["model"]
        ]
        sets["trace_model"] = dict.fromkeys(t["model"] for t in traces)
        sets["right_model"] = dict.fromkeys(t["model"] for t in traces if t["right"])
    index.add(item, coded, numbers, sets)


def _note_models(index: Index, benchmark: Benchmark) -> None:
    for result in benchmark.results:
        lines = map(result.by_id.get, benchmark.ids)
        answers = [
            (-1, " ") if line is None else (code_of(line), line.answer or " ") for line in lines
        ]
        asked = {"benchmark": benchmark.name, "model": result.model, "modality": result.modality}
        index.add_model(asked, answers)


def _durations(run: Path) -> Mapping[str, float | None]:
    """Seconds of every media file of the dataset."""
    path, durations = run / "media.parquet", DiskMap[str, float | None]()
    if path.is_file():
        rows = iter_parquet(path, ("path", "duration_s", "audio_duration_s"))
        durations.update(
            (row["path"], row["duration_s"] or row["audio_duration_s"]) for row in rows
        )
    return durations


def _sound_s(benchmark: Benchmark, id_: str) -> float | None:
    """Seconds of the sound of an item, where a log says it."""
    lines = (result.by_id.get(id_) for result in benchmark.results)
    return next((s for line in lines if line and (s := line.source_audio_s or line.audio_s)), None)
