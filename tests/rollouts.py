"""One generation of GRPO's trainer, and log-probabilities to compare its own with."""

from __future__ import annotations

import torch

from avrt.engines.encode import merge_media
from avrt.train import grpo
from avrt.train.data import PromptEncoder, read_examples, split_path
from avrt.train.omni_grpo import by_completion


def prepared(config, student):
    model, processor = student
    examples = read_examples(split_path(config.run.path, "train"))
    encoder = PromptEncoder(processor, config.data.root, config.media, config.student.prompt)
    trainer = grpo.make_trainer(config, model, processor, encoder, examples)
    trainer.model.train()
    return {example.sample.id: encoder(example.sample) for example in examples}, trainer


def rollouts(trainer, names, group_size=2):
    """TRL's input for one generation: each prompt, repeated."""
    return [{"prompt": name} for name in names for _ in range(group_size)]


def generate(trainer, names, group_size=2):
    """One generation, a row per completion."""
    batch = trainer._generate_and_score_completions(rollouts(trainer, names, group_size))
    return by_completion(batch) if trainer._share_prompts else batch


def single_logprobs(model, encoded, completion):
    """Log-probabilities (T,) of a completion by one plain forward pass over one sample."""
    ids = torch.cat([encoded.input_ids, completion])[None]
    with torch.no_grad():
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), **merge_media([encoded.media])
        ).logits
    logprobs = logits[0, -len(completion) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, completion[:, None])[:, 0]


def trainer_logprobs(trainer, batch, chunk=None):
    """Log-probabilities (B, T) as the trainer computes them for a batch with media."""
    trainer._media, trainer._states = batch["media"], batch["states"]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        n_completion = batch["completion_ids"].size(1)
        return trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, n_completion, chunk
        )[0]
