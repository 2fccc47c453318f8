"""TRL's GRPOTrainer for prompts with picture and sound, each computed once per group.

TRL 1.16 gives audio and video to `generate` but silently not to the loss, and computes a prompt
anew for each of its completions. Six overridden methods change that, and add what AVRT logs:

- `_tokenize_prompts` remembers the media of each prompt, one entry per completion, and has the
  frozen towers compute them, once for all passes of the step;
- `_generate_single_turn` samples a group's completions after one prefill of its prompt, or lets
  a server do it (`server_rollouts`);
- `_generate_and_score_completions` takes each distinct prompt's inputs once, may replace groups
  without spread, adds the media to TRL's batch and gives it an axis of groups, so that TRL's
  shuffle and split move whole groups;
- `_get_train_sampler` gives a resumed training the prompts in the order of an uninterrupted one;
- `_compute_loss` takes the axis away, makes the media of the micro-batch current, and logs the KL
  to the start where it is no part of the loss;
- `_get_per_token_logps_and_entropies` computes log-probabilities by groups (`shared_prefix`).

With `share_prompts=False` every completion has a prompt of its own, as in TRL: the reference that
the shared path is tested and timed against, and the only way for batches that hold no whole group.
The methods are private in TRL, so their signatures are checked when a trainer is built.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

import torch
import trl
from accelerate.utils import gather_object
from torch.nn.functional import pad
from trl.models.utils import unwrap_model_for_generation
from trl.trainer import grpo_trainer
from trl.trainer.grpo_trainer import GRPOTrainer

from avrt.engines.encode import Encoded, as_floats, media_inputs, merge_media
from avrt.errors import EngineError
from avrt.train.checkpoint import old_names_allowed
from avrt.train.feed import Take
from avrt.train.formats import reference_of
from avrt.train.log import Completions
from avrt.train.order import ByEpoch
from avrt.train.rollout import Sampler, draws_of, sample_groups
from avrt.train.server_rollouts import DIFFERENCE, ServerRollouts
from avrt.train.shared_prefix import Media, group_inputs, n_prompt_of, share_attention
from avrt.train.towers import States, has_frozen_layers, states_given, tower_states
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


@contextmanager
def _reference_copied(policy: Any, half: bool) -> Iterator[None]:
    """Let TRL's trainer copy the policy for its reference model, where it would load it again."""
    names: Any = grpo_trainer
    loads = names.create_model_from_path
    names.create_model_from_path = lambda *_, **__: reference_of(policy, half)
    try:
        yield
    finally:
        names.create_model_from_path = loads


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


@dataclass(frozen=True, eq=False)
class _Group:
    """The completions that were sampled of a prompt."""

    completions: Sequence[list[int]]
    has_spread: bool
    """Whether the completions' rewards differ."""
    n_tokens: int
    """Tokens of the completions, and of the prompt for each of them, as TRL counts."""
    drawn: Sequence[list[float]] | None
    """The log-probabilities of the completions' tokens, where a server sampled them."""


