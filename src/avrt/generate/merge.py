"""Stage `merge`: a text model joins the teachers' traces of each selected sample into one.

Reads samples.parquet and traces/teachers.parquet; writes the ledger and traces/merged.parquet, one
row per sample of the view that is built (and of those it is compared with). The merger knows the
right answer and gets no media: it writes down why, it does not decide. Of several answers of one
teacher it gets the first right answer. With `generate.traces_of` the traces of one teacher take
the merger's place, and nothing is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.answers import split_trace
from avrt.answers.thoughts import after_thought
from avrt.ask.budget import Budget
from avrt.ask.calls import (
    Draft,
    Drafts,
    Outcome,
    call_all,
    check_failure_rate,
    describe_role,
    sampling_of,
)
from avrt.ask.distant import role_on
from avrt.ask.ledger import Ledger, open_ledger
from avrt.ask.locks import check_free
from avrt.ask.reuse import check_source, forecast_calls, reused_text
from avrt.config import BuildConfig, Config, MediaConfig, ModelRole, TeacherRole
from avrt.datasets.prepared import PreparedSamples, load_prepared
from avrt.errors import ConfigError
from avrt.generate.option_order import balanced_order, in_order, places_in, restore_letters
from avrt.generate.records import (
    Answers,
    MergedTrace,
    answers_about,
    best_answer,
    check_teachers,
    check_traced,
    merged_path,
    teachers_path,
    write_merged,
)
from avrt.generate.single import traces_of_teacher
from avrt.generate.views import Selection, check_views, condition_of
from avrt.prompts import PromptTemplate, format_options, load_prompt
from avrt.runs import DiskMap, Result, Stage, check_sums, open_stage, save_config
from avrt.types import Completion, Sample

__all__ = ["Merger", "make_merger", "plan", "run", "shown_sample"]

BATCH = 500
"""Samples whose replies are taken from the ledger together."""
TRACE_FAILED = "dropped/trace_failed"
"""Reason of the samples that no teacher of a modality answered: not for merge to try again."""


def run(config: Config, budget: Budget | None = None) -> Result:
    """Merge the traces of the samples that the view selects.

    When the budget stops it, nothing is derived and the stage is not done.

    Raises:
        DataError: the run is not traced.
        ConfigError: merged before with another merger, prepared again after it was traced, not a
            view, or in use by another process.
        AvrtError: too many calls failed; everything is stored.
    """
    path, build, budget = config.run.path, config.build, budget or Budget()
    source = config.run.calls_path
    check_views(build, config.teachers)
    merger = make_merger(config)
    check_source(source)
    check_free(path, budget.shard)
    check_teachers(path, config.teachers)
    stage = _open(config)
    if _is_done(path, stage):
        return Result(f"merge: nothing to do, {path} is merged", stage.counts())
    samples = load_prepared(path)
    check_traced(path, samples)
    reasons = _select(build, path, samples)
    save_config(config)
    selected = samples.where("id", lambda id_: reasons[id_] is None)
    counts = Counter({"read": len(samples), "kept": 0})
    for reason in filter(None, reasons.values()):  # a failure here is one of the stage trace
        counts[TRACE_FAILED if reason.startswith("failed/") else reason] += 1
    if (teacher := config.generate.traces_of) is not None:
        stage.begin()
        traces = traces_of_teacher(teacher, answers_about(path, selected), merger.order)
        write_merged(path, _count(traces, counts))
        return _finish(stage, build, counts, len(samples))
    with open_ledger(path, budget.shard, source=source) as ledger:
        chosen = budget.take(selected)
        each = (merger.draft(sample, answers) for sample, answers in answers_about(path, chosen))
        targets = DiskMap[str, str]()
        targets.update((sample.id, merger.shown(sample).target) for sample in chosen)
        drafts = Drafts("merger", len(chosen), each, config.media, _keeper(targets))
        with closing(role_on(config.cluster, merger.role, merger.media)) as engine:
            outcomes = call_all(ledger, engine, drafts, budget)
        if budget.stopped_by is None:
            traces = merger.read_traces(ledger, selected, lambda id_: outcomes[id_, 0])
            stage.begin()
            write_merged(path, _count(traces, counts))
        reused = reused_text(ledger, "merge", source)
    if budget.stopped_by is not None:
        return Result(budget.summarize("merge") + reused, {})
    check_failure_rate("merge", outcomes.values(), config.generate.max_failure_rate)
    return _finish(stage, build, counts, len(samples), reused)


def _finish(
    stage: Stage, build: BuildConfig, counts: Counter[str], n_samples: int, reused: str = ""
) -> Result:
    check_sums("merge", n_samples, counts)
    stage.finish(counts)
    return Result(_summarize(build, counts) + reused, counts)


def plan(config: Config) -> str:
    """The work of `run`, in words; makes no call and writes nothing."""
    path, build, role = config.run.path, config.build, config.merger
    check_views(build, config.teachers)
    if (teacher := config.generate.traces_of) is not None:
        return (
            f"merge: no call; the traces of teacher {teacher} about the samples of the view "
            f"{_views(build)} take the place of merged ones"
        )
    merger = make_merger(config)
    check_source(config.run.calls_path, planned=True)
    identity = describe_role(role, config.media)["engine"]
    model = f"{role.model} ({role.engine.kind}), prompt {role.prompt}"
    if not teachers_path(path).is_file():
        return f"merge: one call for every sample of the view {_views(build)}\n  merger: {model}"
    samples = load_prepared(path)
    reasons = _select(build, path, samples)
    selected = samples.where("id", lambda id_: reasons[id_] is None)
    drafts = (merger.draft(sample, answers) for sample, answers in answers_about(path, selected))
    forecast = forecast_calls(path, config.run.calls_path, "merge", [(identity, drafts)])
    return (
        f"merge: {len(selected)} of {len(reasons)} samples are in the view {_views(build)}; "
        f"{forecast}\n  merger: {model}"
    )


@dataclass(frozen=True)
class Merger:
    """The merger with all that decides how it is asked."""

    role: ModelRole
    media: MediaConfig
    prompt: PromptTemplate
    seed: int
    balances: bool
    """Whether the options stand in an order in which the gold letters are even."""
    hidden: tuple[str, ...]
    """Teachers of whom the merger reads only what follows their private thoughts."""

    def order(self, sample: Sample) -> Sequence[int]:
        """The order in which the merger sees the options."""
        n_options = len(sample.options)
        if not self.balances:
            return range(n_options)
        return balanced_order(self.seed, sample.id, sample.answer_index, n_options)

    def shown(self, sample: Sample) -> Sample:
        """The sample with its options in that order."""
        return shown_sample(sample, self.order(sample))

    def draft(self, sample: Sample, answers: Answers, k: int = 0, note: str = "") -> Draft:
        """The request for a trace about a sample; `note` follows the prompt of another try `k`."""
        shown = self.shown(sample)
        system, text = self.prompt.fill(
            question=shown.question,
            options=format_options(shown.options),
            answer=f"({shown.target}) {shown.target_text}",
            **_analyses(sample, answers, self.order(sample), self.hidden),
        )
        return Draft(
            id=(sample.id, k),
            stage="merge",
            sample_id=sample.id,
            role="merger",
            system=system,
            text=text + note,
            sampling=sampling_of(self.role, self.seed, sample.id, k),
            k=k,
        )

    def read_traces(
        self,
        ledger: Ledger,
        samples: PreparedSamples,
        outcome_of: Callable[[str], Outcome | None],
    ) -> Iterator[MergedTrace]:
        """The trace about each sample, in order, by its id; replies are read in batches."""
        for start in range(0, len(samples), BATCH):
            batch = list(samples[start : start + BATCH])
            outcomes = [outcome_of(sample.id) for sample in batch]
            keys = [outcome.key for outcome in outcomes if outcome is not None]
            replies = ledger.find_all([key for key in keys if key is not None])
            for sample, outcome in zip(batch, outcomes, strict=True):
                yield self.to_trace(sample, outcome, replies)

    def to_trace(
        self, sample: Sample, outcome: Outcome | None, replies: Mapping[str, Completion]
    ) -> MergedTrace:
        """The trace in a reply, or the failure in its place."""
        if outcome is None:
            raise AssertionError(f"{sample.source}: a call that was planned has no outcome")
        # Without a key: the workers that asked it died.
        completion = outcome.failure or replies[outcome.key or ""]
        return MergedTrace(
            sample_id=sample.id,
            key=outcome.key or "",
            status=outcome.status,
            text=completion.text,
            order=list(self.order(sample)),
            finish_reason=completion.finish_reason,
            n_prompt_tokens=completion.n_prompt_tokens,
            n_completion_tokens=completion.n_completion_tokens,
        )


def make_merger(config: Config) -> Merger:
    """The configured merger; nothing is loaded.

    Raises:
        ConfigError: its prompt does not exist, or leaves out a teacher of picture and sound.
    """
    role, prompt = config.merger, load_prompt(config.merger.prompt)
    _check_prompt(role, prompt, config.teachers)
    hidden = _hidden_thoughts(config.teachers)
    return Merger(role, config.media, prompt, config.run.seed, config.build.balance_letters, hidden)


def _hidden_thoughts(teachers: Mapping[str, TeacherRole]) -> tuple[str, ...]:
    return tuple(sorted(name for name, each in teachers.items() if not each.merge_thought))


def shown_sample(sample: Sample, order: Sequence[int]) -> Sample:
    """The sample with its options in another order."""
    options = in_order(sample.options, order)
    return replace(sample, options=options, answer_index=order.index(sample.answer_index))


def _analyses(
    sample: Sample, answers: Answers, order: Sequence[int], hidden: Sequence[str]
) -> dict[str, str]:
    """The teachers' texts by modality and all together, with the letters that are shown; of the
    `hidden` teachers, what follows their private thoughts.
    """
    places = places_in(order)
    texts: dict[str, list[str]] = {"v": [], "a": [], "av": []}
    titled: list[str] = []
    for name, traces in answers.items():
        best = best_answer(traces)
        if best.modality in texts:
            text = after_thought(best.text) if name in hidden else best.text
            text = restore_letters(text.strip(), places, sample.options)
            texts[best.modality].append(text)
            titled.append(f"{name.replace('_', ' ').capitalize()} analysis:\n{text}")
    return {
        "visual_analysis": "\n\n".join(texts["v"]),
        "audio_analysis": "\n\n".join(texts["a"]),
        "analyses": "\n\n".join(titled),
    }


def _open(config: Config) -> Stage:
    build = config.build
    name = config.generate.traces_of
    settings: dict[str, Any] = {
        **(
            {"merger": describe_role(config.merger, config.media)}
            if name is None
            else {"traces_of": name}
        ),
        "balance_letters": build.balance_letters,
        "seed": config.run.seed,
    }
    if hidden := _hidden_thoughts(config.teachers):  # absent as in runs of before
        settings["hidden_thoughts"] = list(hidden)
    views = (build.view, *build.same_size_as)
    free = {"views": [condition_of(view, build.views) for view in views]}
    inputs = [config.run.path / "samples.parquet", teachers_path(config.run.path)]
    return open_stage(config.run.path, "merge", settings, inputs, free)


def _is_done(run: Path, stage: Stage) -> bool:
    """Done, the file is still there, and no failed call of the merger is left to try again."""
    if not stage.done or not merged_path(run).is_file():
        return False
    return not any(key.startswith("failed/") for key in stage.counts())


def _check_prompt(
    role: ModelRole, prompt: PromptTemplate, teachers: Mapping[str, TeacherRole]
) -> None:
    """A teacher of picture and sound together reaches the merger only as part of `{analyses}`."""
    both = [name for name, teacher in teachers.items() if teacher.modality == "av"]
    if both and not prompt.uses("analyses"):
        raise ConfigError(
            f"teachers.{both[0]} (modality av) would not reach the merger: use {{analyses}} in "
            f"merger.prompt ({role.prompt}) instead of the two single analyses"
        )


def _select(build: BuildConfig, run: Path, samples: PreparedSamples) -> Mapping[str, str | None]:
    """Why each traced sample is in none of the views to merge; None: it is in one."""
    with Selection(build.views, answers_about(run, samples, with_texts=False)) as selection:
        return selection.reasons(build.view, *build.same_size_as)


def _keeper(targets: Mapping[str, str]) -> Callable[[Draft, Completion], bool]:
    """Whether a reply is a trace in form with the right letter, which gates can still reject."""

    def keeps(draft: Draft, completion: Completion) -> bool:
        parts = split_trace(completion.text) if completion.finish_reason == "stop" else None
        return parts is not None and parts[1] == targets[draft.sample_id]

    return keeps


def _count(traces: Iterator[MergedTrace], counts: Counter[str]) -> Iterator[MergedTrace]:
    for trace in traces:
        counts["kept" if trace.status == "ok" else f"failed/{trace.status}"] += 1
        yield trace


def _views(build: BuildConfig) -> str:
    return ", ".join(repr(view) for view in (build.view, *build.same_size_as))


def _summarize(build: BuildConfig, counts: Mapping[str, int]) -> str:
    n_left_out = sum(n for reason, n in counts.items() if reason.startswith("dropped/"))
    n_selected = counts["read"] - n_left_out
    selected = f"{n_selected} of {counts['read']} samples are in the view {_views(build)}"
    lines = [f"merge: {selected}, {counts['kept']} merged"]
    lines += [f"  {n:>7} {reason}" for reason, n in sorted(counts.items()) if "/" in reason]
    return "\n".join(lines)
