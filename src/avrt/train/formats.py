"""Number formats of the weights: what trains is float32, what autocast would round is rounded once.

Under autocast a layer's float32 matrix is rounded to bfloat16 in every pass. A matrix that does not
train can be held rounded instead: the same numbers in half the memory. Norms and embeddings are not
rounded by autocast, so they stay float32 everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["matrices", "reference_of"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights and biases autocast rounds."""


def matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """Give the parameters that autocast rounds in every pass.

    A head that is tied to the embeddings is none of them: an embedding is looked up unrounded.
    """
    modules = list(model.modules())
    looked_up = {id(module.weight) for module in modules if isinstance(module, nn.Embedding)}
    for module in modules:
        if isinstance(module, LAYERS):
            own = module.parameters(recurse=False)
            yield from (parameter for parameter in own if id(parameter) not in looked_up)


def reference_of(policy: nn.Module, half: bool) -> Any:
    """Copy the policy as it is now, for the log-probabilities of GRPO's reference model.

    What is frozen in the policy is one tensor for both. With `half` the copies of what autocast
    rounds are bfloat16. The copies are on the device of the policy.
    """
    rounded = {id(parameter) for parameter in matrices(policy)} if half else set()
    memo: dict[int, Any] = {}
    for parameter in policy.parameters():
        copied = parameter
        if parameter.requires_grad:
            values = parameter.detach()
            values = values.to(torch.bfloat16) if id(parameter) in rounded else values.clone()
            copied = nn.Parameter(values, requires_grad=False)
        memo[id(parameter)] = copied
    return copy.deepcopy(policy, memo)
