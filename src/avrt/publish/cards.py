"""The cards of published folders: YAML for the Hub, measured numbers, terms, provenance, examples.

Nothing is read here. Every number comes from the results of the run, with its interval and under
its protocol; a card of a run without results says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from avrt import __version__
from avrt.config import EvalConfig
from avrt.evaluate.results import ModelResult
from avrt.prompts import PromptTemplate
from avrt.publish.provenance import RECORD, SETTINGS, run_fingerprint
from avrt.publish.terms import Term, licence_fields, terms_table
from avrt.report.accuracy import LABELS, by_benchmark, headline_table
from avrt.report.tables import to_markdown

__all__ = [
    "PROMPT",
    "Student",
    "dataset_card",
    "evaluation_text",
    "licence_text",
    "model_card",
    "page_text",
    "prompt_text",
    "provenance_text",
    "report_card",
    "split_card",
]

PROMPT = "avrt_prompt.txt"
PLACE = "NAME/ID"
"""In examples, before the name on the Hub is known."""
_PAPER = "https://arxiv.org/abs/2604.16617"
_RECIPE = ("n_frames", "max_pixels", "max_audio_s")
"""Settings of the media that a student gets."""
Stages = Mapping[str, Mapping[str, Any]]


def dataset_card(
    card: str, repo: str | None, terms: Sequence[Term], texts: Mapping[str, str]
) -> str:
    """The card of the exported dataset, completed; `texts` has `evaluation` and `provenance`."""
    fields, body = split_card(card)
    name = repo.partition("/")[2] if repo else "Audio-visual reasoning traces"
    configurations = {entry["config_name"]: entry["data_files"] for entry in fields["configs"]}
    fields = {"pretty_name": name, **fields, **licence_fields(terms)}
    traces = next(data_files for name, data_files in configurations.items() if name == "default")
    terms_text = (
        f"Every text comes under the terms of the model that wrote it.\n\n{terms_table(terms)}"
    )
    sections = [
        body.strip(),
        _dataset_example(repo or PLACE, configurations, traces[0]["split"]),
        _section("Students trained on it", texts["evaluation"]),
        _section("Terms", terms_text),
        texts["provenance"],
    ]
    return _card(fields, sections)


def _dataset_example(repo: str, configurations: Iterable[str], split: str) -> str:
    lines = [
        "from datasets import load_dataset",
        "",
        f'traces = load_dataset("{repo}")',
        *(
            f'{name} = load_dataset("{repo}", "{name}", split="train")'
            for name in configurations
            if name != "default"
        ),
        f'row = traces["{split}"][0]',
        'print(row["question"], row["choices"], row["av_reasoning"])',
    ]
    note = (
        "The clips are not in it: the columns `video`, `image` and `audio` name them below the "
        "source dataset's folder."
    )
    return _section("How to load it", f"{_code('python', lines)}\n\n{note}")


@dataclass(frozen=True)
class Student:
    """What a model's card tells of it."""

    title: str
    class_name: str
    """Of transformers."""
    stages: Stages
    """Its trainings, the last of them its own."""
    prompt: PromptTemplate
    results: Sequence[ModelResult]


def model_card(
    student: Student, repo: str | None, terms: Sequence[Term], texts: Mapping[str, str]
) -> str:
    """The card of a student; the first of the terms is that of its base.

    `texts` has `evaluation`, of all models of the run, and `provenance`.
    """
    base, settings = terms[0], student.stages[[*student.stages][-1]]["settings"]
    is_on_hub = "/" in base.what
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "video-text-to-text",
        **({"base_model": base.what, "base_model_relation": "finetune"} if is_on_hub else {}),
        "language": ["en"],
        "tags": ["audio-visual", "reasoning", "distillation"],
        **licence_fields(terms),
    }
    if index := _model_index(student.title, student.results):
        fields["model-index"] = index
    trainings = ["SFT on merged traces" if n == "sft" else "GRPO" for n in student.stages]
    introduction = f"""# {student.title}

The thinker of `{base.what}`, trained by {" and ".join(trainings)} as in [AVRT]({_PAPER}). Given the
frames and the sound of a clip with a question, it writes its reasoning, then the letter of its
answer (`<think>…</think><answer>B</answer>`).

Licence of the base: {base.licence or "not known"}."""
    prompt = (
        f"It was trained with this prompt alone (`{PROMPT}`):\n\n"
        f"{_code('text', prompt_text(student.prompt).splitlines())}"
    )
    sections = [
        introduction,
        _section("Results", texts["evaluation"]),
        _model_example(repo or PLACE, student.class_name, settings),
        _section("Prompt", prompt),
        _section("Training", _training_table(student.stages)),
        _section("Terms", terms_table(terms)),
        texts["provenance"],
    ]
    return _card(fields, sections)


def prompt_text(prompt: PromptTemplate) -> str:
    """The prompt as a file that `load_prompt` reads."""
    system = f"[system]\n{prompt.system}\n\n[user]\n" if prompt.system is not None else ""
    return f"{system}{prompt.user}\n"


