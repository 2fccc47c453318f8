"""A step of GRPO whose towers compute a prompt once, against towers that compute in every pass.

Makes a thinker with random weights in the proportions of Qwen2.5-Omni-3B, frozen towers, and for
each size of clip a prompt and G random completions. A step is the rollout, the reference's
log-probabilities, the policy's, and the backward pass. "every pass" is the way of transformers:
towers in all three passes, attention window by window; "once" is AVRT's. Beside it stands a forward
and backward pass as in SFT, where only the windows differ. Times are medians of runs that
alternate, CPU time of one thread. Needs AVRT with the extra `train`.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers

from avrt.engines.windows import TOWERS, set_tower_attention
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.shared_prefix import share_attention
from avrt.train.towers import states_given, tower_states
from train_grpo import MARKS, Work, make_work

WAYS = ("every pass", "once")
CLIPS = {"280 x 280": (20, 20), "1008 x 560": (40, 72)}
"""Patches of a frame, by its pixels."""
TEXT = 150
"""Tokens of text in a prompt."""


def _use(work: Work, way: str) -> None:
    if way == "once":
        set_tower_attention(work.model)
        return
    for tower in TOWERS:
        getattr(work.model.base_model, tower).config._attn_implementation = "sdpa"


def step(work: Work, way: str) -> None:
    """Rollout, reference, policy and backward pass."""
    _use(work, way)
    sampler = Sampler(len(work.completions[0]), 1.0, end_ids=(), suppress_ids=MARKS)
    states = [tower_states(work.model, work.media)] if way == "once" else []
    with states_given(work.model, states):
        with torch.no_grad():
            sample_groups(work.model, [work.prompt], [work.media], len(work.completions), sampler)
        work.update("shared")


def sft_pass(work: Work, way: str) -> None:
    """A forward and a backward pass over one prompt and completion."""
    _use(work, way)
    one = Work(work.model, work.prompt, work.media, work.completions[:1])
    one.model.zero_grad()
    one.logprobs("shared").mean().backward()


def difference(work: Work) -> float:
    """Largest difference of log-probabilities between the ways of computing the towers."""
    scores = []
    for way in WAYS:
        _use(work, way)
        states = [tower_states(work.model, work.media)] if way == "once" else []
        with torch.no_grad(), states_given(work.model, states):
            scores.append(work.logprobs("shared"))
    return (scores[0] - scores[1]).abs().max().item()


def seconds(run: Callable[[str], None], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each way."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(repeats + 1):
        for way in WAYS:
            started = time.process_time()
            run(way)
            if number:  # the first round warms up
                times[way].append(time.process_time() - started)
    return {way: statistics.median(of_way) for way, of_way in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--completion", type=int, default=128, help="tokens of a completion")
    parser.add_argument("--group", type=int, default=4, help="completions of a prompt")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    print("| clip | media tokens | pass | every pass (s) | once (s) | ratio |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for clip, grid in CLIPS.items():
        n_media = grid[0] * grid[1] + 250
        work = make_work("quarter", "cpu", n_media + TEXT, options.completion, options.group, grid)
        share_attention(work.model)
        for name, run in (("GRPO step", step), ("SFT pass", sft_pass)):
            times = seconds(lambda way, run=run, work=work: run(work, way), options.repeats)
            every, once = times["every pass"], times["once"]
            row = (clip, n_media, name, f"{every:.2f}", f"{once:.2f}", f"{every / once:.2f}")
            print("|", " | ".join(map(str, row)), "|", flush=True)
        print(f"{clip}: largest difference of log-probabilities {difference(work):.1e}")


if __name__ == "__main__":
    main()
