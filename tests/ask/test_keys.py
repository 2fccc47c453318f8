"""The table of the call key: what makes calls due again, and what does not, through real stages."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avrt.config import Config, load_config
from avrt.datasets import prepare
from avrt.generate import build, merge, trace
from chat_server import Reply, Server, chat
from clips import encode_clip, tone
from scripted_run import overrides, right, write_dataset

SETTINGS = ("teachers.vision.temperature=0.7",)
N_SAMPLES, N_OF_CLIP_1 = 7, 3


class Asked(Counter[str]):
    """What servers were asked, by role, without an engine's own checks."""

    def answer(self, body: dict[str, Any], _n: int) -> Reply:
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        role = text.split()[0].strip("!")
        n_parts = 0 if isinstance(content, str) else len(content) - 1
        if body["max_tokens"] > 1:
            self[role] += 1
        letter = right(int(text.split("question ")[1].split("?")[0]))
        merged = f"<think>joined</think>\n<answer>{letter}</answer>"
        reply = merged if role == "MERGE" else f"Answer: ({letter})"
        return chat(reply, n_prompt_tokens=1 + 10 * n_parts)


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked()


@pytest.fixture(scope="module")
def servers(asked: Asked) -> Iterator[list[str]]:
    """Addresses of two servers that answer alike."""
    with Server() as one, Server() as two:
        one.answer = two.answer = asked.answer
        yield [one.url, two.url]


def settings_of(root: Path, url: str, *changes: str) -> tuple[str, ...]:
    engine = json.dumps({"kind": "openai", "base_url": url})
    roles = ("teachers.vision", "teachers.audio", "merger")
    engines = (f"{role}.engine={engine}" for role in roles)
    return (*overrides(root), *engines, *SETTINGS, *changes)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, servers: list[str], asked: Asked) -> Path:
    """A run that is done."""
    root = tmp_path_factory.mktemp("traced")
    write_dataset(root)
    (root / "script.jsonl").touch()
    config = load_config(None, settings_of(root, servers[0]))
    for stage in (prepare, trace, merge, build):
        stage.run(config)
    assert asked == {"VISION": N_SAMPLES, "AUDIO": N_SAMPLES, "MERGE": N_SAMPLES}
    return root


@pytest.fixture
def run_again(
    traced: Path, tmp_path: Path, servers: list[str], asked: Asked
) -> Callable[..., Counter[str]]:
    """Do a copy of the run again after a change; what was asked for it."""
    root = tmp_path / "place"
    shutil.copytree(traced, root)

    def again(*changes: str, edit: Callable[[Path], None] | None = None) -> Counter[str]:
        url = servers["address" in changes]
        settings = settings_of(root, url, *(one for one in changes if "=" in one))
        config: Config = load_config(None, settings)
        shutil.rmtree(config.run.path / "manifests")
        shutil.rmtree(config.run.path / "traces")
        if edit is not None:
            edit(root)
        prepare.run(config)
        asked.clear()
        for stage in (trace, merge, build):
            stage.run(config)
        return Counter(asked)

    return again


def write_clip_1(root: Path, **changes: Any) -> None:
    """The clip as `write_dataset` makes it, but for the changes."""
    path = root / "data" / "videos" / "clip1_000001.mp4"
    arguments = {"n_frames": 9, "size": (56, 56), "sound": tone(0.5, hz=400.0)}
    encode_clip(path, **(arguments | changes))


def other_picture(root: Path) -> None:
    write_clip_1(root, codec_options={"bf": "0", "crf": "40"})


def other_sound(root: Path) -> None:
    write_clip_1(root, sound=tone(0.5, hz=410.0))


def same_file_made_again(root: Path) -> None:
    write_clip_1(root)


def one_more_character(root: Path) -> None:
    path = root / "vision.txt"
    path.write_text(path.read_text() + "!")


@pytest.mark.parametrize(
    ("changes", "edit", "asked_again"),
    [
        ((), other_picture, {"VISION": N_OF_CLIP_1}),
        ((), other_sound, {"AUDIO": N_OF_CLIP_1}),
        (("media.n_frames=5",), None, {"VISION": N_SAMPLES}),
        (("media.max_audio_s=0.3",), None, {"AUDIO": N_SAMPLES}),
        ((), one_more_character, {"VISION": N_SAMPLES}),
        (("teachers.vision.revision=r2",), None, {"VISION": N_SAMPLES}),
        (("teachers.audio.temperature=0.5",), None, {"AUDIO": N_SAMPLES}),
        (("run.seed=1",), None, {"VISION": N_SAMPLES}),  # the others decode greedily
        (("teachers.vision.k=2",), None, {"VISION": N_SAMPLES}),
    ],
    ids=[
        "frame bytes",
        "audio bytes",
        "frame count",
        "seconds of sound",
        "a character of a prompt",
        "model revision",
        "temperature",
        "seed",
        "k",
    ],
)
def test_what_a_reply_depends_on_makes_exactly_its_calls_due(
    run_again: Callable[..., Counter[str]],
    changes: tuple[str, ...],
    edit: Callable[[Path], None] | None,
    asked_again: dict[str, int],
) -> None:
    assert run_again(*changes, edit=edit) == asked_again


def touch(root: Path) -> None:
    for path in (root / "data" / "videos").iterdir():
        os.utime(path, (0, 0))


def move(root: Path) -> None:
    (root / "data").rename(root / "elsewhere")


def rename_clips(root: Path) -> None:
    annotations = root / "data" / "train_qa.json"
    annotations.write_text(annotations.read_text().replace("clip", "film"))
    for path in (root / "data" / "videos").glob("clip*"):
        path.rename(path.with_name(path.name.replace("clip", "film")))


def reverse_rows(root: Path) -> None:
    annotations = root / "data" / "train_qa.json"
    annotations.write_text(json.dumps(json.loads(annotations.read_text())[::-1]))


@pytest.mark.parametrize(
    ("changes", "edit"),
    [
        (("teachers.vision.engine.concurrency=3", "merger.engine.concurrency=1"), None),
        (("teachers.vision.engine.timeout_s=20", "media.timeout_s=20"), None),
        (("address",), None),
        (("data.root={root}/elsewhere",), move),
        ((), rename_clips),
        ((), touch),
        ((), same_file_made_again),
        ((), reverse_rows),
        (("build.gates=[]", "build.validation_fraction=0"), None),
    ],
    ids=[
        "concurrency",
        "timeout",
        "address",
        "folder",
        "file path",
        "mtime",
        "same file made again",
        "row order",
        "gates",
    ],
)
def test_what_no_reply_depends_on_makes_no_call_due(
    run_again: Callable[..., Counter[str]],
    tmp_path: Path,
    changes: tuple[str, ...],
    edit: Callable[[Path], None] | None,
) -> None:
    changes = tuple(one.format(root=tmp_path / "place") for one in changes)
    assert run_again(*changes, edit=edit) == {}


def test_another_parser_makes_no_call_due(
    run_again: Callable[..., Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = trace.extract_answer

    def case_blind(text: str, options: Any) -> str | None:
        return read(text.upper(), options)

    monkeypatch.setattr(trace, "extract_answer", case_blind)
    assert run_again() == {}
