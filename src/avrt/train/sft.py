"""Supervised fine-tuning of the student: cross-entropy on the trace, given clip and question.

Reads RUN/dataset/train.parquet and validation.parquet and the clips; writes RUN/sft/:
checkpoints/ (two, resumable), log.jsonl, dropped.jsonl, model/. TRL's `SFTTrainer` runs the loop;
`TraceCollator` makes its inputs. The loss is the mean over all trace tokens of an
effective batch; the towers are frozen, and no sample is cut.

    avrt sft configs/demo.yaml
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from avrt.config import Config
from avrt.datasets import require_media
from avrt.engines.encode import NORM, Encoded, as_floats, collate
from avrt.errors import MediaError
from avrt.ranks import n_processes
from avrt.runs import Result, alone, open_stage, save_config
from avrt.train.callbacks import require_trackers
from avrt.train.checkpoint import (
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
    read_examples,
    refuse_unread,
    rows_of,
    split_path,
    trace_ids,
)
from avrt.train.doubts import doubt_sft
from avrt.train.dropped import Dropped
from avrt.train.feed import Feed, Take
from avrt.train.held_out import FIELDS as HELD_OUT_FIELDS
from avrt.train.held_out import HeldOut, spread
from avrt.train.kept import KeepCheckpoints
from avrt.train.launch import require_launch
from avrt.train.lengths import count_tokens
from avrt.train.log import TrainingLog, read_log, warning_lines
from avrt.train.lost import LimitWaiting, naming_lost_processes
from avrt.train.order import ByLength
from avrt.train.plan import describe_inputs
from avrt.train.room import require_room
from avrt.train.split import as_started, chunk_of
from avrt.train.trainer import (
    EndsAtLastStep,
    activation_checkpointing,
    common_arguments,
    train_logged,
)

__all__ = ["TraceCollator", "make_trainer", "plan", "run"]

IGNORED = -100
LOG_FIELDS = {
    name: name
    for name in (
        *("loss", "learning_rate", "grad_norm"),
        *("tokens_per_s", "step_time_s", "waiting", "memory_gib"),
        *("eval_loss", *HELD_OUT_FIELDS),
    )
}
FREE = {"save_steps", "keep_checkpoints", "gradient_checkpointing", "eval_samples"}
"""Settings that do not change the student, so that a finished training stays valid."""
ADDED = {"limit": None, "skip": 0}
"""Later settings, with the values that trainings had before there were settings for them."""
SHOWN = {"loss": "loss", "eval_loss": "validation loss", "eval_accuracy": "held-out accuracy"}


class TraceCollator:
    """Turns sample ids into model inputs, padded right; only trace and end token have labels."""

    def __init__(
        self,
        examples: Sequence[Example],
        encoder: PromptEncoder,
        processor: Any,
        n_tokens: Mapping[str, int | MediaError] | None = None,
        take: Take | None = None,
    ) -> None:
        """`n_tokens`: tokens of each prompt by sample id, if they are known; `take`: a feed's."""
        self._traces = {example.sample.id: example.trace for example in examples}
        self._n_trace = dict(
            zip(self._traces, count_tokens(processor, self._traces.values()), strict=True)
        )
        self._processor = processor
        self._encoder = encoder
        self._n_tokens = n_tokens
        self._take = take or encoder.take(examples)
        self._pad_id = processor.tokenizer.pad_token_id

    def length(self, example: Example) -> int:
        """Count the tokens of a sample: prompt with media, and trace.

        Raises:
            MediaError: its clip cannot be read.
        """
        n_tokens = self.count(example)
        if isinstance(n_tokens, MediaError):
            raise n_tokens
        return n_tokens

    def count(self, example: Example) -> int | MediaError:
        """As `length`, but a sample whose clip cannot be read has its error."""
        name = example.sample.id
        if self._n_tokens is None:
            n_prompt = len(self._encoder(example.sample).input_ids)
        else:
            n_prompt = self._n_tokens[name]
        if isinstance(n_prompt, MediaError):
            return n_prompt
        return n_prompt + self._n_trace[name] + 1  # the token that ends the trace

    def __call__(self, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        encoded, starts = [], []
        for name, prompt in self._take([row["sample_id"] for row in rows]):
            trace = torch.tensor(trace_ids(self._processor, self._traces[name]))
            encoded.append(Encoded(torch.cat([prompt.input_ids, trace]), prompt.media))
            starts.append(len(prompt.input_ids))
        batch = collate(encoded, self._pad_id, "right")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        for row_labels, start in zip(labels, starts, strict=True):
            row_labels[:start] = IGNORED
        return {**batch, "labels": labels}


class OmniSFTTrainer(EndsAtLastStep, SFTTrainer):
    """TRL's trainer, with samples of about the same length in a pass, and with exact seconds.

    With DeepSpeed the trainer rounds all floating-point inputs to the weights' format. Autocast
    does the same to pixels and sound; but positions are made of the seconds per frame, and in
    bfloat16 those of late frames would be off by several.
    """

    def __init__(self, *args: Any, lengths: Sequence[int], chunk: int, **kwargs: Any) -> None:
        """`lengths`: tokens of each training sample; `chunk`: samples of about the same length."""
        self._lengths, self._chunk = lengths, chunk
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:  # noqa: ARG002
        return ByLength(self._lengths, self._chunk, self)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        exact = {
            name: value
            for name, value in inputs.items()
            if name == "video_second_per_grid" or name.endswith(NORM)
        }
        prepared = super()._prepare_inputs(inputs)
        moved = {name: value.to(self.args.device) for name, value in exact.items()}
        return as_floats({**prepared, **moved})


@alone(lambda config: config.run.path / "sft")
@naming_lost_processes(lambda config: config.run.path / "sft")
def run(config: Config) -> Result:
    """Fine-tune the student; continue an interrupted training, and skip a finished one."""
    sft, student, run_folder = config.sft, config.student, config.run.path
    folder = run_folder / "sft"
    train_path, validation_path = (split_path(run_folder, name) for name in ("train", "validation"))
    require_launch(student)
    require_trackers(config.run.report_to)
    require_student(student.model, student.revision)
    settings = student_settings(student.model, student, config.media, config.run.seed)
    dumped = sft.model_dump(exclude=FREE).items()
    settings["sft"] = dict(item for item in dumped if item not in ADDED.items())
    settings = as_started(settings, "sft", run_folder, folder)
    stage = open_stage(run_folder, "sft", settings, [train_path, validation_path])
    if stage.done and (folder / "model" / "config.json").is_file():
        return Result(f"sft: already done, {folder / 'model'}", stage.counts())
    require_room(student.model, sft, student, config.media)
    checkpoint = open_checkpoints(folder / "checkpoints", stage)
    save_config(config)

    rows, validation_examples = read_examples(train_path), read_examples(validation_path)
    train_examples = rows_of(sft, config.run.seed, rows)
    require_media(config.data.root, [example.sample for example in train_examples])
    examples = [*train_examples, *validation_examples]
    samples = [example.sample for example in examples]
    model, processor = load_student(student.model, student)
    encoder = PromptEncoder(
        processor,
        *(config.data.root, config.media, student.prompt),
        interleaved=student.use_audio_in_video,
    )
    n_ahead = 2 * sft.per_device_batch_size * sft.gradient_accumulation_steps
    dropped = Dropped(folder / "dropped.jsonl", config.generate.max_failure_rate, checkpoint)
    with closing(Feed(encoder, samples, dropped, n_ahead)) as feed:
        n_tokens = feed.count(run_folder)
        collator = TraceCollator(examples, encoder, processor, n_tokens, feed.take)
        lengths = {example.sample.id: collator.count(example) for example in examples}
        train = keep_usable("sft", train_examples, lengths, sft.max_length)
        validation = UsableExamples()
        if validation_examples:
            validation = keep_usable("sft validation", validation_examples, lengths, sft.max_length)
        dropped.begin([*train.lost, *validation.lost])
        refuse_unread("sft", run_folder, train, validation)
        answered = []
        if sft.eval_samples:
            answered = spread(validation.kept, sft.eval_samples, "sft.eval_samples")

        trainer = make_trainer(
            *(config, model, processor, collator, train.kept, validation.kept),
            chunk=chunk_of(settings),
        )
        log = TrainingLog(folder / "log.jsonl", LOG_FIELDS, partial(doubt_sft, sft))
        parameters = count_parameters(trainer.model)
        held_out = HeldOut(trainer, config.eval, feed, answered, sft.save_steps)
        trainer.add_callback(KeepCheckpoints(folder, sft.keep_checkpoints))
        trainer.add_callback(LimitWaiting(student.process_timeout_s))
        train_logged(trainer, log, SHOWN, checkpoint, held_out, feed)
        # Not from the log, which another process may not find written yet.
        evaluated = [row["step"] for row in trainer.state.log_history if "eval_loss" in row]
        if validation.kept and trainer.state.global_step not in evaluated:
            trainer.evaluate()
    save_model(trainer, processor, folder / "model")

    counts = {
        **dropped.counts_after(trainer, train),
        **({"left_out": left_out} if (left_out := len(rows) - len(train_examples)) else {}),
        "validation": len(validation.kept),
        "steps": trainer.state.global_step,
        **{f"parameters/{key}": count for key, count in parameters.items()},
    }
    if trainer.is_world_process_zero():
        stage.finish(counts)
    return Result(_summary(folder, counts), counts, dropped.fault())


def make_trainer(
    config: Config,
    model: Any,
    processor: Any,
    collator: TraceCollator,
    train: Sequence[Example],
    validation: Sequence[Example] = (),
    chunk: int | None = None,
) -> SFTTrainer:
    """Build TRL's trainer with the paper's settings; its datasets hold only sample ids.

    `chunk`: the samples of a pass that decide the order, by default those of this launch.
    """
    sft = config.sft
    arguments = SFTConfig(
        **common_arguments(config.run, config.student, "sft"),
        num_train_epochs=sft.epochs,
        per_device_train_batch_size=sft.per_device_batch_size,
        per_device_eval_batch_size=sft.per_device_batch_size,
        gradient_accumulation_steps=sft.gradient_accumulation_steps,
        learning_rate=sft.learning_rate,
        warmup_steps=sft.warmup_steps,
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.max_grad_norm,
        **activation_checkpointing(sft.gradient_checkpointing),
        save_steps=sft.save_steps,
        eval_strategy="steps" if validation else "no",
        eval_steps=sft.save_steps,
        prediction_loss_only=True,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    with old_names_allowed():
        return OmniSFTTrainer(
            lengths=[collator.length(example) for example in train],
            chunk=chunk or sft.per_device_batch_size * n_processes(),
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=id_dataset("sample_id", train),
            eval_dataset=id_dataset("sample_id", validation) if validation else None,
            processing_class=processor,
            peft_config=lora_config(config.student, model),
        )


def plan(config: Config) -> str:
    """Describe what `run` would do; write nothing."""
    sft = config.sft
    require_trackers(config.run.report_to)
    inputs = describe_inputs("sft", config, config.student.model, with_trace=True)
    lines, n_samples = list(inputs.lines), inputs.n_samples
    if n_samples:
        batch = sft.per_device_batch_size * sft.gradient_accumulation_steps * n_processes()
        steps = math.ceil(math.ceil(n_samples / batch) * sft.epochs)
        lines.append(
            f"sft: about {steps} steps of {batch} samples ({sft.per_device_batch_size} at a time x "
            f"{sft.gradient_accumulation_steps} accumulated x {n_processes()} processes), "
            f"{sft.epochs:g} epochs"
        )
    lines.append(f"sft: would write {config.run.path / 'sft'}")
    return "\n".join([*lines, *inputs.table])


def _summary(folder: Path, counts: Mapping[str, int]) -> str:
    losses = [row["loss"] for row in read_log(folder / "log.jsonl") if "loss" in row]
    unused = counts["read"] - counts["kept"]
    trend = f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, " if losses else ""
    left_out = f", {n} left out by sft.limit and sft.skip" if (n := counts.get("left_out")) else ""
    return (
        f"sft: {counts['kept']} samples ({unused} not usable{left_out}), {counts['steps']} steps, "
        f"{trend}{folder / 'model'}{warning_lines(folder / 'log.jsonl')}"
    )
