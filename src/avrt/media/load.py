"""What one model gets of one sample: only what was asked for is opened, so nothing slips in."""

from __future__ import annotations

from pathlib import Path

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.frames import read_frames
from avrt.media.waveform import read_waveform
from avrt.types import Frames, Modality, Sample, Waveform

__all__ = ["load_media"]


def load_media(
    sample: Sample, root: Path, media: MediaConfig, modality: Modality
) -> tuple[Frames | None, Waveform | None]:
    """Frames for "v", sound for "a", both for "av"; what was not asked for is None.

    Raises:
        MediaError: an asked-for modality is absent (no_video, no_audio) or its file failed. Its
            path is the one in the sample, relative to `root`, so that it can be stored.
    """
    frames = waveform = None
    path = ""
    try:
        if "v" in modality:
            path = _named(sample.picture_path, "no_video", sample)
            frames = read_frames(root / path, media)
        if "a" in modality:
            path = _named(sample.sound_path, "no_audio", sample)
            waveform = read_waveform(root / path, media.max_audio_s)
    except MediaError as error:
        raise MediaError(error.error_class, path or sample.source, error.detail) from error
    return frames, waveform


def _named(path: str | None, error_class: str, sample: Sample) -> str:
    if path is None:
        kind = {"no_video": "video and no picture", "no_audio": "sound"}[error_class]
        raise MediaError(
            error_class, sample.source, f"the sample names no {kind}; ask for the other modality"
        )
    return path
