"""`avrt world make`: write the world's three question sets with real media files.

Writes ROOT/train_qa.json + videos/ (AVQA's format and role), bench.parquet + bench/ (a still
picture and a sound, as in OmniBench), audio.parquet + audio/ (a sound alone, as in MMAR). The sets
share no combination of content; the same seed gives the same scenes and questions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from avrt.datasets import write_samples
from avrt.errors import ConfigError, DataError, MediaError
from avrt.media.processes import map_files
from avrt.runs import Result, alone, remove_leftovers, track, write_json
from avrt.texts import read_json
from avrt.types import Sample
from avrt.world.content import Scene, WorldSet, draw_scene
from avrt.world.render import (
    N_FRAMES,
    encode_mp4,
    encode_png,
    encode_wav,
    render_frames,
    render_sound,
)
from avrt.world.text import Question, draw_question

__all__ = ["items_of", "run"]

SECOND_QUESTION_EVERY = 10
"""Every tenth training clip has two questions, which a split must keep together."""

FORMAT = 2
"""Version of the content: the scenes and questions that follow from a seed."""

TIMEOUT_S = 300.0
"""Longest time for one file, which takes less than a second."""

UNFINISHED = "world.unfinished.json"
"""Marks a folder whose world is not finished; renamed to world.json at the end."""

RELATIONS = {"Where": "View"}
"""AVQA's word for the sense that a question type needs; all others need both."""


@alone(lambda root: root)
def run(
    root: Path, n_train: int = 2_000, n_bench: int = 400, n_audio: int = 400, seed: int = 0
) -> Result:
    """Write the three sets into `root`; leave a finished world with the same numbers unchanged.

    Raises:
        ConfigError: `root` holds a world with other numbers, or other files.
    """
    made_with = {
        "format": FORMAT,
        "n_train": n_train,
        "n_bench": n_bench,
        "n_audio": n_audio,
        "seed": seed,
    }
    counts = {"train": n_train, "bench": n_bench, "audio": n_audio}
    marker = root / "world.json"
    if marker.is_file():
        stored = json.loads(marker.read_text(encoding="utf-8"))
        if stored != made_with:
            raise ConfigError(
                f"{root}: holds a world made with {stored}, not {made_with}; choose another folder"
            )
        return Result(f"{root}: the world already exists", counts)
    _claim(root, made_with)
    _write_train(root, n_train, seed)
    _write_bench(root, n_bench, seed)
    _write_audio(root, n_audio, seed)
    (root / UNFINISHED).rename(marker)
    summary = f"{root}: {n_train} training questions, {n_bench} bench items, {n_audio} audio items"
    return Result(summary, counts)


def _claim(root: Path, made_with: dict[str, int]) -> None:
    """Refuse a folder that holds other files than the same world, unfinished."""
    unfinished = root / UNFINISHED
    remove_leftovers(root)
    if unfinished.is_file() and json.loads(unfinished.read_text(encoding="utf-8")) == made_with:
        return
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(
            f"{root}: holds other files than this world; choose an empty folder (for the demo, set "
            "data.root and eval.benchmarks.*.root)"
        )
    write_json(unfinished, made_with)


def _write_train(root: Path, n_questions: int, seed: int) -> None:
    rng = random.Random(f"{seed}/train")
    rows: list[dict[str, Any]] = []
    scenes: list[Scene] = []
    while len(rows) < n_questions:
        scene = draw_scene(rng)
        n_here = 2 if len(scenes) % SECOND_QUESTION_EVERY == SECOND_QUESTION_EVERY - 1 else 1
        for question in [
            draw_question(scene, rng) for _ in range(min(n_here, n_questions - len(rows)))
        ]:
            rows.append(_avqa_row(len(rows), len(scenes), question))
        scenes.append(scene)
    _write_media(
        (_write_clip, root / "videos" / f"world{k:06d}_000000.mp4", scene)
        for k, scene in enumerate(scenes)
    )
    write_json(root / "train_qa.json", rows)


