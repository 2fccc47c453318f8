"""Estimate, from shapes alone, of the memory that a training needs on a device.

Some numbers stay for a whole training: weights, reference, optimizer. Others come and go with the
phases of a step: rollout, forward pass, backward pass, update. The estimate is that of the greatest
phase. It leaves out what the framework itself needs and what an allocator cannot use again;
`FRAMEWORK_BYTES` stands for both where a card is judged. `benchmarks/memory.py` compares it with
measured peaks.

Counted in the greatest layer of torch's own code (transformers 5.23, TRL 1.16): per token, a layer
keeps for its backward pass two residuals, two norms before and after their weights, queries, keys,
values and output of attention, and four times the inner width of its MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from avrt.config import GrpoConfig, MediaConfig, SftConfig, StudentConfig
from avrt.train.formats import matrices
from avrt.train.launch import deepspeed_settings, is_offloaded

__all__ = ["FRAMEWORK_BYTES", "Load", "Way", "estimate_memory", "load_of", "longest_sample"]

FLOAT, HALF = 4, 2
FRAMEWORK_BYTES = 3 << 29
"""1.5 GiB: CUDA's context, workspaces of its libraries, and what the allocator cannot reuse."""
WORDS_OF_SAMPLE = 768
"""Tokens of question, options and trace, where no sample was measured."""
HEAD_TOKENS, HEAD_WORDS = 4096, 32_768
"""TRL computes logits in tiles of this size."""


@dataclass(frozen=True)
class Way:
    """A way to train: settings of the student, and whether several processes share the gradients.

    `student.deepspeed` has processes of its own; then `several` says nothing.
    """

    student: StudentConfig
    on_gpu: bool
    several: bool = False

    @property
    def half(self) -> bool:
        return self.student.dtype == "bfloat16"


@dataclass(frozen=True)
class Load:
    """What a step puts through the model, in tokens."""

    tokens: int
    """Of a pass: all rows with their media."""
    keys: int
    """Of a pass, as its attention sees them: a shared prompt counts once for each completion."""
    scored: int
    """Of a pass, those with a loss."""
    media: int
    """Of a pass, those of frames."""
    checkpointing: bool
    accumulates: bool
    """Whether a step has several passes, so that gradients are there in all but the first."""
    reference: bool = False
    """Whether the policy is compared with another model."""
    rollout_rows: int = 0
    """Completions that are decoded together; 0: none are."""
    rollout_prompts: int = 0
    """Prompts that they have, each computed and kept once."""
    prompt: int = 0
    """Tokens of a prompt."""
    new: int = 0
    """Tokens of a completion."""