class OmniGRPOTrainer(EndsAtLastStep, GRPOTrainer):
    """GRPOTrainer whose `prompt` column holds sample ids, whose inputs `take` gives."""

    def __init__(
        self,
        *args: Any,
        take: Take,
        suppress_ids: Sequence[int] = (),
        share_prompts: bool = True,
        cuda_graph: bool = False,
        beta: float | None = None,
        kl_steps: int = 0,
        resampling_rounds: int = 0,
        server: ServerRollouts | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the trainer.

        `beta` replaces that of TRL's arguments, by which TRL decides whether there is a reference
        model; where it is 0, the KL is measured every `kl_steps`. Groups without spread are
        replaced in at most `resampling_rounds`. `server` samples the completions, by default this
        process.
        """
        check_hooks(GRPOTrainer)
        self._take = take
        self._encoded: dict[str, Encoded] = {}
        self._suppress_ids = tuple(suppress_ids)
        self._share_prompts, self._cuda_graph = share_prompts, cuda_graph
        self._kl_steps = kl_steps
        self._resampling_rounds = resampling_rounds
        self._names: list[str] = []
        self._media: list[Media] = []
        self._states: list[States] = []
        self._states_of: dict[str, States] = {}
        self._held: dict[str, _Group] = {}
        with _reference_copied(kwargs["model"], kwargs["args"].bf16):
            super().__init__(*args, **kwargs)
        self.beta = self._beta = self.beta if beta is None else beta
        # After TRL's own set-up, which would look for its own server: this turns its correction on.
        self._server, self.use_vllm = server, server is not None
        # TRL's types allow None; its configuration has a number for both.
        assert self.num_generations
        assert self.max_completion_length
        self._group_size, self._n_new = self.num_generations, self.max_completion_length
        if share_prompts:
            for model in (self.model, self.ref_model):
                if model is not None:
                    share_attention(self.accelerator.unwrap_model(model))

    def last_rollout(self) -> Iterator[Completions]:
        """The groups of the last rollout of all processes, as TRL gathered them in the main one."""
        logs, size = self._logs, self._group_size
        rewards = {
            name: [None if math.isnan(value) else value for value in values]
            for name, values in logs["rewards"].items()
        }
        columns = [list(logs[name]) for name in ("prompt", "completion", "advantages")]
        for first in range(0, len(columns[0]), size):
            group = slice(first, first + size)
            names, texts, advantages = (column[group] for column in columns)
            of_group = {name: values[group] for name, values in rewards.items()}
            yield Completions(names[0], texts, of_group, advantages)

    # The parameter has TRL's name, not that of transformers.
    def _get_train_sampler(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, dataset: Any = None
    ) -> ByEpoch:
        return ByEpoch(super()._get_train_sampler(dataset), self)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        self._names = prompts
        self._media = [self._encoded[prompt].media for prompt in prompts]
        prompt_ids = [self._encoded[prompt].input_ids.tolist() for prompt in prompts]
        model: Any = self.accelerator.unwrap_model(self.model)
        if self._share_prompts and has_frozen_layers(model):
            with self.accelerator.autocast():
                for name in {*prompts} - self._states_of.keys():
                    self._states_of[name] = tower_states(model, self._encoded[name].media)
        self._states = [self._states_of.get(prompt, {}) for prompt in prompts]
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
        if self._held:
            held = self._held.values()
            completions = [tokens for group in held for tokens in group.completions]
            drawn = [row for group in held for row in group.drawn or ()]
            return completions, drawn if self._server else None
        if self._server is not None:
            policy, step = self.accelerator.unwrap_model(self.model), self.state.global_step
            self._server.hand_over(policy, step, self.accelerator.wait_for_everyone)
            one = slice(None, None, self._group_size)
            return self._server.sample(prompt_ids[one], self._media[one], self.eos_token_ids)
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
            prompts = [torch.tensor(ids, device=device) for ids in prompt_ids[:: self._group_size]]
            media, states = self._media[:: self._group_size], self._states[:: self._group_size]
            # As many at a time as a step takes, however many steps the rollout is for.
            passes = self.args.gradient_accumulation_steps
            n = self.args.per_device_train_batch_size * passes // self._group_size
            names = self._draw_names()
            parts = zip(*(_split(rows, n) for rows in (prompts, media, states, names)), strict=True)
            completions = []
            for part, of_part, given, named in parts:
                draws = draws_of([name for group in named for name in group], self._n_new)
                with states_given(model, given):
                    completions += sample_groups(
                        model, part, of_part, self._group_size, sampler, self._cuda_graph, draws
                    )
        return completions, None

    def _draw_names(self) -> list[list[str]]:
        """Name what the random numbers of each completion follow from, by groups."""
        start = f"{self.args.seed}:{self.state.global_step}"
        groups = _split(self._names, self._group_size)
        return [[f"{start}:{name}:{k}" for k, name in enumerate(group)] for group in groups]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        names = list(dict.fromkeys(row["prompt"] for row in inputs))
        taken = dict(zip(names, self._take(names), strict=True))
        self._encoded = dict(taken.values())
        # Another sample may stand for one that cannot be read; rewards get its id.
        inputs = [{**row, "prompt": taken[row["prompt"]][0]} for row in inputs]
        # Any value above 0 makes TRL score the completions by the reference model as well.
        self.beta = self._beta or float(self._kl_is_due())
        with old_names_allowed():
            if self._resampling_rounds:
                inputs = self._with_spread(inputs)
            batch = super()._generate_and_score_completions(inputs)
        self.beta = self._beta
        if self._server is not None:
            self._server.require_close(self._metrics["train"][DIFFERENCE][-1])
        batch = {**batch, "media": self._media, "states": self._states}
        self._encoded, self._states_of, self._held = {}, {}, {}
        return self._by_group(batch) if self._share_prompts else batch

    def _kl_is_due(self) -> bool:
        """Whether a step that is divisible by `kl_steps` uses the rollout that is now made."""
        arguments: Any = self.args
        passes = arguments.steps_per_generation * self.num_iterations
        n_updates = passes // arguments.gradient_accumulation_steps
        return self._kl_steps > 0 and -self.state.global_step % self._kl_steps < n_updates

    def _with_spread(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Roll out the prompts, and others in the place of those whose rewards do not differ.

        All processes take part in every round and draw from one order of further prompts, which
        follows from seed and step. `_held` keeps the groups that `inputs` then names.
        """
        names = [row["prompt"] for row in inputs[:: self._group_size]]
        held = self._roll_out(names)
        n_tokens, n_dropped = 0, 0
        further = iter(self._further(names))
        for _ in range(self._resampling_rounds):
            missing = [name for name, group in held.items() if not group.has_spread]
            wanted = self._of_all(len(missing))
            taken = list(islice(further, sum(wanted)))
            if not taken:
                break
            before = sum(wanted[: self.accelerator.process_index])
            rolled = self._roll_out(taken[before : before + len(missing)])
            good = [(name, group) for name, group in rolled.items() if group.has_spread]
            swaps = dict(zip(missing, good, strict=False))
            n_dropped += len(rolled)
            n_tokens += sum(group.n_tokens for group in rolled.values() if not group.has_spread)
            n_tokens += sum(held[name].n_tokens for name in swaps)
            held = dict(swaps.get(item[0], item) for item in held.items())
        self.state.num_input_tokens_seen += sum(self._of_all(n_tokens))
        self._metrics["train"]["dropped_groups"].append(sum(self._of_all(n_dropped)))
        self._held = held
        return [{"prompt": name} for name in held for _ in range(self._group_size)]

    def _further(self, names: Sequence[str]) -> list[str]:
        """Give the prompts that no process has among its `names`, in an order of this step."""
        used, dataset = set(gather_object(list(names))), cast("Any", self.train_dataset)
        rest = [name for name in dataset["prompt"] if name not in used]
        random.Random(f"{self.args.seed}:{self.state.global_step}").shuffle(rest)
        return rest

    def _of_all(self, count: int) -> list[int]:
        """Give the count of every process."""
        counts = torch.tensor([count], device=self.accelerator.device)
        return cast("torch.Tensor", self.accelerator.gather(counts)).tolist()

    def _roll_out(self, names: Sequence[str]) -> dict[str, _Group]:
        """Sample the completions of prompts, and see whether their rewards differ."""
        if not names:
            return {}
        size = self._group_size
        new = [name for name in names if name not in self._encoded]
        self._encoded |= dict(self._take(new, replace=False))
        names = [name for name in names if name in self._encoded]  # those that can be read
        prompts = [name for name in names for _ in range(size)]
        prompt_ids, images, fields = self._tokenize_prompts(prompts)
        completions, drawn = self._generate_single_turn(prompt_ids, images, fields, size)
        processor, rewards = cast("Any", self.processing_class), cast("Any", self.reward_funcs)
        texts = processor.batch_decode(completions, skip_special_tokens=True)
        paid = [
            reward(
                prompts=prompts,
                completions=texts,
                completion_ids=completions,
                log_metric=lambda *_: None,
            )
            for reward in rewards
        ]
        totals = torch.tensor(paid).T @ self.reward_weights.cpu()
        n_tokens = [len(ids) + len(row) for ids, row in zip(prompt_ids, completions, strict=True)]
        columns = (completions, totals.tolist(), n_tokens, drawn or [None] * len(completions))
        groups = zip(*(_split(rows, size) for rows in columns), strict=True)
        return {
            name: _Group(rows, max(earned) - min(earned) > 1e-6, sum(n), of_rows)
            for name, (rows, earned, n, of_rows) in zip(names, groups, strict=True)
        }

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self._share_prompts:
            inputs = by_completion(inputs)
        self._media, self._states = inputs["media"], inputs["states"]
        loss = super()._compute_loss(model, inputs)
        if self.beta == 0 and "ref_per_token_logps" in inputs:
            self._log_kl(inputs["ref_per_token_logps"], inputs["completion_mask"])
        return loss

    def _log_kl(self, reference: torch.Tensor, mask: torch.Tensor) -> None:
        """Log the KL as TRL does where it is a part of the loss."""
        delta = reference - self._logprobs
        totals = torch.stack([((delta.exp() - delta - 1) * mask).sum(), mask.sum().float()])
        summed = cast("torch.Tensor", self.accelerator.reduce(totals, reduction="sum"))
        total, n_tokens = summed.tolist()
        self._metrics["train"]["kl"].append(total / max(n_tokens, 1.0))

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
            results = super()._get_per_token_logps_and_entropies(
                with_media, input_ids, attention_mask, logits_to_keep, batch_size, **options
            )
            self._logprobs = results[0].detach()
            return results
        rows = batch_size or len(input_ids)
        chunks = zip(
            input_ids.split(rows),
            attention_mask.split(rows),
            _split(self._media, rows),
            _split(self._states, rows),
            strict=True,
        )
        scored = [self._score_groups(model, *chunk, logits_to_keep) for chunk in chunks]
        logprobs = torch.cat([logprobs for logprobs, _ in scored])
        self._logprobs = logprobs.detach()
        entropies = [entropy for _, entropy in scored if entropy is not None]
        return logprobs, torch.cat(entropies) if options.get("compute_entropy") else None, None

    def _score_groups(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        media: Sequence[Media],
        states: Sequence[States],
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
        unwrapped: Any = self.accelerator.unwrap_model(model)
        inputs = group_inputs(unwrapped, prompts[::size], _split(answers, size), media[::size])
        n_prompt = n_prompt_of(inputs)
        with self.accelerator.autocast(), states_given(unwrapped, states[::size]):
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
