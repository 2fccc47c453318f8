"""`avrt world train`: train the small models from scratch, in a seeded, resumable command.

Order: the merger learns the text skills; its weights become the language model of all others. A
second merger only learns to put the same content into other words.
The student's base then learns to describe and to answer; its towers, moved into the teachers'
architectures, save them most of the training of perception. Reads no files. Writes OUTPUT/NAME/
(weights in bfloat16, processor, README.md card) and OUTPUT/.work/ (clips, training states). The
training loop is plain, and not specific to AVRT's method.
"""

from __future__ import annotations

import avrt.engines.torchcompat  # noqa: F401  # isort: skip  # pyright: ignore[reportUnusedImport]

import json
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from avrt.engines.encode import merge_media
from avrt.errors import ConfigError
from avrt.runs import Result, fingerprint, hold_output, replace_folder, track, write_atomic
from avrt.world import curriculum, networks
from avrt.world.content import draw_scene
from avrt.world.curriculum import Example, Lesson
from avrt.world.measure import measure_model, write_card
from avrt.world.pool import PoolClip, build_pool

__all__ = ["MODELS", "Recipe", "Training", "batch", "run", "train"]

SAVE_EVERY = 200
"""Steps between saved training states."""
N_CLIPS = 5_000
"""Clips that the lessons with media draw from."""


@dataclass(frozen=True)
class Recipe:
    """The training of a model."""

    n_steps: int
    batch_size: int
    learning_rate: float
    lessons: Mapping[str, tuple[Lesson, float]]
    n_clips: int = 0
    starts_from: tuple[str, ...] = ()
    """Models whose weights are copied, later models over earlier ones."""
    warmup_steps: int = 100


MODELS: dict[str, tuple[Any, Recipe]] = {
    "merger": (networks.new_merger, Recipe(2_400, 32, 2e-3, curriculum.TEXT_LESSONS)),
    # The same content in other words: the merger of another family.
    "other_merger": (
        networks.new_merger,
        Recipe(500, 16, 1e-3, curriculum.OTHER_MERGE_LESSONS, starts_from=("merger",)),
    ),
    "perceiver": (
        networks.new_student,
        Recipe(1_800, 32, 1e-3, curriculum.PERCEPTION_LESSONS, N_CLIPS, ("merger",)),
    ),
    "student": (
        networks.new_student,
        Recipe(800, 32, 5e-4, curriculum.ANSWER_LESSONS, N_CLIPS, ("perceiver",)),
    ),
    # Not shipped: how far the student could come, had it as many perfect traces as it likes.
    "supervised": (
        networks.new_student,
        Recipe(800, 32, 5e-4, curriculum.REASON_LESSONS, N_CLIPS, ("student",)),
    ),
    "vision_teacher": (
        networks.new_vision_teacher,
        Recipe(300, 32, 1e-3, curriculum.VISION_LESSONS, N_CLIPS, ("merger", "perceiver")),
    ),
    "audio_teacher": (
        networks.new_audio_teacher,
        Recipe(300, 32, 1e-3, curriculum.AUDIO_LESSONS, N_CLIPS, ("merger", "perceiver")),
    ),
}
"""In order of training: later models start from earlier ones. The perceiver and the supervised
student are not published.
"""


class Encoder:
    """Builds prompts: text tokens around the placeholders that the processor makes for media."""

    def __init__(self, processor: Any, clips: Sequence[PoolClip], *, padded_sound: bool) -> None:
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.clips = clips
        self.padded_sound = padded_sound
        self.tail = self._ids("<|im_end|>\n<|im_start|>assistant\n")
        self.n_sound_tokens = self._count_sound_tokens()

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _count_sound_tokens(self) -> int:
        if not self.clips:
            return 0
        frames = int(self.clips[0].sound["feature_attention_mask"].sum())
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1

    def prompt_ids(self, example: Example) -> list[int]:
        """Give the same tokens that `avrt.engines.encode` makes of this prompt (tested)."""
        media = {None: "", "video": "<|VIDEO|>" * 16, "image": "<|IMAGE|>" * 4}[example.picture]
        head = f"<|vision_bos|>{media}<|vision_eos|>" if media else ""
        if example.sound:
            head += f"<|audio_bos|>{'<|AUDIO|>' * self.n_sound_tokens}<|audio_eos|>"
        return self._ids(f"<|im_start|>user\n{head}{example.user}") + self.tail

    def media(self, example: Example, clip: PoolClip) -> dict[str, Tensor]:
        media = dict(getattr(clip, example.picture)) if example.picture else {}
        if example.sound:
            media |= clip.padded_sound if self.padded_sound else clip.sound
        return {
            key: value.float() if value.dtype is torch.float16 else value
            for key, value in media.items()
        }


