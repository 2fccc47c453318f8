"""The clips that the small models learn from, as ready model inputs.

Scenes are rendered, encoded as MP4 and PNG, and read back through `avrt.media` and
`avrt.engines.encode`, so the models train on the inputs that they get later. Tensors are kept in
half precision; lessons draw from the pool again and again.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avrt.config import MediaConfig
from avrt.engines.encode import encode
from avrt.errors import MediaError
from avrt.media import read_frames, read_waveform
from avrt.media.processes import map_files
from avrt.runs import track, write_atomic
from avrt.types import Prompt
from avrt.world.content import Scene, draw_scene
from avrt.world.networks import new_audio_teacher, new_student
from avrt.world.render import N_FRAMES, encode_mp4, encode_png, render_frames, render_sound

__all__ = ["MEDIA", "PoolClip", "build_pool"]

MEDIA = MediaConfig(n_frames=8, max_pixels=56 * 56, max_audio_s=4.0)
"""The media settings of the world's models: 8 frames of 56 x 56."""
TIMEOUT_S = 3600.0
"""Longest time for a part of the clips, which takes minutes."""


@dataclass(frozen=True)
class PoolClip:
    """A clip as model inputs, by medium."""

    scene: Scene
    video: dict[str, Tensor]
    image: dict[str, Tensor]
    sound: dict[str, Tensor]
    """The student's sound features."""
    padded_sound: dict[str, Tensor]
    """The audio teacher's features, padded to its fixed length."""


def _half(media: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: value.half() if value.dim() > 1 and value.is_floating_point() else value
        for key, value in media.items()
    }


def _read_back(scene: Scene, folder: Path, processors: tuple[Any, Any]) -> PoolClip:
    student, audio_teacher = processors
    frames = render_frames(scene)
    clip, still = folder / "clip.mp4", folder / "still.png"
    clip.write_bytes(encode_mp4(frames, render_sound(scene)))
    still.write_bytes(encode_png(frames[scene.seed % N_FRAMES]))
    sound = read_waveform(clip, MEDIA)
    return PoolClip(
        scene=scene,
        video=_half(encode(student, Prompt("", frames=read_frames(clip, MEDIA))).media),
        image=_half(encode(student, Prompt("", frames=read_frames(still, MEDIA))).media),
        sound=_half(encode(student, Prompt("", audio=sound)).media),
        padded_sound=_half(encode(audio_teacher, Prompt("", audio=sound)).media),
    )


def _build_part(part: tuple[Path, Sequence[Scene]]) -> None:
    path, scenes = part
    torch.set_num_threads(1)
    processors = new_student()[1], new_audio_teacher()[1]
    with tempfile.TemporaryDirectory() as folder:
        clips = [_read_back(scene, Path(folder), processors) for scene in scenes]
    write_atomic(path, lambda file: torch.save(clips, file))


def build_pool(n_clips: int, seed: int, folder: Path, n_workers: int) -> list[PoolClip]:
    """Draw `n_clips` training scenes and read them back; reuse finished parts in `folder`."""
    rng = random.Random(seed)
    scenes = [draw_scene(rng) for _ in range(n_clips)]
    folder.mkdir(parents=True, exist_ok=True)
    parts = {
        folder / f"{start:06d}.pt": scenes[start : start + 250] for start in range(0, n_clips, 250)
    }
    missing = [(path, part) for path, part in parts.items() if not path.is_file()]
    built = map_files(
        _build_part,
        missing,
        timeout_s=TIMEOUT_S,
        workers=n_workers,
        path_of=lambda part: str(part[0]),
    )
    with closing(built):
        for _, result in track(built, "world: clips", "parts of 250", len(missing)):
            if isinstance(result, MediaError):
                raise result
    return [clip for path in parts for clip in torch.load(path, weights_only=False)]
