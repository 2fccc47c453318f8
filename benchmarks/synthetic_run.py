"""A finished run of any size, in the files that the stages write, without a model or a clip.

`write_run(config, n_items, n_asked, text)` writes questions, traces, a dataset with all that was
rejected, training logs and the logs of an evaluation. Every text in it comes from `text(field,
number)`: a benchmark gives prose, a test whatever a model may write.

The decision to question: rows of the dataset come from the same function as in `avrt build`. Where
an item ends is fixed by its number, so that a test can count.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from avrt.config import Config
from avrt.datasets import sample_to_row
from avrt.datasets.prepare import MEDIA_SCHEMA, PREPARED_SCHEMA
from avrt.evaluate.logs import Line, LogMeta, Settings, log_path, write_log
from avrt.evaluate.sets import EvalSet, write_items
from avrt.generate.dataset import DATASET_SCHEMA, REJECTED_SCHEMA, Entry, to_row
from avrt.generate.gates import GATES
from avrt.generate.judged import Judgement, write_judged
from avrt.generate.records import (
    MergedTrace,
    TeacherTrace,
    stratum_of,
    write_merged,
    write_teachers,
)
from avrt.runs import manifest_path, open_parquet, save_config, write_json, write_parquet
from avrt.types import LETTERS, BenchmarkItem, Sample

__all__ = ["FATES", "MODALITIES", "Text", "write_run"]

Text: TypeAlias = Callable[[str, int], str]
"""The text of a field of the item with a number. Ids must differ. The fields: id, clip, video,
question, option, type, source, vision, audio, merged, answer, gate, quote, setting, group.
"""
FATES = (
    *[("train", "")] * 12,
    *[("validation", "")] * 2,
    ("prepare", "failed/no_video"),
    ("trace", "failed/too_long"),
    ("view", "dropped/one_teacher_wrong"),
    ("merge", "failed/timeout"),
    ("gate", "dropped/inconsistent"),
    ("judge", "dropped/hallucination"),
)
"""Where the items end, in turns: a split of the dataset, or the stage that rejects it and why."""
MODALITIES = ("a", "v", "av")
N_TYPES = 6
N_STEPS = 200


def write_run(config: Config, n_items: int, n_asked: int, text: Text) -> None:
    """Write a run of `n_items` questions; the first of its benchmarks asks `n_asked` others."""
    run = config.run.path
    save_config(config)
    rows = (_prepared(_sample(n, text), n) for n in range(n_items))
    write_parquet(run / "samples.parquet", rows, PREPARED_SCHEMA)
    clips = (_probed(text("video", n)) for n in range(-(-n_items // 3)))
    write_parquet(run / "media.parquet", clips, MEDIA_SCHEMA)

    def entries() -> Iterator[Entry]:
        return (_entry(n, text) for n in range(n_items))

    answers = (of for entry in entries() for of in (entry.answers or {}).values())
    write_teachers(run, (trace for traces in answers for trace in traces))
    write_merged(run, (entry.merged for entry in entries() if entry.merged is not None))
    write_judged(run, (judgement for entry in entries() for judgement in entry.judgements))
    counts = _write_dataset(run / "dataset", entries())
    _write_manifests(run, counts, text)
    for stage in ("sft", "grpo"):
        _write_training(run / stage / "log.jsonl")
    _write_evaluation(config, n_items, n_asked, text)


def _sample(n: int, text: Text) -> Sample:
    n_options = 4 if n % 2 else 2 + n % 6
    return Sample(
        id=text("id", n),
        question=text("question", n),
        options=tuple(text("option", 8 * n + place) for place in range(n_options)),
        answer_index=n % n_options,
        question_type=text("type", n % N_TYPES),
        question_relation=("both", "sound", "visual")[n % 3],
        video_id=text("clip", n // 3),
        video=text("video", n // 3),
        source=text("source", n),
    )


def _prepared(sample: Sample, n: int) -> dict[str, Any]:
    is_lost = FATES[n % len(FATES)][0] == "prepare"
    found = {"has_sound": True, "has_picture": not is_lost, "usable": None if is_lost else "av"}
    outcome = {"status": "failed" if is_lost else "ok", "reason": "no_video" if is_lost else None}
    return sample_to_row(sample) | found | outcome


def _probed(path: str) -> dict[str, Any]:
    size = {"width": 1280, "height": 720, "duration_s": 10.0, "n_audio_tracks": 1}
    return {"path": path, **size, "status": "ok", "notes": []}


def _entry(n: int, text: Text) -> Entry:
    """An item with all that happened to it until it was rejected or kept."""
    sample = _sample(n, text)
    fate, reason = FATES[n % len(FATES)]
    stage = "" if fate in ("train", "validation") else fate
    end = {"stage": stage, "reason": reason}
    if stage == "prepare":
        return Entry(sample, None, None, {}, **end)
    answers = {role: [_trace(sample, role, n, text, stage)] for role in ("vision", "audio")}
    if stage in ("trace", "view"):
        return Entry(sample, answers, None, {}, **end)
    merged = MergedTrace(
        sample_id=sample.id,
        key=f"m{n:063x}",
        status="timeout" if stage == "merge" else "ok",
        text=f"<think>{text('merged', n)}</think>\n<answer>{sample.target}</answer>",
        order=list(range(len(sample.options))),
        finish_reason="stop",
        n_prompt_tokens=900,
        n_completion_tokens=240,
    )
    if stage == "merge":
        return Entry(sample, answers, merged, {}, **end)
    fault = text("gate", n) if stage == "gate" else None
    flagged = {name: fault if name == "inconsistent" else None for name in GATES}
    if stage == "gate":
        return Entry(sample, answers, merged, flagged, **end)
    found = {"hallucination": text("quote", n)} if stage == "judge" else {}
    judgement = Judgement(
        sample_id=sample.id,
        judge="reader",
        status="ok",
        findings=found,
        key=merged.key,
        text=merged.text,
        finish_reason="stop",
        calls=[merged.key, f"j{n:063x}"],
    )
    return Entry(sample, answers, merged, flagged, [judgement], **end)


def _trace(sample: Sample, role: str, n: int, text: Text, stage: str) -> TeacherTrace:
    """Both are right but where the view rejects the item; every seventh audio teacher errs."""
    failed = stage == "trace" and role == "audio"
    is_wrong = (stage == "view" and role == "vision") or (stage == "" and n % 7 == 3)
    letter = LETTERS[(sample.answer_index + is_wrong) % len(sample.options)]
    words = text("vision" if role == "vision" else "audio", n)
    return TeacherTrace(
        sample_id=sample.id,
        role=role,
        modality=role[0],
        k=0,
        key=f"{role[0]}{n:063x}",
        status="too_long" if failed else "ok",
        text="" if failed else f"{words}\nAnswer: ({letter})",
        order=list(range(len(sample.options))),
        answer=None if failed else letter,
        correct=not (is_wrong or failed),
        finish_reason="error" if failed else "stop",
        n_prompt_tokens=700,
        n_completion_tokens=180,
    )


def _write_dataset(folder: Path, entries: Iterable[Entry]) -> Counter[str]:
    """The three files; gives the counts of the stage `build`."""
    schemas = {"train": DATASET_SCHEMA, "validation": DATASET_SCHEMA, "rejected": REJECTED_SCHEMA}
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open_parquet(folder / f"{name}.parquet", schema))
            for name, schema in schemas.items()
        }
        for n, entry in enumerate(entries):
            part = "rejected" if entry.stage else FATES[n % len(FATES)][0]
            files[part].add(to_row(entry))
            counts.update(["read", part, entry.reason or "kept"])
            if entry.answers and entry.stage != "trace":
                counts[f"stratum/{stratum_of(entry.answers)}"] += 1
    return counts


def _write_manifests(run: Path, built: Mapping[str, int], text: Text) -> None:
    """Of every stage of generation, with counts that add up."""
    engine = {"model": text("setting", 0), "revision": text("setting", 1)}
    role = {"engine": engine, "prompt": text("setting", 2), "k": 1, "max_new_tokens": 512}
    teachers = {name: role | {"modality": name[0]} for name in ("vision", "audio")}
    settings: dict[str, Mapping[str, Any]] = {
        "prepare": {"format": "parquet", "split": "train"},
        "trace": teachers,
        "merge": {"merger": role, "views": [text("setting", 3)]},
        "judge": {"judges": {"reader": role}},
        "build": {"view": text("setting", 3), "judges": {"reader": role}},
    }
    n_read, lost = built["read"], {}
    strata = {name: n for name, n in built.items() if name.startswith("stratum/")}
    for stage, values in settings.items():
        reason = next((each for name, each in FATES if name == stage), "")
        lost |= {reason: built[reason]} if reason else {}
        counts = {"read": n_read, "kept": n_read - sum(lost.values()), **lost}
        counts |= strata if stage == "trace" else {}
        write_json(
            manifest_path(run, stage),
            {
                "stage": stage,
                "fingerprint": stage,
                "settings": values,
                "inputs": {},
                "counts": dict(built) if stage == "build" else counts,
            },
        )


def _write_training(path: Path) -> None:
    """A log in which everything becomes better, as if there were no noise."""
    rows = []
    for step in range(1, N_STEPS + 1):
        done = step / N_STEPS
        row = {"step": step, "loss": 2 * math.exp(-2 * done), "grad_norm": 1 - done / 2}
        if path.parent.name == "grpo":
            row |= {"reward": 1 + done, "reward_format": 0.5 + done / 2, "kl": 0.02 * done}
            row |= {"reward_accuracy": 0.4 + 0.4 * done, "completion_length": 60 + 8 * done}
            row |= {"entropy": 0.3 - 0.2 * done, "zero_spread": 0.2 + 0.3 * done}
        rows.append(row)
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _write_evaluation(config: Config, n_items: int, n_asked: int, text: Text) -> None:
    """Every configured model on the first benchmark by every modality."""
    name, data = next(iter(config.eval.benchmarks.items()))
    numbers = range(n_items, n_items + n_asked)
    items = tuple(
        BenchmarkItem(_sample(n, text), {"task_type": text("group", n % N_TYPES)}, {})
        for n in numbers
    )
    write_items(config.run.path, EvalSet(name, data, items, {}, None))
    for rank, model in enumerate(config.eval.models):
        for modality in MODALITIES:
            settings = Settings({"model": text("setting", rank)}, {"n_frames": 8, "prompt": "p"})
            lines = (
                _line(item.sample, n, (rank, modality), settings, text)
                for n, item in zip(numbers, items, strict=True)
            )
            meta = LogMeta(settings, n_asked, prompt=text("setting", 2))
            write_log(log_path(config.run.path, name, model, modality), meta, lines)


def _line(sample: Sample, n: int, who: tuple[int, str], settings: Settings, text: Text) -> Line:
    """Later models are right more often, and more so with both modalities."""
    rank, modality = who
    is_right = n * 7 % 10 < 3 + rank + 2 * (modality == "av")
    letter = LETTERS[(sample.answer_index + (not is_right)) % len(sample.options)]
    failed, unread = n % 97 == 5, n % 89 == 7
    said = text("answer", 64 * n + 4 * rank + len(modality))
    answer = f"<think>{said}</think><answer>{'' if unread else letter}</answer>"
    return Line(
        sample_id=sample.id,
        text="" if failed else answer,
        answer=None if failed or unread else letter,
        target=sample.target,
        correct=is_right and not (failed or unread),
        status="failed" if failed else "unparsable" if unread else "scored",
        error_class="timeout" if failed else None,
        explanation="",
        finish_reason="error" if failed else "stop",
        prompt_digest=None,
        protocol=settings.protocol_id,
        n_prompt_tokens=700,
        n_completion_tokens=60,
        latency_s=0.5,
    )
