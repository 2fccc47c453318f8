"""Settings of the stages that generate, train, evaluate and report.

As in `avrt.config.data`, the text below a field is its documentation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from avrt.config.data import BenchmarkConfig, DataConfig, GivenMedia
from avrt.config.engine import chat_url
from avrt.config.roles import EngineConfig, refuse_equal_answers
from avrt.config.section import Section, check_name
from avrt.types import Given

__all__ = [
    "BuildConfig",
    "EvalConfig",
    "EvalModel",
    "GenerateConfig",
    "GrpoConfig",
    "ReportConfig",
    "RolloutsConfig",
    "SftConfig",
]


KeptCheckpoints = Annotated[int, Field(ge=2)] | Literal["all"]


class GenerateConfig(Section):
    limit: int | None = Field(default=None, ge=1)
    """Ask the teachers only about the first N usable samples, in the order of the samples; the rest
    is counted as not asked, and `grpo.data=samples` may still use it. A higher one later makes only
    the new calls. null: all.
    """
    shuffle_options: bool = False
    """Show every answer of a teacher the options in another order. Letters are put back into the
    stored order before anything is compared or merged.
    """
    traces_of: str | None = None
    """A teacher whose own traces become the dataset's, without a merger; null: merged ones. Either
    way the view chooses the samples.
    """
    max_failure_rate: float = Field(default=0.2, ge=0, le=1)
    """A stage ends with exit code 1 when more than this share of its model calls fail; so do `avrt
    eval`, for each model, and `avrt rubric`. A training stops at once when more than this share of
    the clips that it has read cannot be read, eight at least.
    """
    leak_retries: int = Field(default=0, ge=0)
    """How often the merger is asked again, with the quote, when a judge finds a leak."""


class BuildConfig(Section):
    view: str = "paper"
    """Which samples are merged and kept: a packaged view (`paper`: both teachers right; `agree`:
    each right at least three times; `either`; `av_hard`: both right, not answerable blind;
    `unfiltered`), one of `views`, or a condition over the columns that `avrt list views` lists.
    """
    views: dict[str, str] = Field(default={})
    """Own views by name, each a condition."""
    same_size_as: tuple[str, ...] = ()
    """Other views; the dataset is cut, by a seeded draw, to the size of the smallest of all."""
    gates: tuple[str, ...] = ("truncated", "empty", "bad_format", "wrong_letter")
    """Gates that reject a trace. All gates write their column, whether they reject or not."""
    findings: tuple[Literal["leak", "grounding", "contradiction", "support"], ...] = ("leak",)
    """Findings of the judges that reject a trace."""
    balance_letters: bool = False
    """Let the merger see the options in an order in which the gold letters are even."""
    validation_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the clips (not rows) whose questions go to validation."""
    decontaminate: dict[str, DataConfig] = Field(default={})
    """Benchmarks whose clips and questions may not be in the dataset: name and folder of each."""


class SftConfig(Section):
    limit: int | None = Field(default=None, ge=1)
    """Fine-tune on this many rows of the training split, the first in an order that follows from
    `run.seed` and the samples' ids; null: all.
    """
    skip: int = Field(default=0, ge=0)
    """Leave out so many of the first rows in that order: a training with `limit: 150` and one with
    `skip: 150` share no row, and together see all.
    """
    learning_rate: float = Field(default=2e-6, gt=0)
    """Peak of the cosine schedule."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training set."""
    per_device_batch_size: int = Field(default=1, ge=1)
    """Samples per forward and backward pass."""
    gradient_accumulation_steps: int = Field(default=8, ge=1)
    """Passes per optimizer step, on each process."""
    warmup_steps: int = Field(default=100, ge=0)
    """Optimizer steps over which the learning rate rises from zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    max_length: int = Field(default=8192, ge=1)
    """Longest sample in tokens, media included; longer ones are dropped by name, never cut."""
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    save_steps: int = Field(default=200, ge=1)
    """Optimizer steps between checkpoints, and between losses on the validation set."""
    keep_checkpoints: KeptCheckpoints = 2
    """Checkpoints that stay: this many of the newest, or `all`. The last two can be resumed; beyond
    2, every one is kept with its weights alone, for `avrt eval --checkpoints sft`.
    """
    eval_samples: int = Field(default=0, ge=0)
    """Validation prompts that are answered greedily, and scored, with every validation loss; taken
    evenly from the set.
    """


class RolloutsConfig(Section):
    base_url: str = "http://127.0.0.1:8000/v1"
    """Address of a vLLM server of this training alone."""
    model: str = "policy"
    """The name under which the server serves the policy."""
    weights: Path = Path("/dev/shm")
    """Folder through which weights are handed over, of the same name for trainer and server: it
    needs room for the trained weights, and is empty again when the server has read them.
    """
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for the completions of a prompt, and for the server to read weights."""
    importance_sampling_mode: Literal[
        "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"
    ] = "sequence_mask"
    """Correction for tokens that the server drew from slightly other probabilities: the loss is
    multiplied by the ratio of the trainer's to the server's probability, of each token or of the
    completion, cut at `importance_sampling_clip_max` or, beyond it, replaced by 0. TRL's names and
    defaults.
    """
    importance_sampling_clip_max: float = Field(default=3.0, gt=0)
    """Largest ratio of the correction."""
    max_difference: float = Field(default=0.1, gt=0)
    """Mean difference between the trainer's and the server's log-probabilities of a rollout's
    tokens above which the training stops, because the server answers with other weights, or to
    another prompt.
    """

    @model_validator(mode="after")
    def _is_an_address(self) -> Self:
        chat_url(self.base_url)
        return self

    @property
    def root(self) -> str:
        """The address without `/v1`."""
        return self.base_url.rstrip("/").removesuffix("/v1")


