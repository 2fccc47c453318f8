"""GRPO with shared prompts against a prompt per completion; one command, one table.

Makes a thinker with random weights, one prompt of picture and sound and G random completions, and
does the same work both ways: log-probabilities of the reference, of the policy, and the backward
pass (towers frozen), then the rollout. On a CPU the model is small and float32; on a GPU it has the
shape of Qwen2.5-Omni-3B in bfloat16. Times are medians of runs that alternate; on a CPU they are
CPU time of one thread, which other jobs on the machine hardly change. Memory is that of processes
of their own.

Needs AVRT with the extra `train`.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, Qwen2_5OmniThinkerForConditionalGeneration
from transformers.models.qwen2_5_omni import Qwen2_5OmniThinkerConfig
from trl.trainer.utils import add_fused_lm_head

from avrt.engines.encode import merge_media
from avrt.train.checkpoint import freeze_towers
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.shared_prefix import group_inputs, share_attention

WAYS = ("separate", "shared")
TEXT_TOKENS = (20, 1000)
"""Ordinary tokens of every vocabulary here."""
MARKS = tuple(range(TEXT_TOKENS[1], TEXT_TOKENS[1] + 7))
"""Tokens of media."""
SHAPES: dict[str, dict[str, Any]] = {
    "small": {
        "text": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 6},
        "heads": (8, 2),
        "vocab_size": 4096,
        "vision": {"depth": 2, "hidden_size": 64, "intermediate_size": 192, "num_heads": 4},
        "audio": {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4},
        "mels": 64,
        "mrope": [8, 12, 12],
    },
    # The widths and the layers of Qwen2.5-Omni-3B over four: towers and language model have nearly
    # their shares of the work.
    "quarter": {
        "text": {"hidden_size": 512, "intermediate_size": 2752, "num_hidden_layers": 9},
        "heads": (8, 2),
        "vocab_size": 4096,
        "vision": {"depth": 8, "hidden_size": 320, "intermediate_size": 856, "num_heads": 8},
        "audio": {"d_model": 320, "encoder_layers": 8, "encoder_attention_heads": 8},
        "mels": 128,
        "mrope": [8, 12, 12],
    },
    "qwen2.5-omni-3b": {
        "text": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36},
        "heads": (16, 2),
        "vocab_size": 151936,
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
        "audio": {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20},
        "mels": 128,
        "mrope": [16, 24, 24],
    },
}


@dataclass
class Work:
    """A model, a prompt (P,) with its media, and G completions (R,)."""

    model: Any
    prompt: Tensor
    media: dict[str, Tensor]
    completions: list[Tensor]

    def logprobs(self, way: str) -> Tensor:
        """Of all completions, (G, R)."""
        if way == "shared":
            share_attention(self.model)
            inputs = group_inputs(self.model, [self.prompt], [self.completions], [self.media])
            output = self.model(**inputs, fused_lm_head=True).log_probs
            return output[:, len(self.prompt) - 1 :].view(len(self.completions), -1)
        self.model.base_model.language_model.config._attn_implementation = "sdpa"
        ids = torch.stack([torch.cat([self.prompt, one]) for one in self.completions])
        labels = ids.clone()
        labels[:, : len(self.prompt)] = -100
        mask, media = torch.ones_like(ids), merge_media([self.media] * len(ids))
        output = self.model(
            input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True, **media
        )
        return output.log_probs[:, -len(self.completions[0]) :]

    def update(self, way: str) -> Tensor:
        """Reference, policy and backward pass; returns the gradient as one vector."""
        with torch.no_grad():
            reference = self.logprobs(way)
        policy = self.logprobs(way)
        advantages = torch.linspace(-1, 1, len(policy), device=policy.device)[:, None]
        delta = reference - policy
        ratio = (policy - policy.detach()).exp()
        self.model.zero_grad()
        (-ratio * advantages + 0.01 * (delta.exp() - delta - 1)).mean().backward()
        gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        return torch.cat(gradients)

    def rollout(self, way: str) -> None:
        """Sample the completions; nothing ends early, so that both ways write as much."""
        n_new, size = len(self.completions[0]), len(self.completions)
        if way == "shared":
            sampler = Sampler(n_new, 1.0, end_ids=(), suppress_ids=MARKS)
            sample_groups(self.model, [self.prompt], [self.media], size, sampler)
            return
        settings = GenerationConfig(
            max_new_tokens=n_new,
            do_sample=True,
            temperature=1.0,
            suppress_tokens=list(MARKS),
            pad_token_id=0,
        )
        ids = self.prompt[None].repeat(size, 1)
        with torch.no_grad():
            self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                **merge_media([self.media] * size),
            )


def make_work(
    shape: str,
    device: str,
    n_prompt: int,
    n_new: int,
    group_size: int,
    grid: tuple[int, int] = (20, 20),
) -> Work:
    """The same seeded work for the same arguments; a frame has a `grid` of patches."""
    torch.manual_seed(0)
    config = _config(SHAPES[shape])
    with torch.device(device):
        model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    if device == "cuda":
        model.to(torch.bfloat16)
    model.generation_config.eos_token_id = None
    add_fused_lm_head(model)
    freeze_towers(model)
    model.train()
    prompt, media = _prompt(config, n_prompt, *grid)
    completions = [torch.randint(*TEXT_TOKENS, (n_new,)).to(device) for _ in range(group_size)]
    media = {name: tensor.to(device) for name, tensor in media.items()}
    return Work(model, prompt.to(device), media, completions)


def _config(shape: dict[str, Any]) -> Qwen2_5OmniThinkerConfig:
    heads, kv_heads = shape["heads"]
    width, mels = shape["text"]["hidden_size"], shape["mels"]
    return Qwen2_5OmniThinkerConfig(
        audio_config={
            **shape["audio"],
            "encoder_ffn_dim": 4 * shape["audio"]["d_model"],
            "num_mel_bins": mels,
            "output_dim": width,
        },
        vision_config={**shape["vision"], "out_hidden_size": width},
        text_config={
            **shape["text"],
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": shape["vocab_size"],
            "tie_word_embeddings": True,
            "pad_token_id": 0,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": shape["mrope"],
            },
        },
        **dict(
            zip(
                (
                    *("audio_token_index", "image_token_index", "video_token_index"),
                    *("audio_start_token_id", "audio_end_token_id"),
                    *("vision_start_token_id", "vision_end_token_id"),
                ),
                MARKS,
                strict=True,
            )
        ),
    )


def _prompt(
    config: Any, n_prompt: int, height: int, width: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eight frames (by default of 280 x 280 pixels, 400 tokens), ten seconds of sound (250 tokens),
    and text.
    """
    vision, n_grids, n_mel_frames = config.vision_config, 4, 1000
    n_patches = n_grids * height * width
    media = {
        "pixel_values_videos": torch.randn(
            n_patches, 3 * vision.temporal_patch_size * vision.patch_size**2
        ),
        "video_grid_thw": torch.tensor([[n_grids, height, width]]),
        "video_second_per_grid": torch.tensor([2.5]),
        "input_features": torch.randn(1, config.audio_config.num_mel_bins, n_mel_frames),
        "feature_attention_mask": torch.ones(1, n_mel_frames, dtype=torch.long),
    }
    seen = [config.vision_start_token_id, *[config.video_token_id] * (n_patches // 4)]
    heard = [config.audio_start_token_id, *[config.audio_token_id] * (n_mel_frames // 4)]
    marked = torch.tensor([*seen, config.vision_end_token_id, *heard, config.audio_end_token_id])
    text = torch.randint(*TEXT_TOKENS, (n_prompt - len(marked),))
    return torch.cat([text[:8], marked, text[8:]]), media


def timed(work: Work, run: Callable[[str], Any], repeats: int) -> dict[str, float]:
    """Median seconds of each way; the ways take turns."""
    on_gpu = work.prompt.is_cuda
    clock = time.perf_counter if on_gpu else time.process_time
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(repeats + 1):
        for way in WAYS:
            started = clock()
            run(way)
            if on_gpu:
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[way].append(clock() - started)
    return {way: statistics.median(times) for way, times in seconds.items()}


def peak_bytes(arguments: list[str], way: str) -> int:
    """What one update takes beyond the resting model, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", way, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _print_peak(work: Work, way: str) -> None:
    if work.prompt.is_cuda:
        before = torch.cuda.memory_allocated()
        work.update(way)
        print(torch.cuda.max_memory_allocated() - before)
        return
    for parameter in work.model.parameters():  # gradients are there before and after
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    # The kernel's own record of the peak, set back to what is in use now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_rss()
    work.update(way)
    print(_peak_rss() - before)


def _peak_rss() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _row(what: str, value: str, bar: str) -> None:
    print(f"| {what} | {value} | {bar} |", flush=True)


def _compare(work: Work, repeats: int, bar: str, peak_tflops: float) -> None:
    n_prompt, n_new, size = len(work.prompt), len(work.completions[0]), len(work.completions)
    seconds = timed(work, work.update, repeats)
    ratio = seconds["separate"] / seconds["shared"]
    label = f"P = {n_prompt}, R = {n_new}, G = {size}"
    _row(f"update, {label}: separate / shared", f"{ratio:.2f}", bar)
    _row("seconds per update", " / ".join(f"{seconds[way]:.3f}" for way in WAYS), "")
    if work.prompt.is_cuda:
        tokens = n_prompt + size * n_new
        n_weights = sum(p.numel() for p in work.model.base_model.language_model.parameters())
        tflops = 8 * n_weights * tokens / seconds["shared"] / 1e12  # 2 reference, 6 policy
        _row("tokens per second, shared", f"{tokens / seconds['shared']:.0f}", "")
        share = f"{tflops / peak_tflops:.2f}" if peak_tflops else "?"
        _row(
            "TFLOP/s of the language model, shared (share of the peak)",
            f"{tflops:.0f} ({share})",
            "",
        )


def _check(work: Work) -> None:
    logprobs = {way: work.logprobs(way).detach().float() for way in WAYS}
    gradients = {way: work.update(way).double() for way in WAYS}
    difference = (logprobs["separate"] - logprobs["shared"]).abs().max().item()
    cosine = torch.cosine_similarity(gradients["separate"], gradients["shared"], dim=0).item()
    exact = work.prompt.device.type == "cpu"
    _row("log-probabilities, largest difference", f"{difference:.1e}", "1e-4" if exact else "")
    _row("gradient, cosine", f"{cosine:.8f}", "0.99999" if exact else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-omni-3b" if on_gpu else "small")
    parser.add_argument("--prompt", type=int, default=1024, help="tokens of the prompt")
    parser.add_argument("--completion", type=int, default=128, help="tokens of a completion")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=0, help="the GPU's, in bfloat16")
    parser.add_argument("--memory-of", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = "cuda" if on_gpu else "cpu"
    torch.set_num_threads(torch.get_num_threads() if on_gpu else 1)
    transformers.utils.logging.set_verbosity_error()

    def work(group_size: int) -> Work:
        return make_work(options.shape, device, options.prompt, options.completion, group_size)

    if options.memory_of:
        _print_peak(work(4), options.memory_of)
        return
    where = torch.cuda.get_device_name() if on_gpu else "CPU time of one thread"
    print(
        f"{options.shape}, {where}, torch {torch.__version__}\n\n| | | bar |\n| --- | --- | --- |"
    )
    four = work(4)
    _check(four)
    _compare(four, options.repeats, "2.3", options.peak_tflops)
    seconds = timed(four, four.rollout, options.repeats)
    ratio = seconds["separate"] / seconds["shared"]
    _row("rollout of G = 4: separate prefills / shared", f"{ratio:.2f}", "1.5")
    del four
    shape = ["--shape", options.shape, "--prompt", str(options.prompt)]
    shape += ["--completion", str(options.completion)]
    peaks = {way: peak_bytes(shape, way) for way in WAYS}
    _row(
        "peak memory of the update, G = 4: shared / separate",
        f"{peaks['shared'] / peaks['separate']:.2f}",
        "0.6",
    )
    _row("MB beyond the resting model", " / ".join(f"{peaks[way] / 1e6:.0f}" for way in WAYS), "")
    _compare(work(8), options.repeats, "3.5", options.peak_tflops)


if __name__ == "__main__":
    main()
