"""Decoding whose batch is refilled as rows end, against batches that wait for their slowest row.

    python benchmarks/decoding.py [--rows 128] [--batch 16] [--turns 3]

Makes two models with random weights: the world's student, given frames and sound, and a text model
of 30 M parameters. The lengths of completions are lognormal, with a median of 40 tokens, a mean of
about 1.4 times that and the longest cut at 256: the shape that reasoning has. "in turn" is
transformers' `generate` on batches of prompts of about equal length, each until its slowest row has
ended; "refilled" is AVRT's engine on the same requests. Both run in turns and must write the same
tokens; times are CPU time. A second table compares the draws of a step over 151,936 tokens: one
generator for each row on the CPU in float64, against noise made of whole numbers. Needs AVRT with
the extra `train`.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, StoppingCriteriaList

from avrt.config import EngineConfig
from avrt.engines.encode import collate, encode, suppress_token_ids
from avrt.engines.sampling import choose_tokens
from avrt.engines.transformers import TransformersEngine
from avrt.engines.weights import Loaded, load
from avrt.types import Frames, Prompt, Request, Sampling, Waveform
from avrt.world import networks

MIN_RATIO = 1.5
MEDIAN, SIGMA, LONGEST = 40, 0.8, 256
VOCABULARY = 151_936
NEVER = 10**6
"""An end token that no model writes: completions end by their length alone."""


def save_student(folder: Path) -> None:
    """Save the world's student."""
    model, processor = networks.new_student()
    model.generation_config.eos_token_id = NEVER
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def save_text_model(folder: Path) -> None:
    """Save a text model of 30 M parameters."""
    tokenizer = networks.new_tokenizer()
    tokenizer.chat_template = networks.CHAT_TEMPLATE
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = NEVER
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def student_prompt(number: int, rng: np.random.Generator) -> Prompt:
    """Four frames and two seconds of noise."""
    pixels = rng.integers(0, 256, (4, 84, 84, 3), dtype=np.uint8)
    frames = Frames(pixels, (0.0, 0.5, 1.0, 1.5), 2.0)
    sound = Waveform(rng.normal(0, 0.2, 32_000).astype(np.float32))
    return Prompt(f"what is it? {number}", frames=frames, audio=sound)


def text_prompt(number: int, rng: np.random.Generator) -> Prompt:
    """A text of some fifty words."""
    return Prompt(f"who sings here, and where? {number} " * int(rng.integers(6, 12)))


MODELS: dict[str, tuple[Callable[[Path], None], Callable[..., Prompt]]] = {
    "student": (save_student, student_prompt),
    "text, 30 M": (save_text_model, text_prompt),
}


def make_requests(prompt_of: Callable[..., Prompt], n: int) -> list[Request]:
    """Requests with lognormal lengths."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(MEDIAN), SIGMA, n)).clip(1, LONGEST).astype(int)
    return [
        Request(f"k{i}", prompt_of(i, rng), Sampling(max_new_tokens=int(length)))
        for i, length in enumerate(lengths)
    ]


def has_length(lengths: torch.Tensor, ids: torch.Tensor, _scores: Any) -> torch.Tensor:
    """Whether each row has its length."""
    return ids.shape[1] >= lengths


@torch.inference_mode()
def in_turn(loaded: Loaded, requests: Sequence[Request], size: int) -> dict[str, str]:
    """Complete batches one after the other, each until its slowest row has ended."""
    encoded = {r.key: encode(loaded.processor, r.prompt) for r in requests}
    ordered = sorted(requests, key=lambda r: -len(encoded[r.key].input_ids))
    texts = {}
    for first in range(0, len(ordered), size):
        batch = ordered[first : first + size]
        inputs = collate([encoded[r.key] for r in batch], 0, "left")
        n_prompt = inputs["input_ids"].shape[1]
        limits = torch.tensor([r.sampling.max_new_tokens for r in batch])
        # At its length a row has ended, as at its end token.
        lengths = StoppingCriteriaList([partial(has_length, limits + n_prompt)])

        settings = GenerationConfig(
            max_new_tokens=int(limits.max()),
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            suppress_tokens=suppress_token_ids(loaded.processor) or None,
        )
        loaded.model.generation_config = GenerationConfig()
        output = loaded.model.generate(
            **inputs,
            generation_config=settings,
            stopping_criteria=lengths,
        )
        for request, row in zip(batch, output[:, n_prompt:].tolist(), strict=True):
            kept = row[: request.sampling.max_new_tokens]
            texts[request.key] = loaded.tokenizer.decode(kept, skip_special_tokens=True)
    return texts


def refilled(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, str]:
    """Complete them with AVRT's engine."""
    texts = {}
    engine.generate(requests, lambda request, done: texts.update({request.key: done.text}))
    return texts


