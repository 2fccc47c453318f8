"""An SFT step against TRL's SFTTrainer with the collators one would write first.

"processor": the processor is called on every batch, as TRL's own collator for pictures does, and
pads sound to its full length. "cached": every clip is encoded once and its sound trimmed to the
batch, samples in random order. "AVRT": as avrt sft does it, samples of like length in one pass.
All train the same model on the same samples, one epoch each; clips are decoded beforehand.

    OMP_NUM_THREADS=1 python benchmarks/train_sft.py
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import numpy as np
import torch
import transformers
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl.trainer.sft_trainer import SFTTrainer

from avrt.config import Config
from avrt.engines.encode import Encoded, encode
from avrt.train import sft
from avrt.train.checkpoint import freeze_towers, old_names_allowed
from avrt.train.data import Example, id_dataset, trace_ids
from avrt.types import Frames, Prompt, Sample, Waveform
from avrt.world.networks import new_student

KINDS = ("processor", "cached", "AVRT")
WORDS = ("a", "dog", "barks", "while", "the", "bell", "rings", "over", "water", "near", "red")


def make_prompts(n: int) -> dict[str, tuple[Prompt, str]]:
    """Clips of 2 to 8 frames and 1 to 10 s of sound, with traces of 10 to 60 words."""
    draw = random.Random(0)
    noise = np.random.default_rng(0)
    made = {}
    for number in range(n):
        n_frames, seconds = draw.choice([2, 4, 6, 8]), draw.uniform(1, 10)
        pixels = noise.integers(0, 255, (n_frames, 56, 56, 3), dtype=np.uint8)
        frames = Frames(pixels, tuple(float(i) for i in range(n_frames)), 1.0, still=False)
        sound = noise.standard_normal(int(16_000 * seconds)).astype(np.float32)
        thought = " ".join(draw.choices(WORDS, k=draw.randint(10, 60)))
        prompt = Prompt("What is it?", frames=frames, audio=Waveform(sound, 16_000))
        made[f"s{number}"] = (prompt, f"<think>{thought}</think><answer>A</answer>")
    return made


class PlainCollator:
    """What one would write: the processor on every batch, as it is configured."""

    def __init__(self, prompts: dict[str, tuple[Prompt, str]], processor: Any) -> None:
        self._prompts, self._processor = prompts, processor

    def __call__(self, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
        rows_encoded = [self._encode(*self._prompts[row["sample_id"]]) for row in rows]
        ids = [torch.cat([prompt, trace]) for prompt, trace, _ in rows_encoded]
        pad = self._processor.tokenizer.pad_token_id

        def padded(values: list[torch.Tensor], fill: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=fill)

        labels = [
            torch.cat([torch.full_like(prompt, -100), trace]) for prompt, trace, _ in rows_encoded
        ]
        media = [media for _, _, media in rows_encoded]
        return {
            "input_ids": padded(ids, pad),
            "attention_mask": padded([torch.ones_like(row) for row in ids], 0),
            "labels": padded(labels, -100),
            **{key: torch.cat([row[key] for row in media]) for key in media[0]},
        }

    def _encode(self, prompt: Prompt, trace: str) -> tuple[torch.Tensor, torch.Tensor, Any]:
        frames, audio = prompt.decoded()
        messages = [
            {
                "role": "user",
                "content": [
                    {"type": "video"},
                    {"type": "audio"},
                    {"type": "text", "text": prompt.text},
                ],
            }
        ]
        text = self._processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert frames is not None
        assert audio is not None
        inputs = self._processor(
            text=[text],
            videos=[torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)],
            audio=[audio.samples],
            return_tensors="pt",
            do_sample_frames=False,
            do_resize=False,
            fps=frames.fps,
        )
        ids = inputs.pop("input_ids")[0]
        media = {
            k: v for k, v in inputs.items() if k not in ("attention_mask", "mm_token_type_ids")
        }
        return ids, torch.tensor(trace_ids(self._processor, trace)), media


class Clock(TrainerCallback):
    """Seconds of each optimizer step, with the fetching of its data; the first is left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())

    def seconds_per_step(self) -> float:
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


class Counting:
    """A collator that counts places, tokens and frames of sound."""

    def __init__(self, collator: Any) -> None:
        self._collator = collator
        self.n_places = self.n_tokens = self.n_sound = self.n_samples = 0

    def __call__(self, rows: Sequence[Any]) -> dict[str, Any]:
        batch = self._collator(rows)
        self.n_places += batch["attention_mask"].numel()
        self.n_tokens += int(batch["attention_mask"].sum())
        self.n_samples += len(rows)
        self.n_sound += batch["input_features"].shape[-1] * len(batch["input_features"])
        return batch


def measure(kind: str, model: Any, processor: Any, prompts: Any, batch: int) -> tuple[float, ...]:
    """Seconds per step, share of padding, frames of sound per sample."""
    examples = [_example(name, trace) for name, (_, trace) in prompts.items()]
    encoded = {name: encode(processor, prompt) for name, (prompt, _) in prompts.items()}
    n_tokens = {name: len(each.input_ids) for name, each in encoded.items()}

    def take(names: Sequence[str]) -> list[tuple[str, Encoded]]:
        return [(name, encoded[name]) for name in names]

    nowhere: Any = None  # the clips are encoded already
    ours = sft.TraceCollator(examples, nowhere, processor, n_tokens, take)
    counting = Counting(PlainCollator(prompts, processor) if kind == "processor" else ours)
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "per_device_batch_size": batch,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": False,
            "save_steps": 10_000,
        }
        student = {"device": "cpu", "dtype": "float32"}
        config = Config.model_validate(
            {"run": {"dir": folder}, "student": student, "sft": settings}
        )
        trainer: Any = sft.make_trainer(config, model, processor, ours, examples)
        if kind != "AVRT":
            with old_names_allowed():
                trainer = SFTTrainer(
                    model=model,
                    args=trainer.args,
                    train_dataset=id_dataset("sample_id", examples),
                    processing_class=processor,
                    data_collator=counting,
                )
        trainer.data_collator = counting
        trainer.args.save_strategy = "no"
        if kind == "processor":
            trainer.args.max_steps = 4  # it is slow
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    padding = 1 - counting.n_tokens / counting.n_places
    return clock.seconds_per_step(), padding, counting.n_sound / counting.n_samples


def _example(name: str, trace: str) -> Example:
    sample = Sample(
        id=name,
        question="What is it?",
        options=("a", "b"),
        answer_index=0,
        question_type="Which",
        question_relation="both",
        video_id=name,
        video=f"{name}.mp4",
        image=None,
        audio=None,
        source=name,
    )
    return Example(sample, trace)


def make_model() -> tuple[Any, Any]:
    """The packaged student's shape with random weights, towers frozen."""
    model, processor = new_student()
    freeze_towers(model)
    return model, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore[reportOptionalMemberAccess]
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    prompts = make_prompts(options.samples)
    results: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeats):
        for kind in KINDS:  # in turns, so that a slow minute hits all
            torch.manual_seed(0)
            model, processor = make_model()
            results[kind].append(measure(kind, model, processor, prompts, options.batch))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{n_parameters:,} parameters, {options.samples} samples, {options.batch} in a pass")
    print(f"{'':10}{'s/step':>10}{'ratio':>8}{'padding':>10}{'sound frames/sample':>22}")
    for kind in KINDS:
        step, padding, sound = min(results[kind])
        ratio = step / min(results["AVRT"])[0]
        print(f"{kind:10}{step:10.3f}{ratio:7.2f}x{100 * padding:9.1f}%{sound:22.0f}")


if __name__ == "__main__":
    main()
