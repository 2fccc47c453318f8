"""Train and evaluate at full size on one GPU, with random weights: `make gpu-smoke`.

    python benchmarks/gpu_smoke.py [--size 3b] [--clips 64] [KEY=VALUE ...]

Builds a Qwen2.5-Omni thinker on the device from its configuration, so nothing is downloaded, and
runs five steps of SFT, three of GRPO and an evaluation of 32 items as commands of their own, on
real clips under many names or on made ones of 720p. Then `train_grpo.py` compares an update and a
rollout with TRL's way. Prints tokens per second, the share of the card's matrix peak, memory and
the share of time spent waiting for data, and writes them as a section of docs/performance.md.
KEY=VALUE are settings of AVRT that replace those here, such as `student.lora.rank=16`.

A command that fails or a loss that is no number ends it with exit code 1. The bars to compare the
table with: waiting at most 5 %, an update at least 35 % of the peak and 2.3 times as fast as TRL's.
"""

from __future__ import annotations

import official  # isort: skip  # makes torchvision load

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import fill
from typing import Any

import torch

from avrt.config import MediaConfig
from avrt.engines.encode import encode
from avrt.media import read_clip
from avrt.types import Prompt
from course import (
    REASONING,
    Course,
    find_videos,
    make_video,
    read_settings,
    write_data,
    write_models,
)

N_SFT_STEPS, N_GRPO_STEPS = 5, 3
PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10": 125,
    "RTX 4090": 165,
    "RTX 3090": 71,
}
"""Dense bfloat16, from the makers' data sheets; the first name that the card's name contains."""
TITLE = "## Full size on a GPU"


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What is trained, and how much."""
    batch = min(8, options.clips)
    numbers = {
        "student.device": options.device,
        "student.dtype": "bfloat16" if options.device == "cuda" else "float32",
        "sft.gradient_accumulation_steps": batch,
        "sft.epochs": N_SFT_STEPS * batch / options.clips,
        "sft.warmup_steps": 0,
        "grpo.max_steps": N_GRPO_STEPS,
        "grpo.prompts_per_step": batch,
        "grpo.max_new_tokens": options.new_tokens,
        "eval.max_new_tokens": options.new_tokens,
    }
    return {**numbers, **read_settings(options.settings)}


@dataclass(frozen=True)
class Work:
    """Floating-point operations of one forward pass over a sample, by the part that does them."""

    n_patches: float
    """Mean over the samples."""
    towers: float
    """Both towers over a sample; attention inside them, a few percent, is left out."""
    weights: int
    """Of the language model's layers and its head."""
    attention: int
    """Operations for each pair of tokens."""

    def text(self, n_tokens: float) -> float:
        """The language model and its head over a sequence."""
        return 2 * self.weights * n_tokens + self.attention * n_tokens**2 / 2


def measure_work(config: Any, videos: list[Path]) -> Work:
    """Count weights, and encode each clip for the means of its patches and positions of sound."""
    processor = official.new_processor()
    patches, sounds = [], []
    for video in videos:
        clip = read_clip(video, MediaConfig(), "av")
        media = encode(processor, Prompt("", frames=clip.frames, audio=clip.waveform)).media
        patches.append(len(media["pixel_values_videos"]))
        # The audio tower works on two positions for each of its tokens.
        sounds.append(int(media["feature_attention_mask"].sum()) / 2)
    model = official.new_thinker(config, "meta")
    seen = 2 * _count(model.model.visual.blocks) * statistics.mean(patches)
    heard = 2 * _count(model.model.audio_tower) * statistics.mean(sounds)
    layers, text = model.model.language_model.layers, config.text_config
    return Work(
        statistics.mean(patches),
        seen + heard,
        _count(layers) + _count(model.lm_head),
        4 * len(layers) * text.hidden_size,
    )


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@dataclass(frozen=True)
class Row:
    """A training, measured over all its steps but the first, which warms up."""

    name: str
    step_s: float
    tokens_per_s: float
    tflops: float
    gib: float
    waiting: float | None


def measure(course: Course, work: Work) -> list[Row]:
    """Both trainings: what a step did, over the time that its log gives."""
    trace = f"<think>{REASONING}</think>\n<answer>A</answer>"
    n_trace = len(official.new_tokenizer()(trace)["input_ids"]) + 1
    steps = course.log("sft")[1:]
    n_samples = int(course.settings["sft.gradient_accumulation_steps"])
    tokens = [row["tokens_per_s"] * row["step_time_s"] for row in steps]
    n_sample = statistics.mean(tokens) / n_samples
    done = n_samples * (work.towers + 3 * work.text(n_sample))
    rows = [_row("SFT", steps, statistics.mean(tokens), done)]

    steps = course.log("grpo")[1:]
    n_prompts, n_prompt = int(course.settings["grpo.prompts_per_step"]), n_sample - n_trace
    n_new = 4 * statistics.mean(row["completion_length"] for row in steps)
    # Rollout, reference and policy each see the prompt once; the policy also goes backward.
    done = 3 * work.towers + work.text(n_prompt) + 4 * work.text(n_prompt + n_new)
    done += 2 * work.weights * n_new  # the rollout, token by token
    return [*rows, _row("GRPO", steps, n_prompts * (n_prompt + n_new), n_prompts * done)]


