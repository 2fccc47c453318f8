"""Chat messages of lmms-eval as the prompt of a student.

Tasks of lmms-eval itself hand over pictures and sounds in memory; those are written to files and
read back, so that all media go through one decoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avrt.config import MediaConfig
from avrt.media import encode_wav, read_clip
from avrt.types import Prompt, Waveform

__all__ = ["prompt_of"]


def prompt_of(messages: list[dict[str, Any]], media: MediaConfig, folder: Path) -> Prompt:
    """What the student gets of the messages: at most one picture or video, and one sound.

    Raises:
        MediaError: a file cannot be read. ValueError: more media than that.
    """
    parts = [(message["role"], part) for message in messages for part in message["content"]]
    texts = [part["text"] for role, part in parts if part["type"] == "text" and role == "user"]
    system = [part["text"] for role, part in parts if part["type"] == "text" and role == "system"]
    seen = [part["url"] for _, part in parts if part["type"] in ("image", "video")]
    heard = [part["url"] for _, part in parts if part["type"] == "audio"]
    if len(seen) > 1 or len(heard) > 1:
        raise ValueError(
            f"{len(seen)} pictures and {len(heard)} sounds; the student takes one each"
        )
    picture = _file(seen[0], folder) if seen else None
    sound = _file(heard[0], folder) if heard else None
    return Prompt(
        text="\n".join(texts),
        system="\n".join(system) or None,
        frames=read_clip(picture, media, "v").frames if picture else None,
        audio=read_clip(sound, media, "a").waveform if sound else None,
    )


def _file(content: Any, folder: Path) -> Path:
    """The file of a path, or one made of a PIL picture or a sound as `datasets` decodes it."""
    if isinstance(content, str | Path):
        return Path(content)
    path = folder / f"{len(list(folder.iterdir()))}"
    if hasattr(content, "save"):
        path = path.with_suffix(".png")
        content.save(path)
    else:
        samples = np.asarray(content["array"], np.float32)
        path = path.with_suffix(".wav")
        path.write_bytes(encode_wav(Waveform(samples, int(content["sampling_rate"]))))
    return path
