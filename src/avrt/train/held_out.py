"""Held-out accuracy during training: the current model answers validation prompts greedily.

Every process answers its share. Greedy decoding draws no random number, so these evaluations do
not change the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from typing_extensions import override

from avrt.answers import extract_answer, is_well_formed
from avrt.config import EvalConfig
from avrt.engines.encode import Encoded, as_floats, collate, suppress_token_ids
from avrt.errors import ConfigError
from avrt.train.data import Example
from avrt.train.feed import Feed

__all__ = ["FIELDS", "HeldOut", "answer_greedily", "spread"]

FIELDS = ("eval_accuracy", "eval_format", "eval_parsed", "eval_n")
"""Shares of right, of well-formed and of readable answers, and the number of prompts."""


def spread(examples: Sequence[Example], n: int, setting: str) -> list[Example]:
    """Take `n` examples at even distances, or all of a smaller set.

    Raises:
        ConfigError: there are no examples, although `setting` asks for them.
    """
    if not examples:
        raise ConfigError(
            f"{setting} = {n}, but every clip of the validation set is also trained on, or the "
            f"set is empty; set {setting} to 0, or build again with build.validation_fraction "
            "above 0"
        )
    n = min(n, len(examples))
    return [examples[index * len(examples) // n] for index in range(n)]


class HeldOut(TrainerCallback):
    """Logs `FIELDS` before the first step, every `every` steps, and after the last step.

    Without examples it does nothing. A prompt whose clip cannot be read is left out, and `eval_n`
    counts the others.
    """

    def __init__(
        self,
        trainer: Any,
        limits: EvalConfig,
        feed: Feed,
        examples: Sequence[Example],
        every: int,
    ) -> None:
        """`limits` has the batch size and the longest answer."""
        self._trainer = trainer
        self._limits = limits
        self._feed = feed
        self._examples = list(examples)
        self._every = every

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self._evaluate()

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # Not at the step's end: to log anything there would keep the step's own numbers back.
        is_due = state.global_step % self._every == 0 or state.global_step == state.max_steps
        if logs and "loss" in logs and is_due:
            self._evaluate()

    def _evaluate(self) -> None:
        """Answer the prompts of this process; every process takes part."""
        if not self._examples:
            return
        model, accelerator = self._trainer.model, self._trainer.accelerator
        was_training = model.training
        model.eval()
        mine = self._examples[accelerator.process_index :: accelerator.num_processes]
        sums = torch.zeros(len(FIELDS), dtype=torch.float64)
        examples = {example.sample.id: example for example in mine}
        names, size = list(examples), self._limits.batch_size
        batches = [names[first : first + size] for first in range(0, len(names), size)]
        self._feed.follow("held_out", batches)
        for batch in batches:
            taken = self._feed.take(batch, replace=False)
            if not taken:
                continue
            with self._trainer.compute_loss_context_manager():
                texts = answer_greedily(
                    model,
                    self._trainer.processing_class,
                    [encoded for _, encoded in taken],
                    self._limits.max_new_tokens,
                )
            for text, (name, _) in zip(texts, taken, strict=True):
                sums += torch.tensor(_score(text, examples[name]), dtype=torch.float64)
        total = accelerator.reduce(sums.float().to(accelerator.device), "sum").tolist()
        if total[-1]:
            shares = [value / total[-1] for value in total[:-1]]
            self._trainer.log(dict(zip(FIELDS, [*shares, int(total[-1])], strict=True)))
        model.train(was_training)


def _score(text: str, example: Example) -> list[float]:
    """Right, well-formed, readable, counted."""
    sample = example.sample
    answer = extract_answer(text, sample.options, cut=True)  # as the reward reads it
    well_formed = is_well_formed(text, len(sample.options))
    return [answer == sample.target, well_formed, answer is not None, 1]


@torch.no_grad()
def answer_greedily(
    model: Any, processor: Any, encoded: Sequence[Encoded], max_new_tokens: int
) -> list[str]:
    """The likeliest completion of each prompt, token by token."""
    tokenizer = processor.tokenizer
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=suppress_token_ids(processor) or None,
    )
    inputs = collate(encoded, tokenizer.pad_token_id, "left")
    inputs = as_floats({key: value.to(model.device) for key, value in inputs.items()})
    output = model.generate(**inputs, generation_config=settings)
    new_tokens = output[:, inputs["input_ids"].shape[1] :]
    return tokenizer.batch_decode(new_tokens, skip_special_tokens=True)