def _avqa_row(row_id: int, clip: int, question: Question) -> dict[str, Any]:
    return {
        "id": row_id,
        "video_name": f"world{clip:06d}_000000",
        "video_id": clip,
        "question_text": question.text,
        "multi_choice": list(question.options),
        "answer": question.answer_index,
        "question_relation": RELATIONS.get(question.type, "Both"),
        "question_type": question.type,
    }


def _write_bench(root: Path, n_items: int, seed: int) -> None:
    items = _draw_items("bench", n_items, seed)
    _write_media(
        (write, root / str(path), scene)
        for s, (scene, _) in items
        for write, path in ((_write_still, s.image), (_write_sound, s.audio))
    )
    write_samples(root / "bench.parquet", [sample for sample, _ in items])


def _write_audio(root: Path, n_items: int, seed: int) -> None:
    items = _draw_items("audio", n_items, seed)
    _write_media((_write_sound, root / str(s.audio), scene) for s, (scene, _) in items)
    write_samples(root / "audio.parquet", [sample for sample, _ in items])


def items_of(root: Path, world_set: Literal["bench", "audio"]) -> dict[str, tuple[Scene, Question]]:
    """Give the scene and the question of every item of a finished world, by the item's id.

    Nothing is stored beside the clips: the world's seed gives both again.

    Raises:
        DataError: `root` holds no finished world, or one of another version.
    """
    made_with = read_json(root / "world.json")
    if made_with["format"] != FORMAT:
        raise DataError(
            f"{root}: another version of AVRT made this world; make it again in another folder"
        )
    items = _draw_items(world_set, made_with[f"n_{world_set}"], made_with["seed"])
    return {sample.id: item for sample, item in items}


def _draw_items(
    world_set: WorldSet, n_items: int, seed: int
) -> list[tuple[Sample, tuple[Scene, Question]]]:
    rng = random.Random(f"{seed}/{world_set}")
    items = []
    for index in range(n_items):
        scene = draw_scene(rng, world_set)
        question = draw_question(scene, rng, world_set)
        name = f"{world_set}{index:06d}"
        sample = Sample(
            id=f"world-{world_set}-{index}",
            question=question.text,
            options=question.options,
            answer_index=question.answer_index,
            question_type=question.type,
            question_relation="sound"
            if world_set == "audio"
            else "visual"
            if question.kind == "place"
            else "both",
            video_id=name,
            image=f"bench/{name}.png" if world_set == "bench" else None,
            audio=f"{world_set}/{name}.wav",
            source=f"{world_set}.parquet:{index + 1}",
        )
        items.append((sample, (scene, question)))
    return items


Job = tuple[Callable[[Path, Scene], None], Path, Scene]
"""What writes a file, the file, and what it shows."""


def _write_media(jobs: Iterable[Job]) -> None:
    """Write files in worker processes.

    Raises:
        MediaError: a process was killed twice over the same file.
    """
    jobs = list(jobs)
    for folder in {path.parent for _, path, _ in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    title = jobs[0][1].parent.name if jobs else "media"
    written = map_files(_write, jobs, timeout_s=TIMEOUT_S, path_of=lambda job: str(job[1]))
    with closing(written):
        for _, result in track(written, f"world: {title}", "files", len(jobs)):
            if isinstance(result, MediaError):
                raise result


def _write(job: Job) -> None:
    write, path, scene = job
    write(path, scene)


def _write_clip(path: Path, scene: Scene) -> None:
    path.write_bytes(encode_mp4(render_frames(scene), render_sound(scene)))


def _write_still(path: Path, scene: Scene) -> None:
    path.write_bytes(encode_png(render_frames(scene)[scene.seed % N_FRAMES]))


def _write_sound(path: Path, scene: Scene) -> None:
    path.write_bytes(encode_wav(render_sound(scene)))
