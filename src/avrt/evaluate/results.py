"""From logs to results: one per benchmark, model and modality, scored by two rules.

Reads RUN/eval/. Every stored text is scored again here: strictly, by AVRT's own parser, and as the
benchmark's authors do. The denominator of the strict accuracy is every item of the log.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

from avrt.config import Config
from avrt.errors import ConfigError, DataError
from avrt.evaluate.benchmarks import BENCHMARKS
from avrt.evaluate.levels import LEVELS, difficulty_path, read_levels
from avrt.evaluate.logs import Line, Settings, find_logs, iter_log, read_meta
from avrt.evaluate.official import Official, letter
from avrt.evaluate.scoring import score
from avrt.evaluate.sets import StoredSet, read_stored_set
from avrt.evaluate.statistics import Accuracy, pooled
from avrt.types import BenchmarkItem, Completion

__all__ = ["MODALITIES", "ModelResult", "group_order", "read_results"]

MODALITIES = ("none", "a", "v", "av")
"""Order of the columns."""

_THOUGHT = re.compile(r"(?:<think>|◁think▷)?(.*)(?:</think>|◁/think▷)", re.DOTALL | re.IGNORECASE)


_PADDING_S = 0.1
"""Sound that a codec adds at the end of a file: so much less of it is not cut."""


@dataclass(frozen=True)
class ModelResult:
    """One model on one benchmark in one modality."""

    benchmark: str
    model: str
    modality: str
    lines: Sequence[Line]
    """The log, scored by today's parser; their texts may have been left out."""
    n_items: int
    """How many items the log will have when it is finished."""
    settings: Settings
    thoughts: Sequence[int] = ()
    """Words of the thought before the answer, of each reply that has one."""
    n_answers: int = 1
    """Of each item."""
    prompt: str | None = None
    """Its name; None when it is not known."""
    items: Mapping[str, BenchmarkItem] = field(default_factory=dict)
    set_notes: Sequence[str] = ()
    """Differences from the published set."""
    officials: Sequence[Official] = ()
    """The authors' verdict on each line; empty when they have no rule for texts."""
    variants: Mapping[str, Sequence[Official]] = field(default_factory=dict)
    """The same by other readings of their rule, by name."""

    @property
    def protocol_id(self) -> str:
        return self.settings.protocol_id

    @cached_property
    def accuracy(self) -> Accuracy:
        """Strict: every item is in the denominator."""
        return pooled(self.correct)

    @cached_property
    def official(self) -> Accuracy | None:
        """As the benchmark's authors count; None when they have no rule."""
        return self._counted(self.officials) if self.officials else None

    @cached_property
    def official_variants(self) -> Mapping[str, Accuracy]:
        """The same by other readings of their rule."""
        return {name: self._counted(verdicts) for name, verdicts in self.variants.items()}

    def _counted(self, verdicts: Sequence[Official]) -> Accuracy:
        answers: dict[str, list[bool]] = defaultdict(list)
        for line, verdict in zip(self.lines, verdicts, strict=True):
            if verdict.counted:
                answers[line.sample_id].append(verdict.correct)
        return pooled(answers)

    @cached_property
    def correct(self) -> Mapping[str, list[bool]]:
        """Right or wrong by item, one verdict per answer, for paired comparisons."""
        answers: dict[str, list[bool]] = defaultdict(list)
        for line in sorted(self.lines, key=lambda line: line.id):
            answers[line.sample_id].append(line.correct)
        return dict(answers)

    @cached_property
    def counts(self) -> Counter[str]:
        """Answers by status."""
        return Counter(line.status for line in self.lines)

    @cached_property
    def by_id(self) -> Mapping[str, Line]:
        """The first answer to each item."""
        return {line.sample_id: line for line in reversed(self.lines)}

    @property
    def n_left(self) -> int:
        """Answers that are not there yet."""
        return max(self.n_items * self.n_answers - len(self.lines), 0)

    @property
    def has_media(self) -> bool:
        """False when no item has this modality, so that an accuracy would say nothing."""
        return self.counts["missing_media"] < len(self.lines)

    @property
    def cut_sounds(self) -> int | None:
        """Items whose model got only the beginning of the sound; None where none is known."""
        return self._count_items(
            lambda line: _less(line.audio_s, line.source_audio_s, _PADDING_S), "a"
        )

    @property
    def scaled_pictures(self) -> int | None:
        """Items whose pictures were larger than `max_pixels`; None where none is known."""
        most = self.settings.protocol.get("max_pixels")
        return self._count_items(lambda line: _less(most, line.source_pixels), "v")

    @property
    def cuts(self) -> list[tuple[int, str]]:
        """What was cut of the media, where it is known: how many items, and in words."""
        counts = {"sounds cut": self.cut_sounds, "pictures scaled down": self.scaled_pictures}
        return [(n, f"{n} {name}") for name, n in counts.items() if n is not None]

    def _count_items(self, is_less: Callable[[Line], bool | None], half: str) -> int | None:
        if half not in self.modality:
            return None
        known = {line.sample_id: less for line in self.lines if (less := is_less(line)) is not None}
        return sum(known.values()) if known else None

    @property
    def invalid_rate(self) -> float | None:
        """Share of replies in which no answer could be read."""
        n_replies = self.counts["scored"] + self.counts["unparsable"]
        return self.counts["unparsable"] / n_replies if n_replies else None

    @property
    def think_words(self) -> float | None:
        """Mean length of the thought before the answer, in words, where there is one."""
        return fmean(self.thoughts) if self.thoughts else None

    def mean(self, name: str) -> float | None:
        """Mean of a number in the lines of replies, such as `n_audio_tokens`; None if unknown."""
        replies = [line for line in self.lines if line.status in ("scored", "unparsable")]
        values = [getattr(line, name) for line in replies]
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    def by_group(self, group: str) -> dict[str, Accuracy]:
        """Strict accuracies by the value of a group, in the order of the values."""
        answers: dict[str, dict[str, list[bool]]] = defaultdict(dict)
        for sample_id, verdicts in self.correct.items():
            item = self.items.get(sample_id)
            if item is not None and group in item.groups:
                answers[item.groups[group]][sample_id] = verdicts
        return {value: pooled(answers[value]) for value in group_order(answers)}

    @property
    def groups(self) -> list[str]:
        """The groups that this result can be broken down by."""
        return list(dict.fromkeys(name for item in self.items.values() for name in item.groups))

    @property
    def notes(self) -> str:
        """What stands behind the accuracy: items without an answer, media that were cut, seeds, and
        items still to do.
        """
        counts = self.counts
        notes = [f"{counts[each]} {each}" for each in ("unparsable", "failed") if counts[each]]
        if lost := [line for line in self.lines if line.status == "missing_media"]:
            classes = Counter(line.error_class or "unknown" for line in lost)
            named = ", ".join(f"{n} {name}" for name, n in classes.most_common())
            notes.append(f"{len(lost)} without media ({named})")
        notes += [text for n, text in self.cuts if n]
        accuracy = self.accuracy
        if accuracy.spread is not None:
            spread = 100 * accuracy.spread
            notes.append(f"{accuracy.n_runs} runs, {spread:.1f} points between them (sd)")
        if self.n_left:
            n_answers = self.n_items * self.n_answers
            notes.append(f"{self.n_left} of {n_answers} not evaluated yet")
        return ", ".join(notes)


