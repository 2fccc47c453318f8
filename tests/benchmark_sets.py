"""Small benchmarks in the layout of the published files; rows and texts are our own.

`write_set(root, name)` writes one and says how to read it. Two to three questions each, with what
is odd about the real files: letters in front of options, gold as text, letter or index, nested
rows.
"""

from __future__ import annotations

import copy
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from avrt.config import BenchmarkConfig
from avrt.datasets import sample_to_row, write_samples
from avrt.types import Sample

__all__ = ["FILES", "NESTED", "ROWS", "SETS", "rows_of", "write_set"]


def _omnibench(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "task type": "Action and Activity",
        "audio type": " Speech",
        "question": "What is the cook about to do?",
        "audio content": "A: Stand back!",
        "image content": "A cook holds a pan over a flame.",
        "audio_path": f"9-00{index}.mp4.mp3.mp3",
        "image_path": f"9-00{index}.png",
        "index": index,
        "answer": "The cook will set the pan on fire.",
        "options": [
            "The cook will wash the pan.",
            "The cook will set the pan on fire.",
            "The cook will leave the kitchen.",
            "The cook will taste the soup.",
        ],
    } | changes


def _daily_omni(**changes: Any) -> dict[str, Any]:
    return {
        "Question": "What is shown when the whistle blows?",
        "Choice": ["A. A tram", "B. A ferry", "C. A kite", "D. A barrow"],
        "Answer": "C",
        "video_id": "clip-0_a1B2c",
        "Type": "AV Event Alignment",
        "content_parent_category": "None",
        "video_category": "Travel & Events",
        "video_duration": "30s",
    } | changes


def _mmar(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "audio_path": f"./audio/{name}.wav",
        "question": "Which instrument enters last?",
        "choices": ["Cello", "Oboe", "Harp", "Gong"],
        "answer": "Harp",
        "modality": "music",
        "category": "Perception Layer",
        "sub-category": "Music Theory",
        "language": None,
        "source": "youtube",
        "url": "https://example.org/watch",
        "timestamp": "00:01:00,00:01:20",
        "thinking": "Strings are plucked over three octaves at the end.",
        "cue": ["plucked strings"],
        "rubric": [
            {
                "name": "Cue: plucking",
                "scoring_point": "Award 1 point if plucked strings are named.",
                "note": "The cue that tells the harp from the cello.",
                "choices": [0, 1],
            },
            {
                "name": "Order",
                "scoring_point": "Award 1 point if the order of entries is used.",
                "note": "The question asks for the last.",
                "choices": [0, 1],
            },
        ],
    } | changes


def _mmau(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "audio_id": f"./test-mini-audios/{name}.wav",
        "question": "What is heard behind the speaker?",
        "choices": ["Rain", "A mill", "Traffic", "Surf"],
        "answer": "A mill",
        "dataset": "Own",
        "task": "sound",
        "split": "test-mini",
        "category": "Reasoning",
        "sub-category": "Acoustic Source Inference",
        "difficulty": "medium",
    } | changes


def _video_holmes(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "video ID": "film_01",
        "Question ID": number,
        "Question Type": "SR",
        "Question": "Who moved the clock?",
        "Options": {
            "A": "The heir",
            "B": "The gardener",
            "C": "The doctor",
            "D": "The pianist",
            "E": "The guest",
            "F": "Nobody",
        },
        "Answer": "E",
        "Explanation": "The guest's glove lies on the shelf.",
    } | changes


def _worldsense() -> dict[str, Any]:
    video = {
        "video_duration": 75,
        "duration": "1-2min",
        "domain": "Music",
        "sub_category": "Covers",
        "audio_class": ["Speech", "Music"],
        "video_caption": "A duet in a square.",
        "task0": {
            "task_domain": "Recognition",
            "task_type": "Audio Counting",
            "question": "How many voices sing?",
            "candidates": ["A. One.", "B. Two.", "C. Three.", "D. None."],
            "answer": "B",
        },
    }
    second = copy.deepcopy(video)
    second["task1"] = second["task0"] | {"task_type": "Event Sorting", "answer": "D"}
    return {"aBcDeFgH": video, "iJkLmNoP": second}


