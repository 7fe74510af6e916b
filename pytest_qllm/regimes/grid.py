"""Uniform grids: where the levels of a group of weights lie, and which one each weight goes to."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pytest_qllm.errors import QllmError

SCALE_BITS = 16
"""A scale or a smallest value is kept in FP16."""


@dataclass(frozen=True)
class Grid:
    """Equidistant levels ``low + step * code`` with codes from 0 to ``2**bits - 1``, for each group.

    Attributes:
        low, step: shape (..., 1), broadcast over the weights of a group; FP16 values in float32.
        bits: width of a code.
    """

    low: torch.Tensor
    step: torch.Tensor
    bits: int

    def codes(self, weights: torch.Tensor) -> torch.Tensor:
        """The nearest level of each weight, as whole numbers in float32."""
        return ((weights - self.low) / self.step).round().clamp(0, 2**self.bits - 1)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        return self.low + self.step * codes

    def nearest(self, weights: torch.Tensor) -> torch.Tensor:
        return self.values(self.codes(weights))


def fit(weights: torch.Tensor, bits: int, symmetric: bool) -> Grid:
    """The grid of each group, the groups along the last dimension.

    Asymmetric: from the smallest to the largest weight. Symmetric: zero is a level, ``step = 2 max|w| / (2**bits - 1)``
    and ``low = -2**(bits - 1) step``, so that the largest positive weights lose half a step (AutoGPTQ's and torchao's
    convention). One bit would be two extremes: its levels are ``-a`` and ``a`` with ``a = mean |w|``, or around the
    mean ``m`` with ``a = mean |w - m|`` (Rastegari et al., 2016, arXiv 1603.05279, equation 6).
    """
    centre = torch.zeros_like(weights[..., :1]) if symmetric else weights.mean(-1, keepdim=True)
    if bits == 1:
        half = (weights - centre).abs().mean(-1, keepdim=True)
        low, step = centre - half, 2 * half
    elif symmetric:
        step = 2 * weights.abs().amax(-1, keepdim=True) / (2**bits - 1)
        step = stored(step)
        low = -(2 ** (bits - 1)) * step
        return Grid(low, _positive(step), bits)
    else:
        low, high = weights.amin(-1, keepdim=True), weights.amax(-1, keepdim=True)
        step = (high - low) / (2**bits - 1)
    return Grid(stored(low), _positive(stored(step)), bits)


def stored(values: torch.Tensor) -> torch.Tensor:
    """As they come back from FP16."""
    return values.half().to(values.dtype)


def _positive(step: torch.Tensor) -> torch.Tensor:
    """All weights of a group may be equal: then any step does, as each has code 0."""
    return torch.where(step > 0, step, torch.ones_like(step))


def grouped(name: str, weight: torch.Tensor, size: int) -> torch.Tensor:
    """A matrix as its groups along the input, shape (out features, groups, size).

    Raises:
        QllmError: if the size does not divide the width; names the layer and the sizes that would do.
    """
    check_group(name, weight.shape[1], size)
    return weight.reshape(weight.shape[0], -1, size)


def check_group(name: str, width: int, size: int) -> None:
    """Refuse a group size that does not divide a layer's width.

    Raises:
        QllmError: names the layer, its width, and sizes that divide it.
    """
    if width % size:
        fit_ones = ", ".join(str(one) for one in (16, 32, 64, 96, 128, 192, 256) if width % one == 0) or "none of ours"
        raise QllmError(f"groups of {size} do not divide the {width} inputs of {name}; sizes that do: {fit_ones}")