def longest_sample(media: MediaConfig, vision: Any) -> tuple[int, int]:
    """The tokens of the longest sample by the settings, trace included, and those of its frames.

    `vision` is the configuration of the picture tower. Without `media.max_audio_s` 30 s are taken.
    """
    side = vision.patch_size * vision.spatial_merge_size
    n_groups = -(-media.n_frames // vision.temporal_patch_size)
    frames = n_groups * -(-media.max_pixels // side**2)
    sound = round(25 * (media.max_audio_s or 30.0))
    return frames + sound + WORDS_OF_SAMPLE, frames


def load_of(
    section: SftConfig | GrpoConfig, n_tokens: int, n_frames: int, n_trace: int = WORDS_OF_SAMPLE
) -> Load:
    """The load of a stage whose samples all have `n_tokens` tokens, `n_frames` of them of frames.

    A sample of SFT ends with its trace, of at most `n_trace` tokens; one of GRPO is a prompt.
    """
    rows = section.per_device_batch_size
    if isinstance(section, SftConfig):
        n_tokens = min(n_tokens, section.max_length)
        return Load(
            tokens=rows * n_tokens,
            keys=rows * n_tokens,
            scored=rows * min(n_tokens - n_frames, n_trace),
            media=rows * n_frames,
            checkpointing=section.gradient_checkpointing,
            accumulates=section.gradient_accumulation_steps > 1,
        )
    n_prompts = rows // section.group_size if section.share_prompts else rows
    # As many are decoded at a time as a step takes; without shared prompts, all of the rollout.
    prompts = section.prompts_per_step * (1 if section.share_prompts else section.steps_per_rollout)
    decoded = prompts * section.group_size
    if section.rollouts is not None:
        prompts = decoded = 0  # a server decodes them
    return Load(
        tokens=n_prompts * n_tokens + rows * section.max_new_tokens,
        keys=n_prompts * n_tokens + rows * (n_tokens + section.max_new_tokens),
        scored=rows * section.max_new_tokens,
        media=n_prompts * n_frames,
        checkpointing=section.gradient_checkpointing,
        accumulates=section.prompts_per_step * section.group_size > rows,
        reference=section.has_reference,
        rollout_rows=decoded,
        rollout_prompts=prompts if section.share_prompts else decoded,
        prompt=n_tokens,
        new=section.max_new_tokens,
    )


def estimate_memory(model: Any, load: Load, way: Way) -> dict[str, int]:
    """Estimate the bytes by purpose in the greatest phase of a step, on one device.

    `model` is what `build_student` gives for the way's settings; its weights need not be there.
    """
    stays = _what_stays(model, load, way)
    phases = _phases(model, load, way)
    greatest = max(phases.values(), key=lambda parts: sum(parts.values()))
    return {**stays, **greatest}


def _what_stays(model: Any, load: Load, way: Way) -> dict[str, int]:
    """Bytes of weights, reference and optimizer."""
    student = way.student
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    n_trained = sum(parameter.numel() for parameter in trained)
    stays = {"weights": sum(p.numel() * p.element_size() for p in model.parameters())}
    copied = trained if load.reference and student.lora is None else []
    if way.half:
        rounded = {id(parameter) for parameter in matrices(model)}
        reference = sum(p.numel() * (HALF if id(p) in rounded else FLOAT) for p in copied)
    else:
        reference = FLOAT * sum(parameter.numel() for parameter in copied)
    optimizer = 2 * FLOAT * n_trained
    if student.optimizer != "adamw":
        looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
        optimizer = sum(_bytes_8bit(p.numel(), id(p) in looked_up) for p in trained)
    if student.optimizer == "paged_adamw_8bit":
        optimizer = 0  # it moves to the host whenever the rest needs its place
    if student.deepspeed is not None:
        each = HALF if way.half else FLOAT  # DeepSpeed rounds everything, norms and embeddings too
        stays["weights"] = each * sum(parameter.numel() for parameter in model.parameters())
        reference = each * sum(parameter.numel() for parameter in copied)
        # Its partitions shrink with the processes; alone, a device has it all.
        optimizer += FLOAT * n_trained
        if is_offloaded(deepspeed_settings(student.deepspeed)):
            optimizer = 0
    return {**stays, "reference": reference, "optimizer": optimizer}


def _bytes_8bit(n: int, looked_up: bool) -> int:
    """Bytes of both moments; small tensors and embeddings keep float32, blocks of 256 a scale."""
    return 2 * FLOAT * n if looked_up or n < 4096 else 2 * (n + FLOAT * -(-n // 256))


def _phases(model: Any, load: Load, way: Way) -> dict[str, dict[str, int]]:
    """Bytes by purpose of each phase, beside what stays."""
    text = model.config.get_text_config()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    n_trained = sum(parameter.numel() for parameter in trained)
    largest = max(parameter.numel() for parameter in trained)
    gradients = FLOAT * n_trained
    always = gradients if way.several else 0  # the buckets of DDP; gradients are views of them
    if way.student.deepspeed is not None:
        always = gradients = _deepspeed_buckets(way, n_trained, largest)
    casts = _casts(model, way)
    kept, layer = _activations(text, load, way)
    kept += load.media * _bytes_of_pixels(model.config)
    words = text.vocab_size
    head = _head(load, way, words, 7)
    if way.student.lora is None:
        head += FLOAT * words * text.hidden_size  # its gradient, before it is added
    before = gradients if load.accumulates else always
    update = 0 if way.on_gpu else 2 * FLOAT * largest
    backward = {
        "gradients": before,
        "rounded copies": 0 if load.checkpointing else casts,
        "activations": kept + max(layer, head),
    }
    phases = {
        "forward": {
            "gradients": before,
            "rounded copies": casts,
            "activations": kept + _head(load, way, words, 4),
        },
        "backward": backward,
        "update": {"gradients": gradients, "update": update},
    }
    if load.rollout_rows:
        phases["rollout"] = {
            "gradients": always,
            "rounded copies": casts,
            "rollout": _rollout(text, load, way),
        }
    return phases


def _casts(model: Any, way: Way) -> int:
    """Bytes of the copies that autocast keeps during a pass: of trained matrices, but the head."""
    if not way.half or way.student.deepspeed is not None:
        return 0
    head = model.get_output_embeddings().weight
    trained = (p for p in matrices(model) if p.requires_grad and p is not head)
    return HALF * sum(parameter.numel() for parameter in trained)


def _deepspeed_buckets(way: Way, n_trained: int, largest: int) -> int:
    """Bytes of gradients under DeepSpeed: with offload only its buckets, and a large tensor."""
    zero = deepspeed_settings(way.student.deepspeed or "").get("zero_optimization", {})
    each = HALF if way.half else FLOAT
    if zero.get("stage", 0) < 2 or "offload_optimizer" not in zero:
        return FLOAT * n_trained
    sizes = zero.get("reduce_bucket_size", 5e8), zero.get("allgather_bucket_size", 5e8)
    buckets = 2 * min(int(sizes[0]), n_trained) + min(int(sizes[1]), n_trained)
    return each * (buckets + largest)


def _activations(text: Any, load: Load, way: Way) -> tuple[int, int]:
    """Bytes kept from the forward pass, and those of one layer in its backward pass."""
    each = HALF if way.half else FLOAT
    residual = HALF if way.half and way.student.deepspeed is not None else FLOAT
    between = load.tokens * residual * text.hidden_size
    inner = _inner(text, load, each, residual)
    gradients = load.tokens * each * 3 * text.intermediate_size
    n_layers = text.num_hidden_layers
    ends = load.tokens * (residual * 3 * text.hidden_size)  # embeddings, and the last norm
    if load.checkpointing:
        return n_layers * between + ends, inner + gradients
    return n_layers * inner + ends, gradients


def _inner(text: Any, load: Load, each: int, residual: int) -> int:
    """Bytes that a layer keeps for its backward pass, its input among them."""
    width, head = text.hidden_size, _head_dim(text)
    norms = 2 * residual * width + 2 * FLOAT * width  # two residuals, and both norms
    # Autocast rounds a norm's output anew for each matrix: three for attention, two for the MLP.
    norms += 5 * HALF * width if each == HALF else 2 * FLOAT * width
    queries = 3 * text.num_attention_heads * head  # with the output, as it comes and in its order
    of_tokens = norms + each * (queries + 4 * text.intermediate_size)
    heads = text.num_key_value_heads
    if load.keys > load.tokens:  # a mask lets keys and values be repeated for all heads
        heads = text.num_attention_heads
    return load.tokens * of_tokens + load.keys * each * 2 * heads * head


def _head(load: Load, way: Way, words: int, n_copies: int) -> int:
    """Bytes of a tile of logits; without Triton there are `n_copies` of it in float32.

    A host gives a tile the memory of the words that are written, a GPU that of a whole tile.
    """
    each = HALF if way.half else FLOAT
    written = min(words, HEAD_WORDS)
    of_token = HEAD_WORDS * each if way.on_gpu else written * (each + n_copies * FLOAT)
    return min(load.scored, HEAD_TOKENS) * of_token


def _rollout(text: Any, load: Load, way: Way) -> int:
    """Bytes of keys and values of prompts and completions, and of the greater of prefill and
    decoding.
    """
    each = HALF if way.half else FLOAT
    head = _head_dim(text)
    per_token = each * 2 * text.num_key_value_heads * head * text.num_hidden_layers
    prompts = load.rollout_prompts * load.prompt
    whole = prompts + load.rollout_rows * load.new
    prefill = prompts * (each * 3 * text.intermediate_size + FLOAT * 3 * text.hidden_size)
    logits = load.rollout_rows * 3 * FLOAT * text.vocab_size
    return whole * per_token + max(prefill, logits)


def _bytes_of_pixels(config: Any) -> int:
    """Bytes of the pixels behind a token of frames."""
    vision = config.vision_config
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return FLOAT * patch * vision.spatial_merge_size**2


def _head_dim(text: Any) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
