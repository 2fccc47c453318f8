"""The trainings of a plan: their steps, hours and checkpoints.

Nothing is read.

The decision to question: a training uses all GPUs, so its batch grows with them; `sft` then has
fewer steps, `grpo` as many as `grpo.max_steps` says, about more prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from avrt.config import GrpoConfig, MediaConfig, SftConfig, StudentConfig
from avrt.errors import ConfigError
from avrt.planning.arithmetic import adapter_gb, checkpoint_gb, sample_tflop, training_gb
from avrt.planning.generation import gpu_of, media_tokens
from avrt.planning.rates import Rate, Rates
from avrt.planning.rows import Stage, Store, counted

__all__ = ["Training"]

FRAMES = 8
"""Of `train.towers_tflop`."""
PER_GROUP = 2
"""Frames that the student's picture tower puts into one."""

ADAPTER_SHARE = 0.00055
"""Adapters of rank 1 on the default layers, of the trained weights: 1.871 M of 3.397 B."""


class Training:
    """sft and grpo of a student on so many GPUs."""

    def __init__(self, rates: Rates, student: StudentConfig, media: MediaConfig, gpus: int) -> None:
        self._rates, self._student, self._media, self._gpus = rates, student, media, gpus

    def sft_steps(self, sft: SftConfig, n_dataset: float) -> int:
        """Optimizer steps of SFT."""
        n = sft.per_device_batch_size * sft.gradient_accumulation_steps
        n_rows = min(n_dataset, sft.limit or n_dataset)
        return math.ceil(n_rows * sft.epochs / (n * self._gpus))

    def sft(self, sft: SftConfig, n_dataset: float) -> Stage:
        """Hours of all steps, of `n_dataset` rows of the training split.

        steps = rows x epochs / (samples of a process x GPUs), of at most `sft.limit` rows
        step = samples of a process x TFLOP / (TFLOP/s x share) + the optimizer's time
        """
        rates, n = self._rates, sft.per_device_batch_size * sft.gradient_accumulation_steps
        with rates.noted() as used:
            self._check_memory("sft", has_reference=False)
            n_steps = self.sft_steps(sft, n_dataset)
            reply = rates.get("sft.trace_tokens")
            each_s = rates.get("sft.sample_gpu_s", lambda: self._reckon(n, reply, 0, 0))
            note = counted(n * self._gpus, "sample")
            setting = "sft.gradient_accumulation_steps"
            note += self._keeping(n, sft.per_device_batch_size, setting, 1)
            return self._stage("sft", n_steps, n, each_s, note, used)

    def grpo(self, grpo: GrpoConfig) -> Stage:
        """Hours of all steps.

        step = prompts of a process x TFLOP of a prompt with its group / (TFLOP/s x share)
        + tokens of a reply x seconds of a decoding step + the optimizer's time. The prompt goes
        through the model once more in the rollout, all of it once more in a reference.
        """
        rates, n = self._rates, grpo.prompts_per_step
        with rates.noted() as used:
            self._check_memory("grpo", grpo.has_reference)
            reply = min(rates.get("grpo.reply_tokens"), grpo.max_new_tokens)
            step_s = rates.get("transformers.step_s")

            def reckon() -> tuple[float, str]:
                replies = reply * grpo.group_size
                compared = 1 if grpo.has_reference else 0
                seconds, formula = self._reckon(n, replies, 1 + compared, compared)
                return seconds + reply * step_s / n, f"{formula}, and decoding"

            each_s = rates.get("grpo.prompt_gpu_s", reckon)
            rows = grpo.per_device_batch_size
            least = rows // math.gcd(rows, grpo.group_size)  # whole passes
            note = counted(n * self._gpus, "prompt")
            note += self._keeping(n, least, "grpo.prompts_per_step", least)
            return self._stage("grpo", grpo.max_steps, n, each_s, note, used)

    def _keeping(self, n: int, least: int, setting: str, value: int) -> str:
        """Which setting keeps the batch `n` of one GPU, or comes nearest to it.

        A process has a multiple of `least` in a step; for `least` the setting has `value`.
        """
        if self._gpus == 1:
            return ""
        times = max(1, round(n / (least * self._gpus)))
        batch = times * least * self._gpus
        kept = f"keeps {n:,}" if batch == n else f"makes it {batch:,}, which comes nearest"
        return f" ({n:,} on one GPU; {setting}={times * value} {kept})"

    def _stage(
        self, name: str, n_steps: int, n: int, each_s: float, of: str, used: Mapping[str, Rate]
    ) -> Stage:
        """`n`: of a process in a step, `each_s`: the seconds of one, `of`: words on the batch."""
        hours = n_steps * n * each_s / 3600
        money = hours * self._gpus * self._rates.get("gpu.price")
        note = f"{counted(n_steps, 'step')} with a batch of {of}"
        return Stage(
            name, gpu_hours=hours * self._gpus, hours=hours, money=money, note=note,
            batch=n * self._gpus, rates=tuple(used),
        )  # fmt: skip

    def _reckon(
        self, n: int, replies: float, more_prompts: int, more_replies: int
    ) -> tuple[float, str]:
        """GPU seconds of a sample or prompt, the optimizer's share in it.

        So many more times its prompt and its replies go through the model without a gradient.
        """
        rates = self._rates
        _, _, active = self._sizes()
        prompt = media_tokens(rates, self._media, "av", PER_GROUP) + rates.get("question.tokens")
        towers = rates.get("train.towers_tflop") * self._media.n_frames / FRAMES
        more = more_prompts * prompt + more_replies * replies
        tflop = sample_tflop(active, prompt + replies, towers, more)
        update = "train.offload_s" if self._student.deepspeed else "train.update_s"
        seconds = tflop / gpu_of(rates).tflops + rates.get(update) / n
        return seconds, f"{tflop:.0f} TFLOP, and the optimizer's share"

    def _sizes(self) -> tuple[float, float, float]:
        """Billions of parameters: all, trained, and those that a token passes."""
        rates = self._rates
        trained = rates.get("student.trained_b")
        active = rates.get("student.active_b", lambda: (trained, "the trained parameters"))
        return rates.get("student.parameters_b"), trained, active

    def _check_memory(self, stage: str, has_reference: bool) -> None:
        """Refuse a training that is larger than a card before its activations."""
        student = self._student
        parameters, trained, _ = self._sizes()
        if student.lora is not None or student.deepspeed is not None:
            return
        bytes_adam = 8 if student.optimizer == "adamw" else 2
        needed = training_gb(parameters, trained, has_reference, bytes_adam)
        card = self._rates.get("gpu.memory_gb")
        if needed > card:
            raise ConfigError(
                f"{stage}: {student.model} needs about {needed:.0f} GB of every GPU before "
                f"activations, and one has {card:.0f}; set student.deepspeed=zero2 or "
                "student.lora.rank=16, or a larger card with --rate gpu.memory_gb=141"
            )

    def stores(self, sft: SftConfig, grpo: GrpoConfig, n_sft_steps: int) -> Iterator[Store]:
        """Two checkpoints and one more while it is written, the model, and of older checkpoints
        that stay (`keep_checkpoints`) the weights.
        """
        kept = {
            "sft": (sft.keep_checkpoints, n_sft_steps // sft.save_steps),
            grpo.output: (grpo.keep_checkpoints, grpo.max_steps // grpo.save_steps),
        }
        for name, (keep, n_written) in kept.items():
            with self._rates.noted() as used:
                resumable, weights, model = self._checkpoint_gb()
                stay = n_written if keep == "all" else min(int(keep), n_written)
                older = max(0, stay - 2)
                gb = 3 * resumable + older * weights + model
                yield Store(f"checkpoints of {name}", gb, tuple(used))

    def _checkpoint_gb(self) -> tuple[float, float, float]:
        """Of a checkpoint that can be resumed, of its weights, and of the model at the end."""
        parameters, trained, _ = self._sizes()
        if self._student.lora is not None:
            adapters = self._adapters_b(self._student.lora.rank, trained)
            resumable, weights, model = adapter_gb(parameters, adapters)
            each, whole = "16 bytes per adapter weight", "4 bytes per parameter, adapters merged"
            return (
                self._rates.get("checkpoint.gb", lambda: (resumable, each)),
                weights,
                self._rates.get("model.gb", lambda: (model, whole)),
            )
        resumable, model = checkpoint_gb(parameters, trained)
        frozen = "and 2 per frozen parameter"
        of_model = self._rates.get("model.gb", lambda: (model, f"4 bytes per trained {frozen}"))
        return (
            self._rates.get("checkpoint.gb", lambda: (resumable, f"16 bytes per trained {frozen}")),
            *(of_model, of_model),
        )

    def _adapters_b(self, rank: int, trained_b: float) -> float:
        """Billions of adapter weights: rank x (inputs + outputs) of all layers that have one."""
        per_rank = self._rates.get(
            "student.adapter_m",
            lambda: (ADAPTER_SHARE * trained_b * 1e3, "the share of Qwen2.5-Omni-3B"),
        )
        return rank * per_rank / 1e3