def _less(used: float | None, whole: float | None, tolerance: float = 0.0) -> bool | None:
    """Whether less than the whole was used; None when that is not known."""
    return None if used is None or whole is None else used + tolerance < whole


def group_order(values: Iterable[str]) -> list[str]:
    """The values of a group as they are shown: levels of difficulty by rank, others by name."""
    return sorted(values, key=lambda value: (value in LEVELS and LEVELS.index(value), value))


def read_results(
    config: Config,
    with_texts: bool | Collection[str] = True,
    faults: list[str] | None = None,
) -> list[ModelResult]:
    """All results of a run, sorted by benchmark, model and modality; pools behind them.

    Without texts, those of the lines are empty, so that memory does not grow with them;
    `with_texts` may name the items whose texts are wanted. With `faults`, a log that cannot be read
    is left out, and what is wrong with it is noted there.

    Raises:
        DataError: a log or a question file that cannot be read.
        ConfigError: a pool of models with different protocols.
    """
    sets: dict[str, StoredSet] = {}
    results = []
    for log in find_logs(config.run.path):
        benchmark = log.parent.parent.name
        try:
            if benchmark not in sets:
                made_elsewhere = config.eval.difficulty.get(benchmark)
                sets[benchmark] = _read_set(config.run.path, benchmark, made_elsewhere)
            results.append(_read_result(log, sets[benchmark], with_texts))
        except DataError as error:
            if faults is None:
                raise
            faults.append(str(error))
    return results + list(_pool_all(results, config.eval.pools))