def _model_example(repo: str, class_name: str, settings: Mapping[str, Any]) -> str:
    media, student = settings["media"], settings["student"]
    recipe = "".join(f'    "media.{name}={json.dumps(media[name])}",\n' for name in _RECIPE)
    engine = f"kind: transformers, dtype: {student['dtype']}"
    if student.get("use_audio_in_video"):
        engine += ", use_audio_in_video: true"
    role = f"{{{{model: {{folder}}, prompt: {{folder}}/{PROMPT}, modality: av}}}}"
    return f"""## How to load it

```python
from huggingface_hub import snapshot_download
from transformers import AutoProcessor, {class_name}

folder = snapshot_download("{repo}")
processor = AutoProcessor.from_pretrained(folder)
model = {class_name}.from_pretrained(folder, dtype="auto")
```

With frames and sound as in training, which AVRT decodes (`pip install "avrt[train]"`):

```python
from pathlib import Path

import avrt
from huggingface_hub import snapshot_download

folder = snapshot_download("{repo}")
settings = [
    f"teachers.student={role}",
    "teachers.student.engine={{{engine}}}",
{recipe}]
config = avrt.load_config(None, settings)
student, clip = config.teachers["student"], Path("clip.mp4")
system, text = avrt.load_prompt(student.prompt).fill(
    question="What is heard?", options=avrt.format_options(["a dog", "a drum"])
)
frames, sound = avrt.read_frames(clip, config.media), avrt.read_waveform(clip, config.media)
engine = avrt.engine_of_role(student, config.media)
prompt = avrt.Prompt(text, system, frames=frames, audio=sound)
(reply,) = avrt.complete(engine, [prompt], avrt.Sampling(max_new_tokens=1024))
print(reply.text)
```"""


def _training_table(stages: Stages) -> str:
    rows = ["| training | setting | value |", "| --- | --- | --- |"]
    for name, stage in stages.items():
        settings, counts = stage["settings"], stage["counts"]
        own = settings["sft" if name == "sft" else "grpo"]
        shown = {
            "rows": counts["kept"],
            "steps": counts["steps"],
            "trained parameters": counts["parameters/trainable"],
            "frozen parameters": counts["parameters/frozen"],
            "processes": settings["processes"],
            "seed": settings["seed"],
            **{f"student.{key}": value for key, value in settings["student"].items()},
            **{f"media.{key}": settings["media"][key] for key in _RECIPE},
            **own,
        }
        rows += [f"| {name} | {key} | {json.dumps(value)} |" for key, value in shown.items()]
    return "\n".join(rows)


def report_card(name: str, terms: Sequence[Term], texts: Mapping[str, str]) -> str:
    """The card of a page, a static Space; `texts` has `evaluation` and `provenance`."""
    fields = {
        "title": name,
        "emoji": "🎧",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        **licence_fields(terms),
    }
    introduction = (
        f"# {name}\n\nThe report of a run of [AVRT]({_PAPER}): `index.html` shows results, "
        "training and every item; each table is a file in `tables/` (Markdown, CSV, JSON), each "
        "figure one in `figures/` (SVG, PDF)."
    )
    sections = [introduction, _section("Results", texts["evaluation"])]
    if terms:
        sections.append(_section("Terms", terms_table(terms)))
    return _card(fields, [*sections, texts["provenance"]])


def evaluation_text(results: Sequence[ModelResult], settings: EvalConfig) -> str:
    """The accuracies of a run with their intervals, comparisons and protocols, in Markdown."""
    benchmarks = [each for each in by_benchmark(results, settings) if each.modalities]
    tables = [to_markdown(headline_table(benchmark)) for benchmark in benchmarks]
    if not tables:
        return "Not evaluated: the run has no results."
    return "\n".join(f"##{table}" for table in tables).strip()


def _model_index(name: str, results: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """The finished results as the Hub reads them; interval, n and protocol are the metric's
    arguments.
    """
    entries = []
    for result in results:
        accuracy = result.accuracy
        if accuracy.value is None or not result.has_media or result.n_left:
            continue
        low, high = accuracy.interval
        metric = {
            "type": "accuracy",
            "value": round(100 * accuracy.value, 2),
            "name": f"Strict accuracy in %, {LABELS[result.modality].lower()}",
            "args": {
                "low": round(100 * low, 2),
                "high": round(100 * high, 2),
                "level": 0.95,
                "n": accuracy.n,
                "protocol": result.protocol_id,
            },
        }
        dataset = {"type": result.benchmark, "name": result.benchmark, "config": result.modality}
        task = {"type": "visual-question-answering"}
        entries.append({"task": task, "dataset": dataset, "metrics": [metric]})
    return [{"name": name, "results": entries}] if entries else []


def provenance_text(run: str, stages: Stages, commands: Iterable[str], note: str = "") -> str:
    """The section about what made a folder."""
    rows = [f"| {name} | `{stage['fingerprint'][:12]}` |" for name, stage in stages.items()]
    about = (
        f"Run `{run}`, fingerprint `{run_fingerprint(stages)}`, made with AVRT {__version__}. "
        f"`{RECORD}` holds the settings, inputs and counts of every stage and the sha256 of every "
        f"file here, `{SETTINGS}` the whole configuration."
    )
    text = [
        about,
        *([note] if note else []),
        "\n".join(["| stage | fingerprint |", "| --- | --- |", *rows]),
        "The commands that do the same again:",
        _code("bash", commands),
    ]
    return _section("Provenance", "\n\n".join(text))


def licence_text(terms: Sequence[Term]) -> str:
    """The file that a licence of the kind `other` links to."""
    return (
        "# Terms\n\nWhat is in this folder comes under the terms of all these parts:\n\n"
        f"{terms_table(terms)}\n"
    )


def split_card(card: str) -> tuple[dict[str, Any], str]:
    """The fields and the text of a card."""
    _, fields, body = card.split("---\n", 2)
    return yaml.safe_load(fields), body


def page_text(page: str | None) -> str:
    """Where a reader can look at the run; empty where the page's Space is not known."""
    if page is None:
        return ""
    return (
        f"[The page of the run](https://huggingface.co/spaces/{page}) shows every item with its "
        "traces, and all results.\n\n"
    )


def _card(fields: Mapping[str, Any], sections: Iterable[str]) -> str:
    header = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n" + "\n\n".join(sections) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _code(language: str, lines: Iterable[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
