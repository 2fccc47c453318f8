"""Group relative policy optimisation of the student on format and accuracy rewards.

For each prompt, G completions are sampled; a completion's advantage is (reward - group mean) /
(group std + 1e-4) and the same for all its tokens. The loss is the mean over completions of the
mean over tokens of -min(r A, clip(r, 1 - epsilon, 1 + epsilon) A) + beta KL(policy || reference),
with KL as exp(d) - d - 1. With one update per rollout, the default, r is 1 and the clip is at rest;
settings of TRL's names change the objective. Departure from the paper: the standard deviation is
the sample's (G - 1).

Reads RUN/dataset/train.parquet or RUN/samples.parquet (`grpo.data`, `grpo.view`), the clips, and
the policy to start from (`grpo.init`); writes RUN/grpo*/: checkpoints/ (two, resumable), log.jsonl,
completions.jsonl, dropped.jsonl, model/. TRL's `GRPOTrainer` runs the loop; see
`avrt.train.omni_grpo`.

    avrt grpo configs/demo.yaml
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from trl.trainer.grpo_config import GRPOConfig

from avrt.answers import extract_answer
from avrt.config import Config, GrpoConfig, StudentConfig
from avrt.datasets import require_media
from avrt.engines.encode import suppress_token_ids
from avrt.errors import ConfigError
from avrt.generate.verdict import describe_judge
from avrt.ranks import n_processes
from avrt.runs import Result, alone, open_stage, save_config, student_path
from avrt.train.callbacks import require_trackers
from avrt.train.checkpoint import (
    build_student,
    count_parameters,
    load_student,
    lora_config,
    old_names_allowed,
    open_checkpoints,
    require_student,
    save_model,
    student_settings,
)
from avrt.train.data import (
    Example,
    PromptEncoder,
    UsableExamples,
    id_dataset,
    keep_usable,
    refuse_unread,
)
from avrt.train.doubts import doubt_grpo
from avrt.train.dropped import Dropped
from avrt.train.feed import Feed, Take
from avrt.train.grpo_prompts import choice_of_prompts, read_grpo_prompts
from avrt.train.held_out import FIELDS as HELD_OUT_FIELDS
from avrt.train.held_out import HeldOut, spread
from avrt.train.judge_reward import choose_judge, open_judge
from avrt.train.kept import KeepCheckpoints
from avrt.train.launch import on_cpu, require_launch
from avrt.train.log import CompletionLog, TrainingLog, read_log, warning_lines
from avrt.train.lost import LimitWaiting, naming_lost_processes
from avrt.train.omni_grpo import OmniGRPOTrainer
from avrt.train.plan import describe_inputs, prompt_limit
from avrt.train.rewards import REWARDS, reward_weights
from avrt.train.room import require_room
from avrt.train.server_rollouts import DIFFERENCE, ServerRollouts, require_plain, require_server
from avrt.train.split import as_started
from avrt.train.trainer import activation_checkpointing, common_arguments, train_logged
from avrt.types import Sample

__all__ = ["make_trainer", "plan", "run"]

LOG_FIELDS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "rewards/format/mean": "reward_format",
    "rewards/accuracy/mean": "reward_accuracy",
    "rewards/length/mean": "reward_length",
    "rewards/judge/mean": "reward_judge",
    "judge_failed": "judge_failed",
    "kl": "kl",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_fraction",
    "completions/mean_length": "completion_length",
    "completions/max_length": "completion_length_max",
    "completions/clipped_ratio": "truncated",
    "frac_reward_zero_std": "zero_spread",
    "dropped_groups": "dropped_groups",
    DIFFERENCE: "server_difference",
    "sampling/sampling_logp_difference/max": "server_difference_max",
    "sampling/importance_sampling_ratio/mean": "importance_ratio",
    "parsed": "parsed",
    "pass_at_g": "pass_at_g",
    **{name: name for name in ("tokens_per_s", "step_time_s", "waiting", "memory_gib")},
    **{name: name for name in HELD_OUT_FIELDS},
}
"""TRL's name of each metric, and its name in log.jsonl."""
FREE = {
    *("recipe", "init", "output", "save_steps", "keep_checkpoints", "gradient_checkpointing"),
    *("eval_steps", "eval_samples", "kl_steps", "cuda_graph", "logged_groups"),
}
"""Settings that do not change the policy, so that a finished training stays valid.

`init` may be a path of this machine; the identity of its checkpoint is among the student's
settings.
"""
ADDED = {
    "loss_type": "grpo",
    "epsilon_high": None,
    "importance_sampling_level": "token",
    "scale_rewards": "group",
    "num_iterations": 1,
    "steps_per_rollout": 1,
    "mask_truncated_completions": False,
    "top_entropy_quantile": 1.0,
    "view": None,
    "drop_zero_spread": False,
    "resampling_rounds": 3,
    "judge_weight": 0.0,
    "judge": None,
    "judge_limit_s": 60.0,
    "rollouts": None,
}
"""Later settings, with the values that trainings had before there were settings for them."""
CORRECTION = {"importance_sampling_mode", "importance_sampling_clip_max"}
"""The settings of a server's rollouts that change the policy."""
SHOWN = {"reward": "reward", "kl": "kl", "eval_accuracy": "held-out accuracy"}


