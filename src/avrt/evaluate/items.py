"""One benchmark item on its way to a log line: question, media, prompt, score.

The prompt's text is the same in all modalities; what a modality lacks is absent from the prompt: no
black frames, no silence. Media are read in worker processes (`read_media`), encoded there when they
go to a server. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avrt.config import MediaConfig
from avrt.errors import EngineError, MediaError
from avrt.evaluate.logs import Line
from avrt.evaluate.questions import Question, question_digest
from avrt.evaluate.scoring import Score, score
from avrt.media import load_media
from avrt.media.payloads import encode_frames, encode_sound
from avrt.types import (
    Completion,
    EncodedFrames,
    EncodedSound,
    Frames,
    Given,
    Modality,
    Prompt,
    Sample,
    Waveform,
)

__all__ = [
    "Fault",
    "Item",
    "Need",
    "Shown",
    "read_media",
]


@dataclass(frozen=True)
class Need:
    """What is to be read for one item, and what it will be asked."""

    sample: Sample
    questions: Mapping[Given, tuple[str | None, str]]
    """As in `Item`."""
    frames: bool
    audio: bool


@dataclass(frozen=True)
class Fault:
    """Why the frames or the sound of an item cannot be had; no path of this machine is in it."""

    error_class: str
    detail: str


@dataclass(frozen=True, eq=False)
class Shown:
    """The media of one item; None was not asked for."""

    frames: Frames | EncodedFrames | Fault | None
    audio: Waveform | EncodedSound | Fault | None
    audio_s: float | None = None
    """Length of the sound."""


@dataclass(frozen=True, eq=False)
class Item:
    """A question with its media, or with the reason why they cannot be had."""

    sample: Sample
    questions: Mapping[Given, Question]
    """What is asked, by modality: the authors of some benchmarks say what is given."""
    shown: Shown

    def prompt(self, modality: Given) -> Prompt | Fault:
        """What the model gets in this modality, or the first of its media that is not there."""
        frames = self.shown.frames if "v" in modality else None
        audio = self.shown.audio if "a" in modality else None
        if isinstance(frames, Fault):
            return frames
        if isinstance(audio, Fault):
            return audio
        if frames is None and audio is not None:  # a start beside pictures that are not there
            audio = replace(audio, start_s=None)
        system, text = self.questions[modality]
        return Prompt(text=text, system=system, frames=frames, audio=audio)

    def missing(self, fault: Fault, modality: Given, k: int, protocol: str) -> Line:
        """The log line when the media cannot be had."""
        reason = Score(0.0, None, f"{fault.error_class}: {fault.detail}", "missing_media")
        digest = question_digest(self.questions[modality])
        return self._line(reason, k, protocol, digest, error_class=fault.error_class)

    def answered(self, prompt: Prompt, completion: Completion, k: int, protocol: str) -> Line:
        """The log line for a completion.

        Raises:
            EngineError: the model got a modality that the prompt does not have, or did not get one
                that it has.
        """
        _check_arrival(self.sample.id, prompt, completion)
        return self._line(
            score(completion, self.sample),
            k,
            protocol,
            question_digest((prompt.system, prompt.text)),
            error_class=completion.error_class,
            text=completion.text,
            finish_reason=completion.finish_reason,
            frames_digest=prompt.frames.digest if prompt.frames else None,
            audio_digest=prompt.audio.digest if prompt.audio else None,
            n_frames=len(prompt.frames) if prompt.frames else 0,
            audio_s=self.shown.audio_s if prompt.audio else 0.0,
            n_frame_tokens=completion.n_frame_tokens,
            n_audio_tokens=completion.n_audio_tokens,
            n_prompt_tokens=completion.n_prompt_tokens,
            n_completion_tokens=completion.n_completion_tokens,
            latency_s=completion.latency_s,
        )

    def _line(self, result: Score, k: int, protocol: str, asked: str, **fields: Any) -> Line:
        nothing: dict[str, Any] = {
            "text": "",
            "finish_reason": None,
            "frames_digest": None,
            "audio_digest": None,
            "n_prompt_tokens": 0,
            "n_completion_tokens": 0,
            "latency_s": 0.0,
        }
        return Line(
            sample_id=self.sample.id,
            answer=result.answer,
            target=self.sample.target,
            correct=result.value == 1.0,
            status=result.status,
            explanation=result.explanation,
            prompt_digest=asked,
            k=k,
            protocol=protocol,
            **(nothing | fields),
        )


def read_media(need: Need, root: Path, media: MediaConfig, encode: bool) -> Shown:
    """Read what an item needs, in one pass where one file has both; a fault is data of the item."""
    sample = need.sample
    if need.frames and need.audio and sample.picture_path == sample.sound_path:
        try:
            frames, audio = load_media(sample, root, media, "av")
            return _shown(frames, audio, media, encode)
        except MediaError:
            pass  # one of the two may still be there
    frames = _read(sample, root, media, "v") if need.frames else None
    audio = _read(sample, root, media, "a") if need.audio else None
    return _shown(frames, audio, media, encode)


def _shown(frames: Any, audio: Any, media: MediaConfig, encode: bool) -> Shown:
    audio_s = audio.duration_s if isinstance(audio, Waveform) else None
    if encode and isinstance(frames, Frames):
        frames = encode_frames(frames, media)
    if encode and isinstance(audio, Waveform):
        audio = encode_sound(audio, media)
    return Shown(frames, audio, audio_s)


def _read(sample: Sample, root: Path, media: MediaConfig, modality: Modality) -> Any:
    try:
        frames, audio = load_media(sample, root, media, modality)
    except MediaError as error:
        return Fault(error.error_class, error.detail.replace(f"{root}/", ""))
    return frames if modality == "v" else audio


def _check_arrival(sample_id: str, prompt: Prompt, completion: Completion) -> None:
    """Absent is absent, and what was asked for has arrived, by the tokens the engine counts."""
    if completion.finish_reason == "error":
        return
    for name, media, n_tokens in (
        ("pictures", prompt.frames, completion.n_frame_tokens),
        ("sound", prompt.audio, completion.n_audio_tokens),
    ):
        if n_tokens is not None and (media is not None) != (n_tokens > 0):
            expected = "some" if media is not None else "none"
            raise EngineError(
                f"item {sample_id!r}: the model got {n_tokens} tokens of {name} where {expected} "
                f"were asked for; its processor or chat template does not take {name} as AVRT "
                f"gives them"
            )
