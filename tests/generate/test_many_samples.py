"""Facts about memory: what stages hold of a sample does not grow with the number of samples."""

from __future__ import annotations

import json
import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from avrt.config import Config, load_config
from avrt.datasets import SAMPLE_SCHEMA, prepare, sample_to_row
from avrt.generate import build, judge, merge, trace
from avrt.generate.findings import FINDINGS
from avrt.runs import write_parquet
from avrt.types import LETTERS, Sample
from clips import encode_clip, tone

FEW, MANY = 1_000, 20_000
MOST = 250
"""Bytes that may be held of a sample: numbers, and batches that are not full with few samples."""
OPTIONS = ("dog", "cat", "car", "rain")


def dataset(root: Path, n_samples: int) -> Config:
    """Questions about one clip; a teacher without media that is asked about the first quarter and
    right about every sixteenth, a merger and a judge.
    """
    encode_clip(root / "clip.mp4", n_frames=4, size=(56, 56), sound=tone(0.5, hz=300.0))
    rows = (
        sample_to_row(
            Sample(
                id=f"s{n}",
                question=f"Gold {LETTERS[n % 4]}{'' if n % 64 < 4 else ' hard'}: question {n}?",
                options=OPTIONS,
                answer_index=n % 4,
                question_type="Which",
                question_relation="both",
                video_id=f"clip{n}",
                video="clip.mp4",
                source=f"row {n}",
            )
        )
        for n in range(n_samples)
    )
    write_parquet(root / "train.parquet", rows, SAMPLE_SCHEMA)
    clean = {name: {"found": False, "quote": ""} for name in FINDINGS}
    lines = [{"match": "JUDGE", "reply": json.dumps(clean)}]
    lines += [{"match": " hard:", "reply": "no answer"}]
    for letter in "ABCD":
        trace_text = f"<think>it is heard</think>\n<answer>{letter}</answer>"
        lines.append({"match": f"MERGE Gold {letter}", "reply": trace_text})
        lines.append({"match": f"TEACHER Gold {letter}", "reply": f"Answer: ({letter})"})
    (root / "script.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    roles = {
        "teachers.blind": "teacher {question}\n{options}",
        "merger": "merge {question}\n{options}\n{answer}\n{analyses}",
        "judges.reader": "judge {question}\n{options}\n{answer}\n{analyses}\n{trace}",
    }
    settings = [f"data.root={root}", "data.format=parquet", f"run.dir={root / 'runs'}"]
    settings += ["run.name=many", "teachers.vision=null", "teachers.audio=null"]
    settings += ["teachers.blind.modality=none", "build.view=blind_right > 0", "build.gates=[]"]
    settings += [f"generate.limit={n_samples // 4}"]
    for role, prompt in roles.items():
        word, _, rest = prompt.partition(" ")
        path = root / f"{word}.txt"
        path.write_text(f"{word.upper()} {rest}")
        engine = json.dumps({"kind": "scripted", "script": str(root / "script.jsonl")})
        settings += [f"{role}.model=scripted", f"{role}.engine={engine}", f"{role}.prompt={path}"]
    return load_config(None, settings)


def peak(work: partial[object]) -> int:
    """The most bytes that it holds in Python."""
    tracemalloc.start()
    work()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return held


def test_stages_hold_a_few_numbers_of_each_sample(tmp_path_factory: pytest.TempPathFactory) -> None:
    configs = [dataset(tmp_path_factory.mktemp("run"), n) for n in (FEW, MANY)]
    growth: dict[str, float] = {}
    for stage in (prepare, trace, merge, judge, build):
        held = [peak(partial(stage.run, config)) for config in configs]
        growth[stage.__name__] = (held[1] - held[0]) / (MANY - FEW)
    assert {name: n for name, n in growth.items() if n > MOST} == {}