@alone(lambda config: config.run.path / config.grpo.output)
@naming_lost_processes(lambda config: config.run.path / config.grpo.output)
def run(config: Config) -> Result:
    """Train the policy; continue an interrupted training, and skip a finished one."""
    grpo, student, run_folder = config.grpo, config.student, config.run.path
    name, folder = grpo.output, run_folder / grpo.output
    require_launch(student)
    require_trackers(config.run.report_to)
    if grpo.rollouts is not None:
        require_server(grpo.rollouts, student)
    policy = student_path(config, grpo.init)
    require_student(policy, student.revision_of(policy))
    if student.deepspeed and student.dtype == "bfloat16" and not grpo.share_prompts:
        raise ConfigError(
            "grpo.share_prompts = false with student.deepspeed in bfloat16: DeepSpeed would "
            "round the seconds per frame of rollouts, so their positions would differ from those "
            "of the loss; set grpo.share_prompts=true or student.deepspeed=null"
        )
    if grpo.cuda_graph:
        _require_graph(student)
    settings = student_settings(policy, student, config.media, config.run.seed)
    settings["grpo"] = _settings(grpo)
    settings = as_started(settings, "grpo", run_folder, folder)
    judge = choose_judge(grpo, config.judges)
    if judge is not None:
        settings["judge"] = describe_judge(config.judges[judge], config.media)
    choice, files = choice_of_prompts(run_folder, grpo, config.build)
    stage = open_stage(run_folder, name, settings | choice, files)
    if stage.done and (folder / "model" / "config.json").is_file():
        return Result(f"{name}: already done, {folder / 'model'}", stage.counts())
    longest = prompt_limit(build_student(policy, student), grpo)
    require_room(policy, grpo, student, config.media)
    checkpoint = open_checkpoints(folder / "checkpoints", stage)
    save_config(config)

    chosen = read_grpo_prompts(run_folder, grpo, config.build, config.run.seed)
    examples = chosen.trained
    require_media(config.data.root, [example.sample for example in examples])
    for example in examples:  # a bad target is refused now, not at the step that samples it
        for reward in reward_weights(grpo):
            REWARDS[reward]("", example.sample, grpo)
    validation_examples: list[Example] = []
    if grpo.eval_samples:
        validation_examples = spread(chosen.held_out, grpo.eval_samples, "grpo.eval_samples")
    model, processor = load_student(policy, student)
    encoder = PromptEncoder(
        processor,
        *(config.data.root, config.media, student.prompt),
        interleaved=student.use_audio_in_video,
    )
    samples = [example.sample for example in (*examples, *validation_examples)]
    dropped = Dropped(folder / "dropped.jsonl", config.generate.max_failure_rate, checkpoint)
    n_ahead = 2 * grpo.prompts_per_step * grpo.steps_per_rollout
    with ExitStack() as stack:
        feed = stack.enter_context(closing(Feed(encoder, samples, dropped, n_ahead)))
        n_tokens = feed.count(run_folder)
        prompts = keep_usable(name, examples, n_tokens, longest)
        validation = UsableExamples()
        if validation_examples:
            validation = keep_usable(f"{name} validation", validation_examples, n_tokens, longest)
        dropped.begin([*prompts.lost, *validation.lost])
        refuse_unread(name, run_folder, prompts, validation)

        judging = stack.enter_context(
            open_judge(config.run, grpo, config.judges, config.media, prompts.kept)
        )
        trainer = make_trainer(config, model, processor, encoder, prompts.kept, judging, feed.take)
        log = TrainingLog(folder / "log.jsonl", LOG_FIELDS, partial(doubt_grpo, grpo))
        parameters = count_parameters(trainer.model)
        held_out = HeldOut(trainer, config.eval, feed, validation.kept, grpo.eval_steps)
        trainer.add_callback(KeepCheckpoints(folder, grpo.keep_checkpoints))
        trainer.add_callback(LimitWaiting(student.process_timeout_s))
        if grpo.logged_groups:
            every = grpo.updates_per_rollout
            path, rollout = folder / "completions.jsonl", trainer.last_rollout
            trainer.add_callback(CompletionLog(path, rollout, grpo.logged_groups, every))
        train_logged(trainer, log, SHOWN, checkpoint, held_out, feed)
    save_model(trainer, processor, folder / "model")

    counts = {
        **dropped.counts_after(trainer, prompts),
        "steps": trainer.state.global_step,
        **{f"parameters/{key}": count for key, count in parameters.items()},
    }
    if trainer.is_world_process_zero():
        stage.finish(counts)
    return Result(_summary(name, folder, counts), counts, dropped.fault())