def compare(name: str, n: int, size: int, turns: int) -> float:
    """Print a row; the ratio of the medians."""
    save, prompt_of = MODELS[name]
    requests = make_requests(prompt_of, n)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(Path(folder))
        loaded = load(folder, device="cpu")
        settings = EngineConfig(kind="transformers", device="cpu", batch_size=size)
        engine = TransformersEngine(settings, folder, None)
    times: dict[str, list[float]] = {"in turn": [], "refilled": []}
    written = {}
    for _ in range(turns):
        for way, run in (
            ("in turn", lambda: in_turn(loaded, requests, size)),
            ("refilled", lambda: refilled(engine, requests)),
        ):
            started_s = time.process_time()
            written[way] = run()
            times[way].append(time.process_time() - started_s)
    n_tokens = sum(request.sampling.max_new_tokens for request in requests)
    rates = {way: n_tokens / statistics.median(seconds) for way, seconds in times.items()}
    n_equal = sum(written["in turn"][r.key] == written["refilled"][r.key] for r in requests)
    ratio = rates["refilled"] / rates["in turn"]
    print(
        f"| {name} | {n} | {n_tokens:,} | {rates['in turn']:.0f} | {rates['refilled']:.0f} "
        f"| {ratio:.2f} | {n_equal}/{n} |",
        flush=True,
    )
    return ratio


def draw_on_the_cpu(logits: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Draw a token for each row from a generator of its own, in float64."""
    rows = []
    for row, generator in zip(logits, generators, strict=True):
        uniform = torch.rand(len(row), generator=generator, dtype=torch.float64)
        noise = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(torch.float64).tiny)))
        rows.append(row + noise.to(row))
    return torch.stack(rows).argmax(-1)


def compare_draws(turns: int) -> None:
    """Print the time of a step's draws for 32 rows."""
    logits = torch.randn(32, VOCABULARY)
    generators = [torch.Generator().manual_seed(seed) for seed in range(32)]
    samplings = [Sampling(temperature=1.0, seed=seed) for seed in range(32)]
    times: dict[str, list[float]] = {"float64, by row": [], "whole numbers": []}
    for turn in range(3 * turns):
        started_s = time.process_time()
        draw_on_the_cpu(logits, generators)
        times["float64, by row"].append(time.process_time() - started_s)
        started_s = time.process_time()
        choose_tokens(logits, samplings, [turn] * 32)
        times["whole numbers"].append(time.process_time() - started_s)
    print("\n| draws of 32 rows on the CPU | ms |\n| --- | --- |")
    for way, seconds in times.items():
        print(f"| {way} | {1000 * statistics.median(seconds):.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print("| model | rows | tokens | tokens per CPU s in turn | refilled | ratio | equal replies |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    ratios = [compare(name, options.rows, options.batch, options.turns) for name in MODELS]
    compare_draws(options.turns)
    if min(ratios) < MIN_RATIO:
        raise SystemExit(f"a ratio is below {MIN_RATIO}")


if __name__ == "__main__":
    main()