def _read_set(run: Path, benchmark: str, made_elsewhere: Path | None) -> StoredSet:
    """The questions; their difficulty, of a file made elsewhere or of the run's own, is a group
    like any other.
    """
    stored = read_stored_set(run, benchmark)
    path = made_elsewhere or difficulty_path(run, benchmark)
    if made_elsewhere is None and not path.is_file():
        return stored
    levels = read_levels(path)
    items = {
        key: replace(item, groups={**item.groups, "difficulty": levels[key]})
        if key in levels
        else item
        for key, item in stored.items.items()
    }
    return replace(stored, items=items)


def _read_result(log: Path, stored: StoredSet, with_texts: bool | Collection[str]) -> ModelResult:
    meta = read_meta(log)
    known = BENCHMARKS.get(stored.format or "")
    # Where the rule of a set is AVRT's own parser, it would repeat the strict score.
    rules = {"official": known.official, **known.variants} if known else {}
    rules = {} if rules.get("official") is letter else rules
    verdicts: dict[str, list[Official]] = {name: [] for name in rules}
    lines: list[Line] = []
    thoughts: list[int] = []
    for line in iter_log(log):
        item = stored.items.get(line.sample_id)
        if match := _THOUGHT.match(line.text):
            thoughts.append(len(match[1].split()))
        if item is None:  # the set has it no more: then the rules have no verdict on the log
            rules, verdicts = {}, {}
        else:
            reply = line.text if line.status in ("scored", "unparsable") else None
            for name, rule in rules.items():
                verdicts[name].append(rule(reply, item))
        scored = _score_line(line, item)
        keeps = with_texts if isinstance(with_texts, bool) else line.sample_id in with_texts
        lines.append(scored if keeps else replace(scored, text=""))
    officials = verdicts.pop("official", ())
    return ModelResult(
        benchmark=log.parent.parent.name,
        model=log.parent.name,
        modality=log.stem,
        lines=lines,
        n_items=meta.n_items,
        settings=meta.settings,
        thoughts=thoughts,
        n_answers=meta.n_answers,
        prompt=meta.prompt,
        items=stored.items,
        set_notes=meta.notes,
        officials=officials,
        variants={name: by_rule for name, by_rule in verdicts.items() if by_rule},
    )


def _score_line(line: Line, item: BenchmarkItem | None) -> Line:
    """The line as today's parser scores its text."""
    if item is None or line.status not in ("scored", "unparsable"):
        return line
    reason = "length" if line.finish_reason == "length" else "stop"
    result = score(Completion(line.text, reason), item.sample)
    return replace(
        line,
        answer=result.answer,
        correct=result.value == 1.0,
        status=result.status,
        explanation=result.explanation,
    )


def _pool_all(
    results: Sequence[ModelResult], pools: Mapping[str, Sequence[str]]
) -> Iterable[ModelResult]:
    """Models that are one model with several seeds, as one result with several answers."""
    for name, members in pools.items():
        parts: dict[tuple[str, str], list[ModelResult]] = defaultdict(list)
        for result in results:
            if result.model in members:
                parts[result.benchmark, result.modality].append(result)
        for (benchmark, modality), pool in sorted(parts.items()):
            if len({result.protocol_id for result in pool}) > 1:
                raise ConfigError(
                    f"eval.pools.{name}: {', '.join(members)} were not evaluated alike on "
                    f"{benchmark} {modality.upper()} (protocols "
                    f"{', '.join(result.protocol_id for result in pool)}), so they are not seeds "
                    f"of one model"
                )
            yield _pool(name, pool)


def _pool(name: str, parts: Sequence[ModelResult]) -> ModelResult:
    n_answers = [result.n_answers for result in parts]
    lines = [
        replace(line, k=line.k + sum(n_answers[:index]))
        for index, result in enumerate(parts)
        for line in result.lines
    ]
    return replace(
        parts[0],
        model=name,
        lines=lines,
        thoughts=[n_words for result in parts for n_words in result.thoughts],
        officials=[verdict for result in parts for verdict in result.officials],
        variants={
            name: [verdict for result in parts for verdict in result.variants[name]]
            for name in parts[0].variants
            if all(name in result.variants for result in parts)
        },
        n_answers=sum(n_answers),
    )
