"""One item of the page: a question with everything that was made of it.

Pure functions from the records of a run to what a data file holds of an item. Texts that would fill
the page are cut here, so that marks lie inside of what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avrt.config import ModelRole, TeacherRole
from avrt.evaluate.logs import Line
from avrt.generate.option_order import in_order, places_in, restore_letter, restore_letters
from avrt.generate.records import NOT_ASKED, Answers, MergedTrace, TeacherTrace, best_answer
from avrt.report.faults import manifest_of
from avrt.report.overlap import find_quote, mark_sources
from avrt.report.script import cut, cut_texts
from avrt.types import Sample

__all__ = ["Asked", "Made", "Roles", "answer_entry", "roles_of", "to_item", "verdict_of"]

_QUOTING = ("inconsistent", "leak", "language", "repetition")
"""The gates that quote words of the trace; all but `leak` behind a colon."""
_REPEATED = "repetition"


@dataclass(frozen=True)
class Roles:
    """The model and the prompt of each teacher, and of the merger under `merge`."""

    models: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    pooled: bool = False
    """Whether teachers of one modality are different models."""


def roles_of(run: Path, teachers: Mapping[str, TeacherRole], merger: ModelRole) -> Roles:
    """Models as the manifests name them; prompts by the name that they have in the settings."""
    prompts = {name: teacher.prompt for name, teacher in teachers.items()}
    prompts |= {"merge": merger.prompt}
    models: dict[str, str] = {}
    for stage, own in (("trace", ""), ("merge", "merge")):
        manifest = manifest_of(run, stage) or {"settings": {}}
        for name, role in manifest["settings"].items():
            if isinstance(role, dict) and "engine" in role:
                models[own or name] = str(role["engine"].get("model"))
    by_modality: dict[str, set[str]] = {}
    for name, teacher in teachers.items():
        by_modality.setdefault(teacher.modality, set()).update(filter(None, [models.get(name)]))
    return Roles(models, prompts, any(len(names) > 1 for names in by_modality.values()))


@dataclass(frozen=True)
class Asked:
    """A log: who was asked about a benchmark, and how."""

    benchmark: str
    model: str
    modality: str
    prompt: str | None


@dataclass(frozen=True)
class Made:
    """All that a run made of a question, as far as it has come."""

    origin: str
    sample: Sample
    """With its options in the order of the merged trace, where there is one."""
    outcome: str | None = None
    """`train`, `validation`, or the stage where it left; None: not decided yet."""
    reason: str | None = None
    stratum: str | None = None
    answers: Answers | None = None
    """Of the teachers, in the stored order of the options."""
    texts: Mapping[str, tuple[str, bool | None]] = field(default_factory=dict)
    """Of an imported trace: text and verdict by modality, where no teacher was asked here."""
    merged: MergedTrace | None = None
    """The trace that counts."""
    gates: Mapping[str, str | None] = field(default_factory=dict)
    findings: Sequence[Mapping[str, str]] = ()
    replies: Sequence[Mapping[str, Any]] = ()
    """Of evaluated models: see `answer_entry`."""


def to_item(made: Made, roles: Roles, media: Mapping[str, Any] | None) -> dict[str, Any]:
    """The item as the page reads it."""
    sample = made.sample
    traces = _traces(made, roles)
    return {
        **cut_texts(
            {
                "id": sample.id,
                "origin": made.origin,
                "question": sample.question,
                "options": list(sample.options),
                "target": sample.target,
                "type": sample.question_type,
                "relation": sample.question_relation,
                "outcome": made.outcome,
                "reason": made.reason,
                "stratum": made.stratum,
                "source": sample.source,
            }
        ),
        "media": media,
        "traces": traces,
        "merged": _merged(made, roles, traces),
        "gates": cut_texts({name: said for name, said in made.gates.items() if said is not None}),
        "findings": _findings(made),
        "answers": cut_texts(list(made.replies)),
    }


def verdict_of(line: Line) -> str:
    """What became of an answer, in words."""
    cause = f": {line.error_class.replace('_', ' ')}" if line.error_class else ""
    if line.status == "scored":
        return "right" if line.correct else "wrong"
    return {"unparsable": "no answer", "failed": "failed", "missing_media": "no media"}[
        line.status
    ] + cause


def answer_entry(asked: Asked, line: Line, text: str) -> dict[str, Any]:
    """The reply of an evaluated model; `line` as today's parser scores it."""
    is_reply = line.status in ("scored", "unparsable")
    return {
        "benchmark": asked.benchmark,
        "model": asked.model,
        "modality": asked.modality,
        "k": line.k,
        "text": text,
        "answer": line.answer,
        "verdict": verdict_of(line),
        "right": line.correct if is_reply else None,
        "cut": line.finish_reason == "length",
        "tokens": [line.n_prompt_tokens, line.n_completion_tokens],
        "latency_s": round(line.latency_s, 3),
        "prompt": asked.prompt,
        "key": line.key,
    }


