"""The dense shadow of a weight-only regime: the same model with plain linear layers that hold the effective weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pytest_qllm.errors import QllmError

EffectiveWeight = Callable[[str, nn.Module], torch.Tensor | None]
"""From a module's name and the module to the matrix (out features, in features) that it stands for, or None."""


def replace_linears(model: nn.Module, effective: EffectiveWeight) -> int:
    """Put a plain ``nn.Linear`` in place of each module that ``effective`` knows a weight of; the bias stays.

    The new layers have the dtype that ``effective`` gives its weights. Returns how many were replaced.

    Raises:
        QllmError: if there is none, or a weight does not fit its layer or is not finite.
    """
    replaced = 0
    for name, module in list(model.named_modules()):
        weight = effective(name, module)
        if weight is None:
            continue
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, _linear(name, module, weight))
        replaced += 1
    if not replaced:
        raise QllmError(f"no layer of this {type(model).__name__} is quantized: there are no weights to read back")
    return replaced


def _linear(name: str, module: Any, weight: torch.Tensor) -> nn.Linear:
    found, expected = tuple(weight.shape), (module.out_features, module.in_features)
    if found != expected:
        raise QllmError(f"the weights read back from {name} have the shape {found}, expected {expected}")
    if not torch.isfinite(weight).all():
        raise QllmError(f"the weights read back from {name} contain NaN or infinity")
    bias = getattr(module, "bias", None)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().to(weight), requires_grad=False)
    return linear.train(module.training)
