"""The records that travel between stages.

A `Sample` is a question about a clip; a `Prompt` is what one model gets to read, see and hear; a
`Completion` is what it wrote. An absent modality is `None`, so a teacher cannot see what it must
not see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "LETTERS",
    "RELATIONS",
    "BenchmarkItem",
    "Completion",
    "EncodedFrames",
    "EncodedSound",
    "FinishReason",
    "Frames",
    "Given",
    "Modality",
    "Prompt",
    "Relation",
    "Request",
    "Sample",
    "Sampling",
    "Waveform",
]

LETTERS = "ABCDEFGH"
Relation = Literal["both", "sound", "visual"]
RELATIONS: tuple[Relation, ...] = ("both", "sound", "visual")
Modality = Literal["a", "v", "av"]
"""What is read of a clip: audio, vision, or both."""
Given = Literal["none", "a", "v", "av"]
"""What a model is given besides the question: nothing (the blind baseline), or some of the clip."""
FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True)
class Sample:
    """One multiple-choice question about one clip. Gold is (index, letter, text); options carry no
    letters.
    """

    id: str
    """Unique in its dataset, stable across runs."""
    question: str
    options: tuple[str, ...]
    """Two to eight texts without letters."""
    answer_index: int
    question_type: str
    question_relation: Relation
    video_id: str
    """What a split must keep together: all questions about one clip share it."""
    video: str | None = None
    """Path of the video, relative to the dataset's root; its own sound is used when `audio` is
    None.
    """
    image: str | None = None
    """Path of a still picture, for datasets that pair a picture with a sound."""
    audio: str | None = None
    """Path of a separate sound file."""
    source: str = ""
    """File and row it was read from, for messages."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(
                f"{self.source}: {len(self.options)} options; need 2 to {len(LETTERS)}"
            )
        if not 0 <= self.answer_index < len(self.options):
            n_options = len(self.options)
            raise ValueError(
                f"{self.source}: answer {self.answer_index} is outside the {n_options} options"
            )

    @property
    def target(self) -> str:
        """The gold letter."""
        return LETTERS[self.answer_index]

    @property
    def target_text(self) -> str:
        """The gold option's text."""
        return self.options[self.answer_index]

    @property
    def sound_path(self) -> str | None:
        """The file the sound comes from: the separate track, else the video."""
        return self.audio or self.video

    @property
    def picture_path(self) -> str | None:
        """The file the frames come from: the video, else the still picture."""
        return self.video or self.image


@dataclass(frozen=True)
class BenchmarkItem:
    """A question of a benchmark: what every stage needs, and what only its evaluation does."""

    sample: Sample
    groups: Mapping[str, str]
    """What accuracies are broken down by, such as `task_type` or `duration`; values as published,
    spaces and case made alike.
    """
    row: Mapping[str, Any]
    """The row as published, with the letters of its options and all fields that no sample has:
    official rules read it. Empty for formats that are AVRT's own.
    """


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded pictures in order of time."""

    pixels: NDArray[np.uint8]
    """Shape (n_frames, height, width, 3), RGB."""
    times_s: tuple[float, ...]
    """Presentation time of each frame."""
    fps: float
    """Rate of these sampled frames, in frames per second: (n - 1) / (last - first); the student's
    positions need it.
    """
    still: bool = False
    """True for a picture file: it has one frame and no time."""
    fault: Literal["truncated", "damaged"] | None = None
    """What is wrong with a clip that was used all the same, because the settings allow it."""
    source_pixels: int | None = None
    """Height x width of the picture or the clip before it was scaled; None when it is not known."""

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def n_pixels(self) -> int:
        """Height x width of each picture."""
        return self.pixels.shape[1] * self.pixels.shape[2]

    @property
    def digest(self) -> str:
        """sha256 over shape and pixels: part of a call's key."""
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono sound."""

    samples: NDArray[np.float32]
    """Shape (n_samples,), in [-1, 1]."""
    rate_hz: int = 16_000
    start_s: float | None = None
    """When it begins, relative to the first frame of the video beside it; None without a video."""
    fault: Literal["truncated", "damaged"] | None = None
    """What is wrong with a clip that was used all the same, because the settings allow it."""
    source_s: float | None = None
    """Length of the whole sound in the file; None when it is not known."""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    @property
    def digest(self) -> str:
        """sha256 over rate and samples: part of a call's key."""
        return hashlib.sha256(str(self.rate_hz).encode() + self.samples.tobytes()).hexdigest()


@dataclass(frozen=True)
class EncodedFrames:
    """The frames of a clip as the bytes that a server gets."""

    jpegs: tuple[bytes, ...]
    times_s: tuple[float, ...]
    """As in `Frames`; so are all fields below."""
    fps: float
    still: bool
    fault: Literal["truncated", "damaged"] | None
    digest: str
    """Of the decoded frames, not of the JPEGs: `Frames.digest`."""
    n_pixels: int | None = None
    source_pixels: int | None = None

    def __len__(self) -> int:
        return len(self.jpegs)


@dataclass(frozen=True)
class EncodedSound:
    """Sound as the bytes that a server gets."""

    data: bytes
    """A whole file, mono, 16 bit."""
    format: Literal["wav", "flac"]
    start_s: float | None
    """As in `Waveform`; so are all fields below."""
    fault: Literal["truncated", "damaged"] | None
    digest: str
    """Of the decoded samples, not of the file: `Waveform.digest`."""
    duration_s: float
    source_s: float | None = None


@dataclass(frozen=True, eq=False)
class Prompt:
    """Everything one model gets. Media come before the text; what is None is not there.

    Decoded media suit every engine; encoded ones only those that send them to a server.
    """

    text: str
    system: str | None = None
    frames: Frames | EncodedFrames | None = None
    audio: Waveform | EncodedSound | None = None

    def decoded(self) -> tuple[Frames | None, Waveform | None]:
        """The media for an engine that takes pixels and samples."""
        frames, audio = self.frames, self.audio
        if isinstance(frames, EncodedFrames) or isinstance(audio, EncodedSound):
            raise AssertionError("these media are encoded for a server; this engine takes decoded")
        return frames, audio


@dataclass(frozen=True)
class Sampling:
    """How to decode. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Request:
    """One call to a model, under the key that identifies its content."""

    key: str
    prompt: Prompt
    sampling: Sampling


@dataclass(frozen=True)
class Completion:
    """A model's whole reply, or the named failure of this one call."""

    text: str
    finish_reason: FinishReason
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    latency_s: float = 0.0
    error_class: str | None = None
    """Set when finish_reason is "error": "http_400", "timeout", "too_long", ..."""
    error: str | None = None
    """The failure in words."""
    n_frame_tokens: int | None = None
    """Prompt tokens that are pictures; None when the engine cannot tell."""
    n_audio_tokens: int | None = None
    """Prompt tokens that are sound; None when the engine cannot tell."""