def _traces(made: Made, roles: Roles) -> list[dict[str, Any]]:
    order = made.merged.order if made.merged else range(len(made.sample.options))
    places = places_in(order)
    stored = in_order(made.sample.options, places)
    if made.answers is None:
        return [
            {"role": role, "modality": role[0], "k": 0, "model": None, "prompt": None}
            | {"text": "".join(cut(text)), "answer": None, "right": right, "status": "ok"}
            | {"tokens": None, "key": None}
            for role, (text, right) in made.texts.items()
        ]
    return [
        {
            "role": trace.role,
            "modality": trace.modality,
            "k": trace.k,
            "model": roles.models.get(trace.role),
            "prompt": roles.prompts.get(trace.role),
            "text": "".join(cut(restore_letters(trace.text, places, stored))),
            "answer": trace.answer and restore_letter(trace.answer, places),
            "right": trace.correct if trace.status == "ok" and trace.answer else None,
            "status": "no_answer" if trace.status == "ok" and not trace.answer else trace.status,
            "cut": trace.finish_reason == "length",
            "tokens": _tokens(trace),
            "key": trace.key,
            **_seen(trace.order, places),
        }
        for traces in made.answers.values()
        for trace in traces
        if trace.status != NOT_ASKED
    ]


def _seen(order: Sequence[int], places: Sequence[int]) -> dict[str, list[int]]:
    """The order in which the teacher saw the item's options, where it is another."""
    seen = [places[option] for option in order] if len(order) == len(places) else sorted(places)
    return {} if seen == sorted(seen) else {"order": seen}


def _merged(made: Made, roles: Roles, traces: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    merged = made.merged
    if merged is None:
        return None
    shown, note = cut(merged.text)
    read = _read_texts(made, traces)
    return {
        "text": shown + note,
        "status": merged.status,
        "cut": merged.finish_reason == "length",
        "model": roles.models.get("merge"),
        "prompt": roles.prompts.get("merge"),
        "tokens": _tokens(merged),
        "key": merged.key or None,
        "marks": mark_sources(
            shown, read["v"], read["a"], "\n".join([made.sample.question, *made.sample.options])
        ),
        "gate_marks": [
            (start, end, name)
            for name in _QUOTING
            if (said := made.gates.get(name))
            for start, end in find_quote(shown, _quoted(name, said), name == _REPEATED)
        ],
    }


def _read_texts(made: Made, traces: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the merger read, by modality: of each teacher the answer that counts."""
    texts = {"v": "", "a": ""}
    counts = {
        (trace.role, trace.k) for of in (made.answers or {}).values() for trace in [best_answer(of)]
    }
    for trace in traces:
        is_read = not counts or (trace["role"], trace["k"]) in counts
        if is_read and trace["modality"] in texts:
            texts[trace["modality"]] += f"{trace['text']}\n"
    return texts


def _quoted(gate: str, said: str) -> str:
    """The words of the trace in what a gate says."""
    return said if gate == "leak" else said.partition(": ")[2]


def _findings(made: Made) -> list[dict[str, Any]]:
    """What judges found; `at` is the place of the quote in the merged trace, None: it has none."""
    text = cut(made.merged.text)[0] if made.merged else ""
    findings: list[dict[str, Any]] = []
    for found in made.findings:
        places = find_quote(text, found["quote"])
        at = places[0] if places else None
        findings.append(cut_texts({name: found[name] for name in ("judge", "finding", "quote")}))
        findings[-1]["at"] = at
    return findings


def _tokens(reply: TeacherTrace | MergedTrace) -> list[int] | None:
    """Of the prompt and of the completion; None: nobody counted them."""
    counts = [reply.n_prompt_tokens, reply.n_completion_tokens]
    return counts if any(counts) else None