def _settings(grpo: GrpoConfig) -> dict[str, Any]:
    """Give the settings that change the policy; trainings of before `ADDED` stay valid."""
    settings = grpo.model_dump(exclude=FREE)
    if grpo.rollouts is not None:
        settings["rollouts"] = grpo.rollouts.model_dump(include=CORRECTION)
    added = ADDED.items()
    return {name: value for name, value in settings.items() if (name, value) not in added}


def make_trainer(
    config: Config,
    model: Any,
    processor: Any,
    encoder: PromptEncoder,
    examples: Sequence[Example],
    judging: Callable[..., list[float]] | None = None,
    take: Take | None = None,
) -> OmniGRPOTrainer:
    """Build the trainer with the paper's objective, and set TRL's defaults that deviate from it.

    `judging` is the reward that asks a judge, of weight `grpo.judge_weight`; `take` gives the
    prompts' inputs, by default read where they are needed.

    Raises:
        ConfigError: fewer prompts than a step needs.
    """
    grpo = config.grpo
    _require_prompts(grpo, len(examples))
    samples = {example.sample.id: example.sample for example in examples}
    weights = reward_weights(grpo)
    rewards = [_reward_function(name, samples, grpo) for name in weights]
    if judging is not None:
        rewards, weights = [*rewards, judging], {**weights, "judge": grpo.judge_weight}
    passes = grpo.prompts_per_step * grpo.group_size // grpo.per_device_batch_size
    server, correction = None, {}
    if grpo.rollouts is not None:
        server = ServerRollouts(grpo, config.student, model, processor)
        chosen = grpo.rollouts.model_dump(include=CORRECTION)
        correction = {f"vllm_{name}": value for name, value in chosen.items()}
    arguments = GRPOConfig(
        **common_arguments(config.run, config.student, grpo.output),
        max_steps=grpo.max_steps,
        num_generations=grpo.group_size,
        per_device_train_batch_size=grpo.per_device_batch_size,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes * grpo.steps_per_rollout,
        num_iterations=grpo.num_iterations,
        learning_rate=grpo.learning_rate,
        warmup_steps=grpo.warmup_steps,
        weight_decay=grpo.weight_decay,
        max_grad_norm=grpo.max_grad_norm,
        **activation_checkpointing(grpo.gradient_checkpointing),
        save_steps=grpo.save_steps,
        loss_type=grpo.loss_type,
        epsilon=grpo.epsilon,
        epsilon_high=grpo.epsilon_high,
        # Above 0, TRL makes a reference model.
        beta=grpo.beta or float(grpo.has_reference),
        use_bias_correction_kl=False,
        importance_sampling_level=grpo.importance_sampling_level,
        scale_rewards=grpo.scale_rewards,
        mask_truncated_completions=grpo.mask_truncated_completions,
        top_entropy_quantile=grpo.top_entropy_quantile,
        reward_weights=list(weights.values()),
        max_completion_length=grpo.max_new_tokens,
        temperature=grpo.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        generation_kwargs={"suppress_tokens": suppress_token_ids(processor)},
        disable_dropout=True,
        log_completions=False,
        **correction,
    )
    with old_names_allowed():
        return OmniGRPOTrainer(
            model=model,
            args=arguments,
            reward_funcs=rewards,
            train_dataset=id_dataset("prompt", examples),
            processing_class=processor,
            peft_config=lora_config(config.student, model),
            take=take or encoder.take(examples),
            suppress_ids=suppress_token_ids(processor),
            share_prompts=grpo.share_prompts,
            cuda_graph=grpo.cuda_graph,
            beta=grpo.beta,
            kl_steps=grpo.kl_steps,
            resampling_rounds=grpo.resampling_rounds if grpo.drop_zero_spread else 0,
            server=server,
        )


def _require_graph(student: StudentConfig) -> None:
    """Refuse a CUDA graph where there is none.

    Raises:
        ConfigError: training runs on the CPU.
    """
    if on_cpu(student):
        raise ConfigError(
            "grpo.cuda_graph = true: a CUDA graph needs a GPU, and training runs on the CPU here; "
            "set grpo.cuda_graph=false"
        )


def _require_prompts(grpo: GrpoConfig, n_prompts: int) -> None:
    """Refuse fewer prompts than a rollout takes.

    Raises:
        ConfigError: there are fewer.
    """
    if n_prompts >= grpo.prompts_per_step * grpo.steps_per_rollout * n_processes():
        return
    steps = f" x steps_per_rollout = {grpo.steps_per_rollout}" if grpo.steps_per_rollout > 1 else ""
    each = f" on each of {n_processes()} processes" if n_processes() > 1 else ""
    raise ConfigError(
        f"grpo.prompts_per_step = {grpo.prompts_per_step}{steps}{each}, "
        f"but the dataset has only {n_prompts} usable prompts"
    )


