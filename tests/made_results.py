"""Results of models that are made up, for tests of what is computed from them."""

from __future__ import annotations

from avrt.evaluate.logs import Line, Settings
from avrt.evaluate.results import ModelResult

__all__ = ["result"]


def result(
    model: str, answers: dict[str, str], prompt: str = "p", n_frames: int = 8
) -> ModelResult:
    """The answers (right: A) to each item, in both modalities together."""
    settings = Settings({}, {"prompt": prompt, "n_frames": n_frames})
    lines = [
        Line(
            sample_id=sample_id, text=letter, answer=letter, target="A", correct=letter == "A",
            status="scored", error_class=None, explanation="", finish_reason="stop",
            prompt_digest=None, protocol="", k=k,
        )
        for sample_id, letters in answers.items()
        for k, letter in enumerate(letters)
    ]  # fmt: skip
    return ModelResult("bench", model, "av", lines, len(answers), settings)