def _omnivideobench() -> list[dict[str, Any]]:
    def question(**changes: Any) -> dict[str, Any]:
        return {
            "question": "How many bells ring before the door opens?",
            "question_type": "counting",
            "audio_type": "Sound",
            "reasoning_steps": [{"modality": "audio", "evidence": "0:07", "inference": "two"}],
            "answer": "2",
            "options": ["A.0", "B.1", "C.2", "D.3"],
            "correct_option": "C",
        } | changes

    spaced = ["A. Calm", "B. Angry", "C. Amused", "D. Bored"]
    return [
        {
            "video": "video_1",
            "video_type": "Vlog",
            "duration": "03:28",
            "questions": [
                question(),
                question(question_type="sentiment analysis", options=spaced, correct_option="B"),
            ],
        },
        {
            "video": "video_2",
            "video_type": "Documentary",
            "duration": "11:02",
            "questions": [question(correct_option="A")],
        },
    ]


def _video_mme() -> list[dict[str, Any]]:
    def question(name: str, **changes: Any) -> dict[str, Any]:
        return {
            "question_id": name,
            "task_type": "Counting Problem",
            "question": "How many lanterns are lit before the boat leaves?",
            "choices": ["A. 3.", "B. 5.", "C. 8.", "D. None."],
            "answer": "B",
        } | changes

    about = {
        "video_id": "901",
        "duration_category": "short",
        "video_category": "Life Record",
        "video_subcategory": "Travel",
        "url": "https://www.youtube.com/watch?v=aBcDeFgHiJ0",
    }
    reasons = ["A. To trade.", "B. To flee.", "C. To fish.", "D. To race."]
    return [
        about
        | {
            "questions": [
                question("901-1"),
                question("901-2", task_type="Object Reasoning", choices=reasons, answer="D"),
            ]
        },
        about
        | {
            "video_id": "902",
            "duration_category": "long",
            "url": "https://youtu.be/-x_y-x_y-x1",
            "questions": [question("902-1", answer="A")],
        },
    ]


def _rivabench(video: str, answer: str, before: str = "", behind: str = "") -> dict[str, Any]:
    jokes = ["The rent.", "His mother.", "A goose.", "The bill, again.", "Choose nobody."]
    options = [f"{letter}. {joke}" for letter, joke in zip("ABCDE", jokes, strict=True)]
    asked = "\n".join(["Whom does he mean by the landlord? Choose from:", *options])
    return {
        "video": video,
        "conversations": [
            {"from": "human", "value": f"{before}{asked}{behind}"},
            {"from": "gpt", "value": answer},
        ],
    }


def _avhbench(clip: str, task: str, question: str, label: str) -> dict[str, Any]:
    return {"video_id": clip, "task": task, "text": question, "label": label}


REASON = "\nAnswer the question step by step. Output each thinking step."
RIVA = [
    _rivabench("/of/theirs/clip_a.mp4", "C", "<image>\nQuestion:\n", REASON)
    | {"audio": "/of/theirs/clip_a.wav"},
    _rivabench("set/clip_a.mp4", "E. Choose nobody."),
    _rivabench("clip-b.mp4", "A"),
]


def _avqa(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "video_name": f"-abc_{number:06d}",
        "video_id": 100 + number,
        "question_text": "What makes the sound?",
        "multi_choice": ["a dog", "a cat", "a car", "rain"],
        "answer": 1,
        "question_relation": "Both",
        "question_type": "Which",
    } | changes