def batch(
    encoder: Encoder, lesson: Lesson, rng: random.Random, batch_size: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Make model inputs, right-padded, and labels (B, T) that are -100 outside the replies."""
    rows, media = [], []
    for _ in range(batch_size):
        clip = rng.choice(encoder.clips) if encoder.clips else None
        scene = clip.scene if clip else draw_scene(rng)
        example = lesson(scene, rng)
        prompt = encoder.prompt_ids(example)
        reply = [
            *encoder.tokenizer.encode(example.reply, add_special_tokens=False),
            encoder.tokenizer.eos_token_id,
        ]
        rows.append((prompt, reply))
        if clip:
            media.append(encoder.media(example, clip))
    length = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = torch.full((batch_size, length), encoder.tokenizer.pad_token_id)
    labels = torch.full((batch_size, length), -100)
    mask = torch.zeros((batch_size, length), dtype=torch.long)
    for row, (prompt, reply) in enumerate(rows):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        labels[row, len(prompt) : end] = torch.tensor(reply)
        mask[row, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, **merge_media(media)}, labels


@dataclass(frozen=True)
class Training:
    """The training of a model: its name, recipe and seed, and the folder of its state."""

    name: str
    recipe: Recipe
    seed: int
    folder: Path

    @property
    def state_path(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def done_path(self) -> Path:
        return self.folder / f"{self.name}.done"

    @property
    def description(self) -> dict[str, Any]:
        """Give recipe and seed as plain data, for the card and for `identity`."""
        lessons = {key: weight for key, (_, weight) in self.recipe.lessons.items()}
        return {**asdict(self.recipe), "lessons": lessons, "seed": self.seed}

    @property
    def identity(self) -> str:
        return fingerprint(self.description)


def train(
    model: PreTrainedModel, encoder: Encoder, training: Training, last: int | None = None
) -> None:
    """Train with cross-entropy on the replies, a lesson in each step; continue from a saved state.

    Stops before step `last` when it is given; the schedule is that of the whole recipe.

    Raises:
        ConfigError: the saved state belongs to another recipe or seed.
    """
    recipe, name = training.recipe, training.name
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    first = _resume(model, optimizer, training)
    names = list(recipe.lessons)
    weights = [recipe.lessons[key][1] for key in names]
    video_id = getattr(model.config, "video_token_id", None)
    model.train()
    steps = range(first, last or recipe.n_steps)
    with _open_log(training.log_path, first) as log:
        for step in track(steps, name, "steps", recipe.n_steps, first):
            started = time.monotonic()
            # Every step has its own generator, so a resumed run draws the same examples.
            rng = random.Random(f"{training.seed}/{name}/{step}")
            lesson = rng.choices(names, weights)[0]
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(recipe, step)
            inputs, labels = batch(encoder, recipe.lessons[lesson][0], rng, recipe.batch_size)
            loss, exact = _loss(model, inputs, labels, video_id)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            row = {"step": step, "lesson": lesson, "loss": loss.item(), "exact": exact}
            log.write(json.dumps({**row, "seconds": time.monotonic() - started}) + "\n")
            if (step + 1) % SAVE_EVERY == 0:
                log.flush()
                _save_state(model, optimizer, training, step + 1)


def _save_state(
    model: PreTrainedModel, optimizer: torch.optim.Optimizer, training: Training, step: int
) -> None:
    state = {
        "identity": training.identity,
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    write_atomic(training.state_path, lambda file: torch.save(state, file))


def _resume(model: PreTrainedModel, optimizer: torch.optim.Optimizer, training: Training) -> int:
    if not training.state_path.is_file():
        return 0
    saved = torch.load(training.state_path, weights_only=True)
    if saved["identity"] != training.identity:
        raise ConfigError(
            f"{training.state_path}: a training with another recipe or seed was started here; "
            "delete this file, or choose another --output"
        )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _open_log(path: Path, first: int) -> TextIO:
    """Open the log, cut to the steps before `first`; later lines of a killed run may be torn."""
    rows = [row for row in _read_log(path) if row["step"] < first]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomic(path, lambda file: file.write(text.encode()))
    return path.open("a")


def _read_log(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    whole_lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in whole_lines]


def _learning_rate(recipe: Recipe, step: int) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return (
        recipe.learning_rate
        * warm
        * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / recipe.n_steps)))
    )


def _loss(
    model: PreTrainedModel, inputs: dict[str, Tensor], labels: Tensor, video_id: int | None
) -> tuple[Tensor, float]:
    if model.config.model_type == "qwen2_5_vl":
        inputs["mm_token_type_ids"] = 2 * (inputs["input_ids"] == video_id).long()
        inputs["second_per_grid_ts"] = inputs.pop("video_second_per_grid")
    logits = model(**inputs, use_cache=False).logits[:, :-1]
    targets = labels[:, 1:]
    counted = targets != -100
    loss = torch.nn.functional.cross_entropy(logits[counted], targets[counted])
    exact = ((logits.argmax(-1) == targets) | ~counted).all(1).float().mean().item()
    return loss, exact


RENAMED = {
    "model.": "",
    "language_model.": "",
    "multi_modal_projector.linear.": "audio_tower.proj.",
    "audio_tower.layer_norm.": "audio_tower.ln_post.",
}
"""Replacements that turn the four architectures' names of a weight into a common name."""


def take_over(model: PreTrainedModel, source: Mapping[str, Tensor]) -> int:
    """Copy every weight of `source` that `model` has too; return the number of copied weights."""
    known = {_common_name(name): value for name, value in source.items()}
    # Tied in all but Qwen2-Audio, whose class in transformers has its own head.
    known.setdefault("lm_head.weight", known["embed_tokens.weight"])
    taken = 0
    with torch.no_grad():
        for name, own in model.state_dict().items():
            key = _common_name(name)
            # Qwen2.5-VL keeps query, key and value of its vision tower in one matrix.
            keys = [key.replace("attn.qkv", f"attn.{part}") for part in "qkv"]
            value = known.get(key)
            if "attn.qkv" in key and all(part in known for part in keys):
                value = torch.cat([known[part] for part in keys])
            if value is not None and value.shape == own.shape:
                own.copy_(value)
                taken += 1
    return taken


def _common_name(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new, 1)
    return name


def _train_model(name: str, output: Path, seed: int) -> str:
    build, recipe = MODELS[name]
    target, work = output / name, output / ".work"
    training = Training(name, recipe, seed, work)
    if training.done_path.is_file():
        if training.done_path.read_text() != training.identity:
            raise ConfigError(
                f"{target}: trained with another recipe or seed; delete {training.done_path}, or "
                "choose another --output"
            )
        return f"{name}: already trained"
    model, processor = build(seed)
    for source in recipe.starts_from:
        _require_trained(output, source, seed)
        take_over(model, load_file(output / source / "model.safetensors"))
    clips: list[PoolClip] = []
    if recipe.n_clips:
        clips = build_pool(recipe.n_clips, seed, work / f"clips-{seed}", os.cpu_count() or 1)
    encoder = Encoder(processor, clips, padded_sound=name == "audio_teacher")
    train(model, encoder, training)
    with replace_folder(target) as temporary:
        model.eval().bfloat16().save_pretrained(temporary)
        processor.save_pretrained(temporary)
    figures = measure_model(name, target, work)
    minutes = sum(row["seconds"] for row in _read_log(training.log_path)) / 60
    write_card(target, name, training.description, figures, minutes)
    write_atomic(training.done_path, lambda file: file.write(training.identity.encode()))
    return f"{name}: " + "; ".join(f"{title} {figure}" for title, figure in figures.items())


def _require_trained(output: Path, name: str, seed: int) -> None:
    wanted = Training(name, MODELS[name][1], seed, output / ".work")
    if wanted.done_path.is_file() and wanted.done_path.read_text() == wanted.identity:
        return
    raise ConfigError(
        f"{output / name}: not trained yet with this recipe and seed {seed}; run "
        f"`avrt world train --output {output} --only {name} --seed {seed}` first"
    )


def run(output: Path, only: tuple[str, ...] = (), seed: int = 0) -> Result:
    """Train the models named in `only` (all by default) into `output`.

    Raises:
        ConfigError: a model is unknown, or `output` holds models of another recipe.
    """
    unknown = set(only) - set(MODELS)
    if unknown:
        raise ConfigError(
            f"unknown model: {', '.join(sorted(unknown))}; known: {', '.join(MODELS)}"
        )
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    lines = []
    for name in MODELS:
        if not only or name in only:
            with hold_output(output / ".work" / name):
                lines.append(_train_model(name, output, seed))
    return Result("\n".join(lines), {"kept": len(lines)})
