"""Load the media of a sample for a model; files of other modalities are not even opened."""

from __future__ import annotations

from pathlib import Path

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.media.clip import read_clip
from avrt.types import Frames, Modality, Sample, Waveform

__all__ = ["load_media"]


def load_media(
    sample: Sample, root: Path, media: MediaConfig, modality: Modality
) -> tuple[Frames | None, Waveform | None]:
    """Load frames for "v", sound for "a", both for "av"; the other modality is None.

    Raises:
        MediaError: a modality is absent (no_video, no_audio) or its file failed. The path in the
            error is relative to `root`, as in the sample, so that it can be stored.
    """
    wanted: dict[str, str] = {}
    if "v" in modality:
        wanted["v"] = _named(sample.picture_path, "no_video", sample)
    if "a" in modality:
        wanted["a"] = _named(sample.sound_path, "no_audio", sample)
    if modality == "av" and wanted["a"] == wanted["v"]:
        return _read(root, wanted["v"], media, "av")
    frames = _read(root, wanted["v"], media, "v")[0] if "v" in wanted else None
    waveform = _read(root, wanted["a"], media, "a")[1] if "a" in wanted else None
    return frames, waveform


def _read(
    root: Path, path: str, media: MediaConfig, modality: Modality
) -> tuple[Frames | None, Waveform | None]:
    try:
        clip = read_clip(root / path, media, modality)
    except MediaError as error:
        raise MediaError(error.error_class, path, error.detail) from error
    return clip.frames, clip.waveform


def _named(path: str | None, error_class: str, sample: Sample) -> str:
    if path is None:
        kind = {"no_video": "video and no picture", "no_audio": "sound"}[error_class]
        raise MediaError(
            error_class, sample.source, f"the sample names no {kind}; ask for the other modality"
        )
    return path