class GrpoConfig(Section):
    recipe: str | None = None
    """A published set of the settings below (`avrt list recipes`): `paper`, `paper-v2`, `dapo`,
    `dr_grpo`, `gspo`, `nemo-omni` or `echoink`. Settings beside it, in later files and on the
    command line win; a recipe that is named on the command line wins over the files.
    """
    init: str = "sft"
    """Where the policy starts: `sft`, `base`, or a checkpoint folder."""
    data: Literal["dataset", "samples"] = "dataset"
    """The prompts: the training split of the dataset, or the samples that `avrt prepare` found
    usable in both modalities, of which `build.validation_fraction` of the clips is held out.
    Neither needs traces.
    """
    view: str | None = None
    """Which of the prompts are trained on: a view, or a condition, as `build.view`; null: all. A
    condition over strata makes a curriculum: `vision_first != audio_first`.
    """
    output: Annotated[
        str,
        check_name(
            r"grpo[A-Za-z0-9_-]*",
            "the folder's name begins with `grpo`, and may have letters, digits, `_` and `-`",
        ),
    ] = "grpo"
    """Folder in the run directory; a run may hold several, such as grpo and grpo-base."""
    max_steps: int = Field(default=500, ge=1)
    """Optimizer steps."""
    group_size: int = Field(default=4, ge=2)
    """Completions sampled per prompt; advantages are centred inside the group."""
    prompts_per_step: int = Field(default=8, ge=1)
    """Prompts per optimizer step on each process."""
    per_device_batch_size: int = Field(default=4, ge=1)
    """Completions per forward and backward pass."""
    share_prompts: bool = True
    """Compute a prompt once for all completions of its group, in rollouts and in training: the same
    result, several times faster. Needs whole groups in a pass.
    """
    cuda_graph: bool = False
    """Record the pass for the next tokens of a rollout as a CUDA graph, so that the GPU does not
    wait for Python. Every token then reads the keys that are reserved for all `max_new_tokens`.
    """
    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak of the cosine schedule."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimizer steps over which the learning rate rises from zero."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "grpo"
    """How the losses of tokens are summed up. `grpo`: the mean over completions of the mean over
    their tokens; `dapo`: the mean over all tokens of a step; `dr_grpo`: the sum over tokens,
    divided by completions x `max_new_tokens`; `bnpo`: the mean over all tokens of a pass.
    """
    epsilon: float = Field(default=0.2, gt=0)
    """Clipping range of the probability ratio. It acts from a rollout's second update on: see
    `num_iterations` and `steps_per_rollout`.
    """
    epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clipping range, where the lower is `epsilon`; null: the same."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Compare with the rollout's policy token by token, or by one ratio of the whole completion:
    the geometric mean of its tokens' (GSPO).
    """
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Divide advantages by the rewards' standard deviation in the group, or in all groups that are
    rolled out together, or by nothing.
    """
    num_iterations: int = Field(default=1, ge=1)
    """Updates for which each completion is used."""
    steps_per_rollout: int = Field(default=1, ge=1)
    """Optimizer steps for which completions are sampled together: `prompts_per_step` prompts for
    each. With 2 or more, later steps learn from an earlier policy's completions.
    """
    mask_truncated_completions: bool = False
    """Take no loss on completions that `max_new_tokens` cut."""
    top_entropy_quantile: float = Field(default=1.0, gt=0, le=1)
    """Share of the tokens, those of highest entropy, on which the policy's loss is taken."""
    drop_zero_spread: bool = False
    """Replace groups whose completions all earn the same, so that no advantage comes of them, by
    groups of further prompts, drawn by seed and step (dynamic sampling, DAPO).
    """
    resampling_rounds: int = Field(default=3, ge=1)
    """Rollouts of further prompts that `drop_zero_spread` makes at most; groups that still have no
    spread after them are kept.
    """
    beta: float = Field(default=0.01, ge=0)
    """Weight of the KL to the reference model: the policy as it was at the start."""
    kl_steps: int = Field(default=0, ge=0)
    """Optimizer steps between measurements of the KL to the start where `beta` is 0; 0: never. It
    takes the memory of a reference model (none with LoRA), and a forward pass of it when it
    measures.
    """
    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the rollouts."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    rollouts: RolloutsConfig | None = None
    """A vLLM server that samples the completions; null: this process does."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    format_weight: float = Field(default=1.0, ge=0)
    """Weight of the reward for a well-formed trace."""
    accuracy_weight: float = Field(default=1.0, ge=0)
    """Weight of the reward for the right letter."""
    length_weight: float = Field(default=0.0, ge=0)
    """Weight of the reward for a thought of the right length. It is min(1, exp(-(w - length_mean)^2
    / (2 length_std^2)) + length_bonus), the bonus only inside the window; w: words of the thought.
    """
    length_mean: float = Field(default=100.0, gt=0)
    """Best length of a thought, in words."""
    length_std: float = Field(default=20.0, gt=0)
    """Width of the reward around it, in words."""
    length_window: tuple[int, int] = (100, 200)
    """Shortest and longest thought that earns the bonus, in words."""
    length_bonus: float = Field(default=0.5, ge=0, le=1)
    """Bonus inside the window. The paper does not publish its value."""
    judge_weight: float = Field(default=0.0, ge=0)
    """Weight of the reward that asks a judge about each completion of the right form: 1 less a
    quarter for each kind of fault that it finds.
    """
    judge: str | None = None
    """The judge, by its name under `judges`; null: the only one."""
    judge_limit_s: float = Field(default=60.0, gt=0)
    """Seconds of each rollout after which no more calls to the judge are begun; those under way end
    by the `timeout_s` of its engine. A completion without a verdict gets no advantage from that.
    """
    gradient_checkpointing: bool = True
    """Recompute activations in the backward pass: less memory, more time."""
    save_steps: int = Field(default=50, ge=1)
    """Optimizer steps between checkpoints."""
    keep_checkpoints: KeptCheckpoints = 2
    """Checkpoints that stay: this many of the newest, or `all`. The last two can be resumed; beyond
    2, every one is kept with its weights alone, for `avrt eval --checkpoints grpo`.
    """
    eval_steps: int = Field(default=50, ge=1)
    """Optimizer steps between answers to validation prompts; also before the first step."""
    eval_samples: int = Field(default=0, ge=0)
    """Validation prompts that are answered greedily, and scored, every `eval_steps`; taken evenly
    from the set.
    """
    logged_groups: int = Field(default=1, ge=0)
    """Prompts of each rollout whose completions are written to completions.jsonl, with rewards and
    advantages, for `avrt watch` and the page.
    """

    @model_validator(mode="after")
    def _rewards_are_possible(self) -> Self:
        low, high = self.length_window
        if not 0 <= low <= high:
            raise ValueError(
                f"length_window = {list(self.length_window)}: the first number of words must be "
                "at least 0 and at most the second"
            )
        paid = self.format_weight or self.accuracy_weight or self.length_weight
        if not paid and self.judge_weight:
            raise ValueError(
                "format_weight, accuracy_weight and length_weight are all 0: a judge reads only "
                "completions of the right form, so it cannot be the only reward; give one a weight"
            )
        if not paid:
            raise ValueError(
                "format_weight, accuracy_weight and length_weight are all 0, so no completion "
                "would earn anything; give one a weight"
            )
        if self.judge is not None and not self.judge_weight:
            raise ValueError(
                f"judge = {self.judge!r} is named, but judge_weight is 0, so it would never be "
                "asked; set judge_weight, or leave judge out"
            )
        return self

    @property
    def has_reference(self) -> bool:
        """Whether the policy is compared with a reference model."""
        return self.beta > 0 or self.kl_steps > 0

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps from one rollout to the next."""
        return self.num_iterations * self.steps_per_rollout

    @model_validator(mode="after")
    def _checkpoints_lie_between_rollouts(self) -> Self:
        every = self.updates_per_rollout
        if self.save_steps % every:
            raise ValueError(
                f"save_steps = {self.save_steps} would save in the midst of a rollout's "
                f"{every} updates (num_iterations x steps_per_rollout), from where a training "
                f"cannot go on exactly; set save_steps={-(-self.save_steps // every) * every}"
            )
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        rollouts = self.prompts_per_step * self.group_size
        if rollouts % self.per_device_batch_size:
            raise ValueError(
                f"prompts_per_step x group_size = {rollouts} is not a multiple of "
                f"per_device_batch_size = {self.per_device_batch_size}"
            )
        if self.share_prompts and self.per_device_batch_size % self.group_size:
            raise ValueError(
                f"per_device_batch_size = {self.per_device_batch_size} holds no whole groups of "
                f"group_size = {self.group_size}; make it a multiple, or set share_prompts to "
                "false, which computes every prompt once per completion"
            )
        if self.cuda_graph and not self.share_prompts:
            raise ValueError(
                "cuda_graph records rollouts that share prompts; set share_prompts to true, or "
                "cuda_graph to false"
            )
        return self


