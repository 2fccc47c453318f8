"""TRL's GRPOTrainer for prompts with picture and sound, each computed once per group.

TRL 1.16 gives audio and video to `generate` but silently not to the loss, and computes a prompt
anew for each of its completions. Six overridden methods change that:

- `_tokenize_prompts` remembers the media of each prompt, one entry per completion;
- `_generate_single_turn` samples a group's completions after one prefill of its prompt;
- `_generate_and_score_completions` takes each distinct prompt's inputs once, adds the media to
  TRL's batch and gives it an axis of groups, so that TRL's shuffle and split move whole groups;
- `_get_train_sampler` gives a resumed training the prompts in the order of an uninterrupted one;
- `_compute_loss` takes the axis away and makes the media of the micro-batch current;
- `_get_per_token_logps_and_entropies` computes log-probabilities by groups (`shared_prefix`).

With `share_prompts=False` every completion has a prompt of its own, as in TRL: the reference that
the shared path is tested and timed against, and the only way for batches that hold no whole group.
The methods are private in TRL, so their signatures are checked when a trainer is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import trl
from torch.nn.functional import pad
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_trainer import GRPOTrainer

from avrt.engines.encode import Encoded, as_floats, media_inputs, merge_media
from avrt.errors import EngineError
from avrt.train.checkpoint import old_names_allowed
from avrt.train.feed import Take
from avrt.train.order import ByEpoch
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.shared_prefix import Media, group_inputs, share_attention
from avrt.train.trainer import EndsAtLastStep

__all__ = ["OmniGRPOTrainer", "WithMedia", "by_completion", "check_hooks"]

HOOKS = {
    "_tokenize_prompts": ("self", "prompts"),
    "_generate_single_turn": (
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
    ),
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
    "_get_train_sampler": ("self", "dataset"),
}
"""Overridden methods and the first parameters they must have."""


def check_hooks(trainer: type) -> None:
    """Refuse a version of TRL whose methods differ from those overridden here.

    Raises:
        EngineError: a method is gone or takes other parameters.
    """
    for name, expected in HOOKS.items():
        method = getattr(trainer, name, None)
        parameters = tuple(inspect.signature(method).parameters) if method else ()
        if parameters[: len(expected)] != expected:
            raise EngineError(
                f"TRL {trl.__version__} is not supported: the first parameters of "
                f"GRPOTrainer.{name} must be {expected}, but "
                f"{f'they are {parameters}' if parameters else 'the method is gone'}; "
                "install trl>=1.16,<1.17"
            )


class WithMedia:
    """A model whose next forward passes take the media of their rows from `rows`, in order."""

    def __init__(self, model: Callable[..., Any], rows: Sequence[Media]) -> None:
        self._model = model
        self._rows = list(rows)
        self._next = 0

    def __call__(self, input_ids: torch.Tensor, **inputs: Any) -> Any:
        """Run the model on `input_ids` (B, T) with the media of the next B rows.

        Raises:
            EngineError: fewer than B rows are left, or a row has no media.
        """
        rows = self._rows[self._next : self._next + len(input_ids)]
        self._next += len(rows)
        if len(rows) < len(input_ids) or not all(rows):
            n_empty = sum(not row for row in rows)
            raise EngineError(
                f"log-probabilities need the media of every completion, but {len(input_ids)} "
                f"completions have {len(rows)} rows of media, {n_empty} of them empty"
            )
        media = media_inputs(rows, input_ids.device)
        return self._model(input_ids=input_ids, **inputs, **media)


class OmniGRPOTrainer(EndsAtLastStep, GRPOTrainer):
    """GRPOTrainer whose `prompt` column holds sample ids, whose inputs `take` gives."""

    def __init__(
        self,
        *args: Any,
        take: Take,
        suppress_ids: Sequence[int] = (),
        share_prompts: bool = True,
        **kwargs: Any,
    ) -> None:
        check_hooks(GRPOTrainer)
        self._take = take
        self._encoded: dict[str, Encoded] = {}
        self._suppress_ids = tuple(suppress_ids)
        self._share_prompts = share_prompts
        self._media: list[Media] = []
        super().__init__(*args, **kwargs)
        # TRL's types allow None; its configuration has a number for both.
        assert self.num_generations
        assert self.max_completion_length
        self._group_size, self._n_new = self.num_generations, self.max_completion_length
        if share_prompts:
            for model in (self.model, self.ref_model):
                if model is not None:
                    share_attention(self.accelerator.unwrap_model(model))

    # The parameter has TRL's name, not that of transformers.
    def _get_train_sampler(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dataset: Any = None
    ) -> ByEpoch:
        return ByEpoch(super()._get_train_sampler(dataset), self)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        self._media = [self._encoded[prompt].media for prompt in prompts]
        prompt_ids = [self._encoded[prompt].input_ids.tolist() for prompt in prompts]
        # Rollouts that share prompts take the media by group; stock ones take them as one batch.
        return prompt_ids, None, {} if self._share_prompts else as_floats(merge_media(self._media))

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        if not self._share_prompts:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        sampler = Sampler(
            max_new_tokens=self._n_new,
            temperature=self.temperature,
            end_ids=tuple(self.eos_token_ids),
            suppress_ids=self._suppress_ids,
        )
        device = self.accelerator.device
        options: Any = self.args.gradient_checkpointing_kwargs
        policy: Any = self.model_wrapped
        with (
            unwrap_model_for_generation(
                policy, self.accelerator, gradient_checkpointing_kwargs=options
            ) as model,
            self.accelerator.autocast(),
        ):
            completions = sample_groups(
                model,
                [torch.tensor(ids, device=device) for ids in prompt_ids[:: self._group_size]],
                self._media[:: self._group_size],
                self._group_size,
                sampler,
            )
        return completions, None

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        names = list(dict.fromkeys(row["prompt"] for row in inputs))
        taken = dict(zip(names, self._take(names), strict=True))
        self._encoded = dict(taken.values())
        # Another sample may stand for one that cannot be read; rewards get its id.
        inputs = [{**row, "prompt": taken[row["prompt"]][0]} for row in inputs]
        with old_names_allowed():
            batch = super()._generate_and_score_completions(inputs)
        batch = {**batch, "media": self._media}
        return self._by_group(batch) if self._share_prompts else batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self._share_prompts:
            inputs = by_completion(inputs)
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
        if not self._share_prompts:
            with_media = WithMedia(model, self._media)
            return super()._get_per_token_logps_and_entropies(
                with_media, input_ids, attention_mask, logits_to_keep, batch_size, **options
            )
        rows = batch_size or len(input_ids)
        chunks = zip(
            input_ids.split(rows),
            attention_mask.split(rows),
            _split(self._media, rows),
            strict=True,
        )
        scored = [self._score_groups(model, *chunk, logits_to_keep) for chunk in chunks]
        logprobs = torch.cat([logprobs for logprobs, _ in scored])
        entropies = [entropy for _, entropy in scored if entropy is not None]
        return logprobs, torch.cat(entropies) if options.get("compute_entropy") else None, None

    def _score_groups(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media: Sequence[Media],
        n_completion: int,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give log-probabilities (B, n_completion) of B completions, and entropies if `model` does.

        The completions are whole groups in a row; a completion's tokens begin at 0.
        """
        size = self._group_size
        rows = list(zip(input_ids, attention_mask.bool(), strict=True))
        prompts = [ids[:-n_completion][valid[:-n_completion]] for ids, valid in rows]
        answers = [ids[-n_completion:][valid[-n_completion:]] for ids, valid in rows]
        if any(not prompt.equal(prompts[i - i % size]) for i, prompt in enumerate(prompts)):
            raise EngineError("a group holds completions of different prompts")
        inputs = group_inputs(
            self.accelerator.unwrap_model(model),
            prompts[::size],
            _split(answers, size),
            media[::size],
        )
        n_prompt = inputs["attention_mask"]["full_attention"].n_prompt
        with self.accelerator.autocast():
            outputs = model(**inputs, fused_lm_head=True)

        def unpacked(values: torch.Tensor) -> torch.Tensor:
            values = values[:, n_prompt:].reshape(len(input_ids), -1)
            return pad(values, (0, n_completion - values.shape[1]))

        entropy = None if outputs.entropy is None else unpacked(outputs.entropy)
        return unpacked(outputs.log_probs), entropy

    def _by_group(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Put an axis of groups in front, (N, G, ...), so that TRL moves groups whole."""
        size = self._group_size

        def fold(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value if value.ndim == 0 else value.unflatten(0, (-1, size))
            return _split(value, size)

        return {name: fold(value) for name, value in batch.items()}


def by_completion(batch: dict[str, Any]) -> dict[str, Any]:
    """Remove the axis of groups."""

    def unfold(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value if value.ndim == 0 else value.flatten(0, 1)
        return [item for group in value for item in group]

    return {name: unfold(value) for name, value in batch.items()}


Row = TypeVar("Row")


def _split(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
