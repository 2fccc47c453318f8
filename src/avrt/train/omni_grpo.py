"""TRL's GRPOTrainer for prompts with picture and sound.

TRL 1.16 shows audio and video to `generate` but not to the loss, silently. Four overrides carry
each prompt's media tensors through its shuffle, split and chunk loops, as a list with one dict
per completion:

- `_tokenize_prompts` encodes each distinct prompt once and remembers the media, one entry per
  completion;
- `_generate_and_score_completions` adds that list to TRL's batch, which TRL then shuffles and
  splits;
- `_compute_loss` makes the list of the micro-batch current;
- `_get_per_token_logps_and_entropies` hands TRL a model that adds the media of the next rows to
  each forward pass.

The methods are private in TRL, so their signatures are checked when a trainer is built.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer

from avrt.engines.encode import Encoded, merge_media
from avrt.errors import EngineError

__all__ = ["OmniGRPOTrainer", "WithMedia", "check_hooks"]

Media = Mapping[str, torch.Tensor]
"""The media tensors of one prompt, as `encode` returns them."""

HOOKS = {
    "_tokenize_prompts": ("self", "prompts"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_compute_loss": ("self", "model", "inputs"),
    "_get_per_token_logps_and_entropies": (
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
    ),
}
"""Overridden methods and the first parameters they must have."""


def check_hooks(trainer: type) -> None:
    """Refuse a TRL whose methods are not those that are overridden here.

    Raises:
        EngineError: a method is gone or takes other parameters.
    """
    for name, expected in HOOKS.items():
        method = getattr(trainer, name, None)
        parameters = tuple(inspect.signature(method).parameters) if method else ()
        if parameters[: len(expected)] != expected:
            raise EngineError(
                f"TRL {trl.__version__} does not fit: GRPOTrainer.{name} takes "
                f"{parameters or 'nothing, it is gone'}, expected {expected} first; "
                "install trl>=1.16,<1.17"
            )


class WithMedia:
    """A model whose next forward passes get the media of their rows, taken from `rows` in order."""

    def __init__(self, model: Callable[..., Any], rows: Sequence[Media]) -> None:
        self._model = model
        self._rows = list(rows)
        self._next = 0

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        """`input_ids` (B, T): the next B rows belong to it.

        Raises:
            EngineError: there are not B rows left, or a row has no media.
        """
        rows = self._rows[self._next : self._next + len(input_ids)]
        self._next += len(rows)
        if len(rows) < len(input_ids) or not all(rows):
            n_empty = sum(not row for row in rows)
            raise EngineError(
                f"log-probabilities without media: {len(input_ids)} completions, {len(rows)} rows "
                f"of media, {n_empty} of them empty; the model would be blind and deaf"
            )
        media = {name: tensor.to(input_ids.device) for name, tensor in merge_media(rows).items()}
        return self._model(input_ids=input_ids, **inputs, **media)


class OmniGRPOTrainer(GRPOTrainer):
    """GRPOTrainer whose `prompt` column holds sample ids, encoded by `encode_prompt`."""

    def __init__(self, *args: Any, encode_prompt: Callable[[str], Encoded], **kwargs: Any) -> None:
        check_hooks(GRPOTrainer)
        self._encode_prompt = encode_prompt
        self._media: list[Media] = []
        super().__init__(*args, **kwargs)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        encoded = {prompt: self._encode_prompt(prompt) for prompt in dict.fromkeys(prompts)}
        self._media = [encoded[prompt].media for prompt in prompts]
        prompt_ids = [encoded[prompt].input_ids.tolist() for prompt in prompts]
        return prompt_ids, None, merge_media(self._media)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with warnings.catch_warnings():
            # TRL 1.16 still uses names that transformers 5.23 renamed to activation_checkpointing.
            old_names = r"`\w*gradient_checkpointing\w*` is deprecated"
            warnings.filterwarnings("ignore", message=old_names, category=FutureWarning)
            batch = super()._generate_and_score_completions(inputs)
        return {**batch, "media": self._media}

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._media = inputs["media"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        with_media = WithMedia(model, self._media)
        return super()._get_per_token_logps_and_entropies(
            with_media, input_ids, attention_mask, logits_to_keep, batch_size, **options
        )