class EvalModel(Section):
    """An evaluated model with settings of its own: a server, a teacher, another sampling."""

    preset: str | None = None
    """A packaged model: a baseline (`avrt list baselines`) or a teacher (`avrt list teachers`);
    settings given beside it win.
    """
    model: str
    """The checkpoint: `base`, `sft`, `grpo...` of this run, a local folder, a hub id, or
    `world:NAME`; for a server, the name it serves.
    """
    revision: str | None = None
    """Hub revision; part of the model's identity."""
    prompt: str | None = None
    """`student`: that of `student.prompt`; `direct`: asks for the letter alone; `official`: the
    words of each benchmark's authors; else the name of a packaged prompt, or the path of a prompt
    file. null: as `eval.prompt` says.
    """
    engine: EngineConfig | None = None
    """How the model is reached; null: transformers in this process, with the student's device and
    number format.
    """
    modality: Given | None = None
    """All that this model can be given; null: whatever is evaluated."""
    media: GivenMedia = GivenMedia()
    """What this model gets of the clips, in place of the sets' settings: for a model that takes
    fewer frames.
    """
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: sample only from the likeliest tokens that sum to this probability."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest completion, in tokens; null: `eval.max_new_tokens`."""
    k: int = Field(default=1, ge=1)
    """Answers per item, each with its own seed. With several, set a temperature above 0."""

    @model_validator(mode="after")
    def _answers_differ(self) -> Self:
        refuse_equal_answers("k", self.k, self.temperature, self.engine)
        return self