ROWS: dict[str, Any] = {
    "omnibench": [
        _omnibench(0),
        _omnibench(
            6, answer="A man answers", options=["A nurse", "A redhead", "A man answers", "B"]
        ),
        _omnibench(7, **{"audio type": "Sound Event", "task type": "Text and  Symbols"}),
    ],
    "daily_omni": [
        _daily_omni(),
        _daily_omni(Answer="A", Type="Inference", Question="What is it likely to be?"),
        _daily_omni(video_id="-x", Answer="D", video_duration="60s"),
    ],
    "mmar": [
        _mmar("first_00-01"),
        _mmar("second", choices=["No", "Yes"], answer="Yes", language="en"),
        _mmar("third", choices=["1", "2", "3", "4", "5", ""], answer="5"),
    ],
    "mmau": [
        _mmau("aa-1"),
        _mmau("bb-2", choices=[f"{n} Hz" for n in range(8)], answer="7 Hz", task="music"),
        _mmau("cc-3", choices=["Yes", "No"], answer="No", task="speech"),
    ],
    "video_holmes": [_video_holmes(0), _video_holmes(1, Answer="F", **{"Question Type": "PAR"})],
    "worldsense": _worldsense(),
    "omnivideobench": _omnivideobench(),
    "video_mme": _video_mme(),
    "rivabench_standup": RIVA,
    "rivabench_academic": RIVA,
    "avhbench": [
        _avhbench("00017", "Video-driven Audio Hallucination", "Is the bell heard?", "No"),
        _avhbench("00017", "AV Captioning", "Describe the clip.", "A bell hangs still."),
        _avhbench("00017", "Audio-driven Video Hallucination", "Is the bell seen?", "Yes"),
        _avhbench("00018", "AV Matching", "Do picture and sound match?", "Yes"),
    ],
    "avqa": [_avqa(1), _avqa(2, answer=3, question_relation="Sound")],
}
"""The content of each annotation file; a test changes a copy."""

FILES = {
    "omnibench": "dataset/batch-5_1142_20240817.jsonl",
    "daily_omni": "qa.json",
    "mmar": "MMAR-meta.jsonl",
    "mmau": "mmau-test-mini.json",
    "video_holmes": "test_Video-Holmes.json",
    "worldsense": "worldsense_qa.json",
    "omnivideobench": "data.json",
    "video_mme": "Video-MME.json",
    "rivabench_standup": "standup.json",
    "rivabench_academic": "academic.json",
    "avhbench": "QA.json",
    "avqa": "val_qa.json",
    "parquet": "val.parquet",
    "webdataset": "val-000000.tar",
}
SETS = tuple(FILES)
"""Every format of `data.format`."""
NESTED = ("omnivideobench", "video_mme")
"""Lists of videos with their questions."""


def rows_of(name: str) -> Any:
    """A copy of a set's content, to be changed."""
    return copy.deepcopy(ROWS[name])


def write_set(root: Path, name: str, content: Any = None) -> BenchmarkConfig:
    """Write the annotations of the set into `root` and return where and how they are read."""
    path = root / FILES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    data = BenchmarkConfig.model_validate({"format": name, "root": root, "split": "val"})
    if name == "parquet":
        write_samples(path, [_own(1, 0), _own(2, 2)])
        return data
    if name == "webdataset":
        with tarfile.open(path, "w") as tar:
            for sample in (_own(1, 0), _own(2, 2)):
                row = json.dumps(sample_to_row(sample)).encode()
                info = tarfile.TarInfo(f"{sample.id}.json")
                info.size = len(row)
                tar.addfile(info, io.BytesIO(row))
        return data
    content = rows_of(name) if content is None else content
    as_lines = path.suffix == ".jsonl" and isinstance(content, list)
    text = "\n".join(map(json.dumps, content)) + "\n" if as_lines else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return data


def _own(number: int, answer_index: int) -> Sample:
    return Sample(
        id=f"own-{number}",
        question="What rings?",
        options=("a bell", "a horn", "a phone"),
        answer_index=answer_index,
        question_type="Which",
        question_relation="both",
        video_id=f"clip{number}",
        video=None,
        image=f"pictures/{number}.png",
        audio=f"sounds/{number}.wav",
        source="own",
    )
