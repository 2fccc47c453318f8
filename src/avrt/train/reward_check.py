"""Before GRPO: what the policy's completions earn now, and whether there is anything to learn from.

A group whose completions all earn the same gives no advantage, so no gradient. When that is so in
every group, training would only move the policy away from where it is, by the KL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev
from textwrap import shorten

import torch

from avrt.config import Config
from avrt.engines.encode import Encoded, suppress_token_ids
from avrt.engines.weights import pick_device
from avrt.errors import AvrtError, ConfigError, MediaError
from avrt.ranks import is_launched
from avrt.runs import student_path
from avrt.train.checkpoint import load_student
from avrt.train.data import Example, PromptEncoder, read_prompts
from avrt.train.held_out import spread
from avrt.train.rewards import REWARDS, reward_weights
from avrt.train.rollout import Sampler, sample_groups

__all__ = ["check_rewards"]

N_PROMPTS = 32

Scored = list[tuple[Example, list[str], list[dict[str, float]]]]
"""For each prompt its completions, and of each completion the rewards by name."""


def check_rewards(config: Config, force: bool = False) -> str:
    """Roll out 32 prompts, taken evenly, as GRPO would at its first step; writes nothing.

    Raises:
        AvrtError: no group has rewards that differ, and `force` is not set.
        ConfigError: several processes were launched.
    """
    if is_launched():
        raise ConfigError(
            "--reward-check runs in one process; run `avrt grpo ... --reward-check --dry-run` "
            "without the launcher first"
        )
    scored = _roll_out(config)
    text, n_spread = _render(config, scored)
    if n_spread or force:
        return text
    totals = {_total(config, rewards) for _, _, group in scored for rewards in group}
    what = "are all 0" if totals == {0.0} else "are the same inside every group"
    raise AvrtError(
        f"{text}\ngrpo: the rewards of all {sum(len(group) for _, _, group in scored)} completions "
        f"{what}, so there is nothing to learn from; fine-tune the policy first, look at the "
        "completions above, raise grpo.temperature or grpo.group_size, or train anyway with --force"
    )


def _roll_out(config: Config) -> Scored:
    grpo = config.grpo
    names = list(reward_weights(grpo))
    model, processor = load_student(student_path(config, grpo.init))
    model = model.to("cpu" if config.student.device == "cpu" else pick_device("auto"))
    tokenizer = processor.tokenizer
    sampler = Sampler(
        max_new_tokens=grpo.max_new_tokens,
        temperature=grpo.temperature,
        end_ids=(tokenizer.eos_token_id,),
        suppress_ids=tuple(suppress_token_ids(processor)),
    )
    prompts = _encode(config, PromptEncoder(config, processor))
    torch.manual_seed(config.run.seed)
    scored: Scored = []
    for first in range(0, len(prompts), grpo.prompts_per_step):
        part = prompts[first : first + grpo.prompts_per_step]
        completions = sample_groups(
            model,
            [encoded.input_ids.to(model.device) for _, encoded in part],
            [encoded.media for _, encoded in part],
            grpo.group_size,
            sampler,
        )
        texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
        for place, (example, _) in enumerate(part):
            group = texts[place * grpo.group_size : (place + 1) * grpo.group_size]
            paid = [
                {name: REWARDS[name](text, example.sample, grpo) for name in names}
                for text in group
            ]
            scored.append((example, group, paid))
    return scored


def _encode(config: Config, encoder: PromptEncoder) -> list[tuple[Example, Encoded]]:
    """The prompts whose clips can be read."""
    examples = spread(read_prompts(config), N_PROMPTS, "--reward-check")
    encoded: list[tuple[Example, Encoded]] = []
    for example in examples:
        try:
            encoded.append((example, encoder(example.sample)))
        except MediaError:  # counted and named when the stage runs
            continue
    if not encoded:
        raise AvrtError(f"{config.data.root}: none of the {len(examples)} clips can be read")
    return encoded


def _render(config: Config, scored: Scored) -> tuple[str, int]:
    """The report, and the number of groups whose rewards differ."""
    weights = reward_weights(config.grpo)
    totals = [[_total(config, rewards) for rewards in paid] for _, _, paid in scored]
    n_completions = sum(len(group) for group in totals)
    lines = [f"grpo: rewards of {n_completions} completions, {len(scored)} prompts"]
    ranked = sorted(range(len(scored)), key=lambda place: fmean(totals[place]))
    for place in dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]]):
        example, texts, paid = scored[place]
        best = max(range(len(texts)), key=lambda k: totals[place][k])
        earned = ", ".join(f"{name} {value:g}" for name, value in paid[best].items())
        lines.append(f"  {example.sample.id} (target {example.sample.target}): {earned}")
        lines.append(f"    {shorten(texts[best], 300) or '(nothing)'}")
    columns = {name: [[r[name] for r in paid] for _, _, paid in scored] for name in weights}
    columns["weighted sum"] = totals
    for name, groups in columns.items():
        values = [value for group in groups for value in group]
        n_spread = sum(len(set(group)) > 1 for group in groups)
        within = fmean(pstdev(group) for group in groups)
        lines.append(
            f"  {name}: mean {fmean(values):.3f}, {_distribution(values)}; differs in {n_spread} "
            f"of {len(groups)} groups, spread inside them {within:.3f}"
        )
    return "\n".join(lines), sum(len(set(group)) > 1 for group in totals)


def _total(config: Config, rewards: dict[str, float]) -> float:
    return sum(weight * rewards[name] for name, weight in reward_weights(config.grpo).items())


def _distribution(values: Sequence[float]) -> str:
    """Each value with its count, or the quarters when there are many."""
    counts = Counter(values)
    if len(counts) <= 5:
        return ", ".join(f"{value:g}: {n}" for value, n in sorted(counts.items()))
    ordered = sorted(values)
    places = [round(share * (len(ordered) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)]
    return "quarters at " + ", ".join(f"{ordered[place]:.2f}" for place in places)