class EvalConfig(Section):
    benchmarks: dict[str, BenchmarkConfig] = Field(default={})
    """Name of each evaluation set, where it lies, and what models get of its media."""
    models: dict[str, str | EvalModel] = Field(
        default={"base": "base", "sft": "sft", "sft_rl": "grpo"}
    )
    """Name of each evaluated model and its checkpoint (`base`, `sft`, `grpo...` of this run, a
    folder or a hub id), or its settings, as below `eval.models.NAME`.
    """
    pools: dict[str, tuple[str, ...]] = Field(default={})
    """Models that are one model with several seeds, by the name of the whole: reported together,
    with the interval over items and the spread between them.
    """
    modalities: tuple[Given, ...] = ("a", "v", "av")
    """Inputs beside the question: audio (a), vision (v), both (av), or nothing (none)."""
    prompt: str = "student"
    """Prompt of the models that name none: as `eval.models.NAME.prompt`."""
    limit: int | None = Field(default=None, ge=1)
    """Evaluate only the first N items of each set."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and marked "length"."""
    engine: Literal["transformers", "vllm", "auto"] = "transformers"
    """Engine, in this process, of models that name none; vLLM gets the student's own inputs. `auto`
    is vLLM where it is installed.
    """
    batch_size: int = Field(default=32, ge=1)
    """Prompts answered at a time by a model in this process."""
    difficulty: dict[str, Path] = Field(default={})
    """Difficulty files made elsewhere by `avrt difficulty`, by benchmark; else this run's own."""
    published: dict[str, str] = Field(
        default={
            **dict.fromkeys(("base", "base_think"), "qwen2.5-omni-3b"),
            "rl": "avrt-3b-rl",
            "sft_rl": "avrt-3b",
        }
    )
    """Published model (`avrt list baselines`) whose figures stand beside those of a model in `avrt
    tables`, by the model's name; a model made from a baseline's preset needs no entry.
    """


class ReportConfig(Section):
    gallery_items: int = Field(default=200, ge=0)
    """Items of the page with frames, sound and spectrogram, some 300 kB each, taken in turns from
    all outcomes; the others are there with their texts. 0: none.
    """
    experiments: tuple[Path, ...] = ()
    """Folders that `avrt experiment` wrote, such as runs/experiments/NAME, whose tables and figure
    the page shows.
    """