def _reward_function(
    name: str, samples: Mapping[str, Sample], grpo: GrpoConfig
) -> Callable[..., list[float]]:
    """Wrap the reward `name` for TRL: prompts are sample ids, completions are texts."""

    def reward(
        prompts: Sequence[str],
        completions: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        pairs = [(text, samples[name]) for text, name in zip(completions, prompts, strict=True)]
        if name == first:
            letters = [extract_answer(text, sample.options, cut=True) for text, sample in pairs]
            right = [
                letter == sample.target for letter, (_, sample) in zip(letters, pairs, strict=True)
            ]
            size = grpo.group_size
            groups = [right[first : first + size] for first in range(0, len(right), size)]
            log_metric("parsed", fmean(letter is not None for letter in letters))
            log_metric("pass_at_g", fmean(any(group) for group in groups))
        return [REWARDS[name](text, sample, grpo) for text, sample in pairs]

    first = next(iter(reward_weights(grpo)))
    reward.__name__ = name  # TRL names its metrics after the function
    return reward


def plan(config: Config) -> str:
    """Describe what `run` would do; write nothing."""
    grpo = config.grpo
    require_trackers(config.run.report_to)
    if grpo.rollouts is not None:
        require_plain(config.student)
    judge = choose_judge(grpo, config.judges)
    try:
        policy = student_path(config, grpo.init)
        lines = []
    except ConfigError as error:
        policy = config.student.model  # as large as the result of the stage that has not run yet
        lines = [f"{grpo.output}: {error}"]
    inputs = describe_inputs(grpo.output, config, policy, with_trace=False)
    if inputs.n_samples:
        _require_prompts(grpo, inputs.n_samples)
    lines += inputs.lines
    lines.append(
        f"{grpo.output}: {grpo.max_steps} steps of {grpo.prompts_per_step * n_processes()} prompts "
        f"x {grpo.group_size} completions ({grpo.prompts_per_step} prompts x {n_processes()} "
        f"processes), at most {grpo.max_new_tokens} new tokens each"
    )
    lines += [f"{grpo.output}: {line}" for line in _describe_objective(grpo)]
    if grpo.rollouts is not None:
        lines.append(
            f"{grpo.output}: completions by {grpo.rollouts.base_url} (model "
            f"{grpo.rollouts.model}), weights through {grpo.rollouts.weights}"
        )
    if judge is not None:
        role, n = config.judges[judge], grpo.prompts_per_step * n_processes() * grpo.group_size
        lines.append(
            f"{grpo.output}: reward of judge {judge}, {role.model} ({role.engine.kind}): up to "
            f"{n * role.votes // grpo.num_iterations:,} calls per step"
        )
    lines.append(f"{grpo.output}: would write {config.run.path / grpo.output}")
    return "\n".join([*lines, *inputs.table])


def _describe_objective(grpo: GrpoConfig) -> list[str]:
    """Say what the settings of the objective come to, in lines."""
    updates = grpo.updates_per_rollout
    high = grpo.epsilon if grpo.epsilon_high is None else grpo.epsilon_high
    clip = "one update per rollout, so that no ratio is clipped"
    if updates > 1:
        level = grpo.importance_sampling_level
        clip = f"ratio of each {level} clipped to [1 - {grpo.epsilon:g}, 1 + {high:g}]"
    scale = f"advantages scaled by {grpo.scale_rewards}"
    lines = [f"loss {grpo.loss_type}, {scale}, beta {grpo.beta:g}; {clip}"]
    if updates > 1:
        lines.append(
            f"{updates} updates per rollout ({grpo.steps_per_rollout} steps of prompts x "
            f"{grpo.num_iterations} iterations); checkpoints every {grpo.save_steps} steps lie "
            "between rollouts"
        )
    if grpo.drop_zero_spread:
        lines.append(
            "groups without spread are replaced, by at most "
            f"{grpo.resampling_rounds} further rollouts per rollout"
        )
    return lines


def _summary(name: str, folder: Path, counts: Mapping[str, int]) -> str:
    rewards = [row["reward"] for row in read_log(folder / "log.jsonl") if "reward" in row]
    unused = counts["read"] - counts["kept"]
    trend = f"reward {rewards[0]:.2f} -> {rewards[-1]:.2f}, " if rewards else ""
    return (
        f"{name}: {counts['kept']} prompts ({unused} not usable), {counts['steps']} steps, "
        f"{trend}{folder / 'model'}{warning_lines(folder / 'log.jsonl')}"
    )
