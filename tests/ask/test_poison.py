"""One item in twenty is poison: nothing stops, nothing is lost, and what is left can be read."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from avrt.ask.ledger import read_ledger
from avrt.cli import cli
from avrt.runs import read_parquet
from chat_server import Reply, Server, chat
from clips import encode_clip
from scripted_run import overrides, right, write_dataset

N_QUESTIONS = 240
BIDI = "\u202eright to left\u2066 \u200f"

Row = dict[str, Any]


def corrupt(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(5000))


def cut(path: Path) -> None:
    encode_clip(path, n_frames=50, size=(56, 56))
    path.write_bytes(path.read_bytes()[:2000])


def without_sound(path: Path) -> None:
    encode_clip(path, n_frames=8, size=(56, 56))


def empty(path: Path) -> None:
    path.touch()


MEDIA: list[Callable[[Path], None]] = [corrupt, cut, without_sound, empty]
QUESTIONS = [
    "x" * 100_000,
    "a NUL \x00 here",
    BIDI,
    "\x1b[2J\x07",
]
MALFORMED: dict[int, Reply] = {
    21: (200, {}, b"\xff\xfe not JSON"),
    22: (200, {}, b'{"choices": []}'),
    23: (400, {}, b"<html>\x00</html>"),
    24: chat(None),
    25: chat("\x00\x1b[2J \ud83d no answer " + BIDI),
    26: chat("Answer: (B) " * 20_000, "length"),
}
"""What the vision teacher's server answers to these questions."""
N_POISON = len(MEDIA) + len(QUESTIONS) + len(MALFORMED)


def poison(root: Path) -> None:
    path = root / "data" / "train_qa.json"
    rows: list[Row] = json.loads(path.read_text())
    for number, spoil in enumerate(MEDIA, start=1):
        spoil(root / "data" / "videos" / f"poison{number}_000001.mp4")
        rows[number] |= {"video_name": f"poison{number}_000001", "video_id": 100 + number}
    for row, text in zip(rows[10:], QUESTIONS, strict=False):
        row["question_text"] += text
    path.write_text(json.dumps(rows))


def answer(body: dict[str, Any], _n: int) -> Reply:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    number = int(text.split("question ")[1].split("?")[0])
    n_parts = 0 if isinstance(content, str) else len(content) - 1
    if text.startswith("VISION") and number in MALFORMED and body["max_tokens"] > 1:
        return MALFORMED[number]
    letter = right(number)
    merged = f"<think>{BIDI} joined {number}</think>\n<answer>{letter}</answer>"
    reply = merged if text.startswith("MERGE") else f"Seen.\x00\nAnswer: ({letter})"
    return chat(reply, n_prompt_tokens=1 + 10 * n_parts)


@pytest.mark.usefixtures("short_waits")
def test_poison_stops_nothing_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    assert N_POISON >= 0.05 * N_QUESTIONS
    write_dataset(tmp_path, N_QUESTIONS)
    poison(tmp_path)
    (tmp_path / "script.jsonl").touch()
    with Server() as server:
        server.answer = answer
        engine = json.dumps({"kind": "openai", "base_url": server.url})
        roles = ("teachers.vision", "teachers.audio", "merger")
        settings = [*overrides(tmp_path), *(f"{role}.engine={engine}" for role in roles)]
        for command in ("prepare", "generate"):
            result = CliRunner().invoke(cli, [command, *settings])
            assert result.exit_code == 0, result.output

    run = tmp_path / "runs" / "test"
    dataset = {
        name: read_parquet(run / "dataset" / f"{name}.parquet")
        for name in ("train", "validation", "rejected")
    }
    ids = Counter(row["id"] for rows in dataset.values() for row in rows)
    assert ids == Counter(f"avqa-train-{number}" for number in range(1, N_QUESTIONS + 1))
    reasons = {row["id"]: row["reason"] for row in dataset["rejected"]}
    assert all(reason.startswith(("dropped/", "failed/")) for reason in reasons.values())
    spoilt = {f"avqa-train-{number}" for number in (*MALFORMED, *range(2, 2 + len(MEDIA)))}
    assert reasons.keys() >= spoilt
    classes = ["bad_reply", "server_error", "http_400", "server_error"]
    assert [reasons[f"avqa-train-{n}"] for n in range(21, 25)] == [f"failed/{c}" for c in classes]
    traces = read_parquet(run / "traces" / "teachers.parquet")
    assert all("\ufffd" in row["text"] for row in traces if row["role"] == "audio" and row["key"])
    with read_ledger(run) as ledger:
        ((n_calls, n_keys),) = ledger.query("SELECT COUNT(*), COUNT(DISTINCT key) FROM calls")
        stages = ledger.query("SELECT stage, COUNT(*) FROM calls GROUP BY stage")
    assert n_calls == n_keys
    manifests = {
        stage: json.loads((run / "manifests" / f"{stage}.json").read_text())["counts"]
        for stage in ("prepare", "trace", "merge", "build")
    }
    n_usable = manifests["trace"]["read"]
    assert dict(map(tuple, stages))["trace"] == 2 * n_usable
    for stage, counts in manifests.items():
        n_out = sum(
            n for name, n in counts.items() if name.startswith(("kept", "dropped/", "failed/"))
        )
        assert n_out == counts["read"], stage
    for words in (["stats"], ["stats", "--json"]):
        assert CliRunner().invoke(cli, ["ledger", *words, *settings]).exit_code == 0
