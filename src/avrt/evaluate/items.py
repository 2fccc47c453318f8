"""One benchmark item on its way to a log line: question, media, prompt, score.

The prompt's text is the same in all modalities; what a modality lacks is absent from the prompt.
Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avrt.config import MediaConfig
from avrt.errors import MediaError
from avrt.evaluate.logs import Line
from avrt.evaluate.scoring import Score, score
from avrt.media import load_media
from avrt.prompts import PromptTemplate, format_options
from avrt.runs import fingerprint
from avrt.types import Completion, Frames, Modality, Prompt, Sample, Waveform

__all__ = ["Item", "ask", "load_item", "prompt_digest"]


@dataclass(frozen=True, eq=False)
class Item:
    """A question with its decoded media, or with the reason why they cannot be had."""

    sample: Sample
    system: str | None
    text: str
    frames: Frames | MediaError
    audio: Waveform | MediaError

    def prompt(self, modality: Modality) -> Prompt | MediaError:
        """What the model gets in this modality, or the first of its media that is not there."""
        frames = self.frames if "v" in modality else None
        audio = self.audio if "a" in modality else None
        if isinstance(frames, MediaError):
            return frames
        if isinstance(audio, MediaError):
            return audio
        return Prompt(text=self.text, system=self.system, frames=frames, audio=audio)

    def missing(self, error: MediaError, root: Path) -> Line:
        """The log line when the media cannot be had; no path of this machine goes into it."""
        detail = error.detail.replace(f"{root}/", "")
        reason = Score(0.0, None, f"{error.error_class}: {detail}", "missing_media")
        return self._line(reason, None, None, error.error_class)

    def answered(self, prompt: Prompt, completion: Completion) -> Line:
        """The log line for a completion."""
        result = score(completion, self.sample)
        return self._line(result, prompt, completion, completion.error_class)

    def _line(
        self,
        result: Score,
        prompt: Prompt | None,
        completion: Completion | None,
        error_class: str | None,
    ) -> Line:
        frames = prompt.frames if prompt else None
        audio = prompt.audio if prompt else None
        return Line(
            sample_id=self.sample.id,
            text=completion.text if completion else "",
            answer=result.answer,
            target=self.sample.target,
            correct=result.value == 1.0,
            status=result.status,
            error_class=error_class,
            explanation=result.explanation,
            finish_reason=completion.finish_reason if completion else None,
            prompt_digest=fingerprint([self.system, self.text]),
            frames_digest=frames.digest if frames else None,
            audio_digest=audio.digest if audio else None,
            n_prompt_tokens=completion.n_prompt_tokens if completion else 0,
            n_completion_tokens=completion.n_completion_tokens if completion else 0,
            latency_s=completion.latency_s if completion else 0.0,
        )


def ask(sample: Sample, template: PromptTemplate) -> tuple[str | None, str]:
    """System and user text of a question; nothing that depends on the media is offered."""
    return template.fill(question=sample.question, options=format_options(sample.options))


def prompt_digest(sample: Sample, template: PromptTemplate) -> str:
    """What identifies the question as the model reads it."""
    return fingerprint(list(ask(sample, template)))


def load_item(sample: Sample, template: PromptTemplate, root: Path, media: MediaConfig) -> Item:
    """Decode each modality once; a file that fails is data of this item."""
    system, text = ask(sample, template)
    frames = _frames(sample, root, media)
    return Item(sample, system, text, frames, _audio(sample, root, media))


def _frames(sample: Sample, root: Path, media: MediaConfig) -> Frames | MediaError:
    try:
        frames, _ = load_media(sample, root, media, "v")
    except MediaError as error:
        return error
    return frames or MediaError("no_video", sample.id, "the item has no pictures")


def _audio(sample: Sample, root: Path, media: MediaConfig) -> Waveform | MediaError:
    try:
        _, audio = load_media(sample, root, media, "a")
    except MediaError as error:
        return error
    return audio or MediaError("no_audio", sample.id, "the item has no sound")
