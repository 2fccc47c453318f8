"""Check before GRPO that the rewards of the policy's completions differ, so that it can learn.

A group whose completions all earn the same has no advantage, so no gradient. When every group is
like that, only the KL term would train the policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, pstdev
from textwrap import shorten
from typing import Any

import torch

from avrt.answers import extract_answer
from avrt.config import Config, GrpoConfig, RolloutsConfig, StudentConfig
from avrt.engines.encode import Encoded, suppress_token_ids
from avrt.engines.weights import pick_device
from avrt.errors import AvrtError, ConfigError, MediaError
from avrt.ranks import is_launched
from avrt.runs import student_path
from avrt.train.checkpoint import load_student
from avrt.train.data import Example, PromptEncoder
from avrt.train.doubts import doubt_rewards
from avrt.train.grpo_prompts import read_grpo_prompts
from avrt.train.held_out import spread
from avrt.train.rewards import REWARDS, reward_weights
from avrt.train.rollout import Sampler, sample_groups
from avrt.train.server_rollouts import ServerRollouts, require_server

__all__ = ["check_rewards"]

N_PROMPTS = 32

Prompts = list[tuple[Example, Encoded]]
Sample = Callable[[Sequence[Encoded]], list[list[int]]]
"""Gives the completions of prompts, those of a prompt in a row."""
Scored = list[tuple[Example, list[str], list[dict[str, float]]]]
"""For each prompt its completions, and for each completion its rewards by name."""


def check_rewards(config: Config, force: bool = False) -> str:
    """Sample completions of 32 prompts as the first step of GRPO would; write nothing.

    The prompts are taken at even distances. Returns a report.

    Raises:
        AvrtError: the rewards differ in no group, and `force` is not set.
        ConfigError: several processes were launched.
    """
    if is_launched():
        raise ConfigError(
            "--reward-check needs a single process; run `avrt grpo ... --reward-check --dry-run` "
            "without the launcher first"
        )
    grpo, student, root = config.grpo, config.student, config.data.root
    if grpo.rollouts is not None:
        require_server(grpo.rollouts, student)
    policy = student_path(config, grpo.init)
    revision = student.revision_of(policy)
    model, processor = load_student(
        policy, StudentConfig(model=policy, revision=revision, dtype="float32")
    )
    model = model.to("cpu" if student.device == "cpu" else pick_device("auto"))
    encoder = PromptEncoder(
        processor, root, config.media, student.prompt, interleaved=student.use_audio_in_video
    )
    chosen = read_grpo_prompts(config.run.path, grpo, config.build, config.run.seed)
    examples = spread(chosen.trained, N_PROMPTS, "--reward-check")
    prompts = _encode(examples, encoder)
    if not prompts:
        raise AvrtError(f"{root}: none of the {len(examples)} clips can be read")
    torch.manual_seed(config.run.seed)
    sample, differences = _in_process(model, processor, grpo), list[torch.Tensor]()
    if grpo.rollouts is not None:
        server = ServerRollouts(grpo, student, model, processor)
        half = torch.autocast(model.device.type, torch.bfloat16, student.dtype == "bfloat16")
        sample = _by_server(server, model, processor.tokenizer.eos_token_id, half, differences)
    scored = _roll_out(sample, processor, prompts, grpo)
    weights = reward_weights(grpo)
    text, n_spread = _render(scored, weights)
    lines = [text, *_describe_groups(scored, n_spread, grpo), *_doubts(scored, n_spread, grpo)]
    text = "\n".join(lines)
    if grpo.rollouts is not None:
        text += f"\n{_describe_server(grpo.rollouts, torch.cat(differences), student.dtype)}"
    if n_spread or force:
        return text
    totals = {_total(weights, rewards) for _, _, group in scored for rewards in group}
    fault = "are all 0" if totals == {0.0} else "are the same inside every group"
    raise AvrtError(
        f"{text}\ngrpo: the rewards of all {sum(len(group) for _, _, group in scored)} completions "
        f"{fault}, so there is nothing to learn from; read the completions above, fine-tune the "
        "policy first, raise grpo.temperature or grpo.group_size, or train anyway with --force"
    )


def _encode(examples: Sequence[Example], encoder: PromptEncoder) -> Prompts:
    """Encode the examples whose clips can be read."""
    prompts: Prompts = []
    for example in examples:
        try:
            prompts.append((example, encoder(example.sample)))
        except MediaError:  # counted and named when the stage runs
            continue
    return prompts


def _in_process(model: Any, processor: Any, grpo: GrpoConfig) -> Sample:
    sampler = Sampler(
        max_new_tokens=grpo.max_new_tokens,
        temperature=grpo.temperature,
        end_ids=(processor.tokenizer.eos_token_id,),
        suppress_ids=tuple(suppress_token_ids(processor)),
    )

    def sample(rows: Sequence[Encoded]) -> list[list[int]]:
        ids = [row.input_ids.to(model.device) for row in rows]
        return sample_groups(model, ids, [row.media for row in rows], grpo.group_size, sampler)

    return sample


def _by_server(
    server: ServerRollouts, model: Any, end_id: int, autocast: Any, differences: list[torch.Tensor]
) -> Sample:
    """Sample by the server, with the weights of `model`; collect how far the two are apart."""
    server.hand_over(model, 0)

    def sample(rows: Sequence[Encoded]) -> list[list[int]]:
        media = [row.media for row in rows]
        completions, drawn = server.sample(
            [row.input_ids.tolist() for row in rows], media, (end_id,)
        )
        prompts = [row.input_ids.to(model.device) for row in rows]
        with autocast:
            differences.append(server.difference(model, prompts, media, completions, drawn))
        return completions

    return sample


def _describe_server(rollouts: RolloutsConfig, differences: torch.Tensor, dtype: str) -> str:
    mean, most = float(differences.mean()), float(differences.max())
    line = (
        f"  rollouts by {rollouts.base_url}: log-probabilities of {len(differences):,} tokens "
        f"differ from the trainer's in {dtype} by {mean:.2g} on average, {most:.2g} at most"
    )
    if mean > rollouts.max_difference:
        line += f", above grpo.rollouts.max_difference = {rollouts.max_difference:g}"
    return line


def _roll_out(sample: Sample, processor: Any, prompts: Prompts, grpo: GrpoConfig) -> Scored:
    names = list(reward_weights(grpo))
    scored: Scored = []
    for first in range(0, len(prompts), grpo.prompts_per_step):
        part = prompts[first : first + grpo.prompts_per_step]
        completions = sample([encoded for _, encoded in part])
        texts = processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
        for number, (example, _) in enumerate(part):
            group = texts[number * grpo.group_size : (number + 1) * grpo.group_size]
            paid = [
                {name: REWARDS[name](text, example.sample, grpo) for name in names}
                for text in group
            ]
            scored.append((example, group, paid))
    return scored


def _render(scored: Scored, weights: Mapping[str, float]) -> tuple[str, int]:
    """Write the report, and count the groups whose rewards differ."""
    totals = [[_total(weights, rewards) for rewards in paid] for _, _, paid in scored]
    n_completions = sum(len(group) for group in totals)
    lines = [f"grpo: rewards of {n_completions} completions, {len(scored)} prompts"]
    ranked = sorted(range(len(scored)), key=lambda group: fmean(totals[group]))
    for group in dict.fromkeys([ranked[0], ranked[len(ranked) // 2], ranked[-1]]):
        example, texts, paid = scored[group]
        best = max(range(len(texts)), key=lambda k: totals[group][k])
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
            f"of {len(groups)} groups, mean standard deviation inside a group {within:.3f}"
        )
    return "\n".join(lines), sum(len(set(group)) > 1 for group in totals)


def _describe_groups(scored: Scored, n_spread: int, grpo: GrpoConfig) -> list[str]:
    """Say how many groups have a right completion, and what becomes of those without spread."""
    n_right = sum(
        any(extract_answer(text, of.sample.options, cut=True) == of.sample.target for text in texts)
        for of, texts, _ in scored
    )
    lines = [f"  pass@{grpo.group_size}: {n_right} of {len(scored)} groups have a right completion"]
    if grpo.drop_zero_spread:
        n_same = len(scored) - n_spread
        lines.append(f"  grpo.drop_zero_spread would replace {n_same} of {len(scored)} groups")
    if grpo.judge_weight:
        lines.append("  the judge was not asked: its reward is not among these")
    return lines


def _doubts(scored: Scored, n_spread: int, grpo: GrpoConfig) -> list[str]:
    """Warnings about a start from which there is little to learn, for lines of their own."""
    weights = reward_weights(grpo)
    earned = fmean(_total(weights, rewards) for _, _, paid in scored for rewards in paid)
    # The judge, which was not asked, cannot have paid less than nothing or more than its weight.
    settings = grpo.model_copy(update={"judge_weight": 0.0})
    found = doubt_rewards(settings, earned, 1 - n_spread / len(scored))
    return [f"  warning: {text}" for text in found.values()]


def _total(weights: Mapping[str, float], rewards: Mapping[str, float]) -> float:
    return sum(weight * rewards[name] for name, weight in weights.items())


def _distribution(values: Sequence[float]) -> str:
    """List each value with its count, or the quartiles of more than five values."""
    counts = Counter(values)
    if len(counts) <= 5:
        return ", ".join(f"{value:g}: {n}" for value, n in sorted(counts.items()))
    ordered = sorted(values)
    indices = [round(share * (len(ordered) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)]
    return "quartiles " + ", ".join(f"{ordered[index]:.2f}" for index in indices)
