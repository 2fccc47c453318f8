"""Estimate for a dry run, from shapes alone, of the memory that a training needs at least.

It counts the numbers that stay for the length of a step, and leaves out the activations inside the
towers, caches of the allocator, buffers of other processes' gradients, the framework itself.
"""

from __future__ import annotations

from typing import Any

__all__ = ["estimate_memory"]

FLOAT = 4
HALF = 2


def estimate_memory(
    text: Any,
    counts: dict[str, int],
    n_tokens: int,
    *,
    checkpointing: bool,
    half: bool,
    reference: bool,
) -> dict[str, int]:
    """Estimate the bytes by purpose, for a pass over `n_tokens` tokens on one process.

    `text` is the language model's configuration, `counts` its `trainable` and `frozen` parameters.
    Weights, gradients and AdamW's two moments are float32. With `half` autocast keeps a copy of the
    trainable weights and its activations in 16 bits.
    """
    n_parameters = counts["trainable"] + counts["frozen"]
    bytes_each = HALF if half else FLOAT
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    attention = (2 * text.num_attention_heads + 2 * text.num_key_value_heads) * head
    # A layer's input, norms, attention and MLP, as far as the backward pass reads them again.
    inner = bytes_each * (4 * text.hidden_size + attention + 4 * text.intermediate_size)
    between = FLOAT * text.hidden_size
    n_kept = 1 if checkpointing else text.num_hidden_layers
    return {
        "weights": FLOAT * n_parameters + (HALF * counts["trainable"] if half else 0),
        "reference": FLOAT * n_parameters if reference else 0,
        "gradients": FLOAT * counts["trainable"],
        "optimizer": 2 * FLOAT * counts["trainable"],
        "activations": n_tokens * (text.num_hidden_layers * between + n_kept * inner),
    }