def _row(name: str, steps: list[dict[str, Any]], n_tokens: float, operations: float) -> Row:
    for step in steps:
        if not math.isfinite(step["loss"]):
            raise SystemExit(f"{name}: the loss of step {step['step']} is {step['loss']}")
    seconds = statistics.median(step["step_time_s"] for step in steps)
    waits = [step["waiting"] for step in steps if "waiting" in step]
    return Row(
        name,
        seconds,
        n_tokens / seconds,
        operations / seconds / 1e12,
        max(step["memory_gib"] for step in steps),
        statistics.mean(waits) if waits else None,
    )


def section(options: argparse.Namespace, course: Course, rows: list[Row], work: Work) -> str:
    """The text for docs/performance.md."""
    card, peak = card_and_peak(options)
    own = ", ".join(options.settings) or "none"
    about = (
        f"{date.today()}, torch {torch.__version__}, random weights of size {options.size}, "
        f"{options.clips} clips of {work.n_patches:.0f} patches on average, completions of at "
        f"most {options.new_tokens} tokens; settings of its own: {own}. "
        f"`python benchmarks/gpu_smoke.py`; the peak is {peak or '?'} TFLOP/s in dense bfloat16."
    )
    lines = [
        *(f"{TITLE}: {card}", "", fill(about, 105), ""),
        "| | s/step | tokens/s | TFLOP/s | of the peak | peak GiB | waiting for data |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        share = f"{row.tflops / peak:.0%}" if peak else "?"
        waiting = "?" if row.waiting is None else f"{row.waiting:.1%}"
        lines.append(
            f"| {row.name} | {row.step_s:.2f} | {row.tokens_per_s:.0f} | {row.tflops:.3g} | "
            f"{share} | {row.gib:.1f} | {waiting} |"
        )
    evaluated = next(step for step in course.steps if step.name == "eval")
    closing = (
        f"The evaluation of {options.items} items took {evaluated.wall_s:.0f} s, loading included. "
        "The time of a GRPO step includes its rollout, in which the card waits for memory."
    )
    lines += ["", fill(closing, 105)]
    return "\n".join(lines) + "\n"


def card_and_peak(options: argparse.Namespace) -> tuple[str, float]:
    """The card's name and its peak in TFLOP/s, 0 where that is unknown."""
    card = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    known = (peak for name, peak in PEAK_TFLOPS.items() if name in card)
    return card, options.peak_tflops or next(known, 0)


def compare(peak_tflops: float) -> str:
    """The table of `train_grpo.py`: an update and a rollout against TRL's way, at this size."""
    script = Path(__file__).with_name("train_grpo.py")
    command = [sys.executable, str(script), "--prompt", "3147", "--peak-tflops", str(peak_tflops)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_section(path: Path, text: str) -> None:
    """Put the section at the end of a page, or in the place of the one about the same card."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    title = text.partition("\n")[0]
    before, found, after = page.partition(title + "\n")
    if found:
        _, heading, rest = after.partition("\n## ")
        after = heading.lstrip("\n") + rest
    pieces = [before.rstrip("\n"), text.rstrip("\n"), after.strip("\n")]
    path.write_text("\n\n".join(piece for piece in pieces if piece) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("settings", nargs="*", help="settings of AVRT: KEY=VALUE")
    parser.add_argument("--size", choices=official.TEXT, default="3b")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--items", type=int, default=32, help="that are evaluated")
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--peak-tflops", type=float, default=0, help="of an unknown card")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="try the script with a small model")
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder")
    parser.add_argument("--write", type=Path, help="page that gets the section")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "gpu-smoke: torch can use no GPU here; `avrt doctor` shows what it sees; "
            "--tiny --device cpu tries the script itself"
        )
    if options.tiny:
        options.size = "tiny"
    return options


def main() -> None:
    """Run everything and print the section."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="gpu-smoke-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        videos = find_videos()
        if options.tiny or not videos:
            size = (112, 112) if options.tiny else (720, 1280)
            videos = [make_video(folder / f"made{seed}.mp4", seed, size) for seed in range(4)]
        write_data(folder / "data", videos, options.clips, options.items)
        config = official.thinker_config(options.size)
        thinker = official.new_thinker(config, options.device)
        official.write_checkpoint(folder / "thinker", thinker, official.new_processor())
        del thinker
        if options.device == "cuda":
            torch.cuda.empty_cache()
        course = Course(folder, {**write_models(folder), **settings(options)})
        for command in ("prepare", "generate", "sft", "grpo", "eval"):
            course.stage(command)
        work = measure_work(config, videos)
        text = section(options, course, measure(course, work), work)
    if options.device == "cuda":
        text += "\n" + compare(card_and_peak(options)[1])
    print(text)
    if options.write is not None:
        write_section(options.write, text)


if __name__ == "__main__":
    main()
