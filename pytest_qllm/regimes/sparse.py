"""A layer by SpQR: GPTQ's columns, outliers left as they are, scales and zero points quantized themselves.

Dettmers et al., 2023, arXiv 2306.03078, algorithm 1; ``backends/spqr.py`` says what is done in which order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pytest_qllm.regimes.accounting import OUTLIER_BITS, LayerSize
from pytest_qllm.regimes.grid import SCALE_BITS, fit, stored
from pytest_qllm.regimes.solver import Rounding, inverse_factor, solve

ROWS = 16
"""Output channels whose scales (and zero points) share a second-level grid."""


SMALLEST = 2.0**-24
"""FP16's smallest positive number."""


@dataclass(frozen=True)
class Sparse:
    """Effective weights and the mask of the outliers among them, both (out features, in features)."""

    weight: torch.Tensor
    outliers: torch.Tensor
    size: LayerSize


@dataclass(frozen=True)
class Levels:
    """``scale * (code - zero)`` with codes from 0 to ``2**bits - 1``; the zero point is no whole number.

    Attributes:
        scale, zero: shape (out features, 1).
    """

    scale: torch.Tensor
    zero: torch.Tensor
    bits: int

    def nearest(self, weights: torch.Tensor) -> torch.Tensor:
        codes = (weights / self.scale + self.zero).round().clamp(0, 2**self.bits - 1)
        return self.scale * (codes - self.zero)


def quantize(
    name: str, weight: torch.Tensor, hessian: torch.Tensor, bits: int, group: int, threshold: float, scale_bits: int
) -> Sparse:
    """Quantize one layer.

    Args:
        name: of the layer, for messages.
        weight: shape (out features, in features).
        hessian: shape (in features, in features).
        group: columns that share a grid, the last group may be shorter.
        threshold: smallest error of an outlier, in units of the mean over the layer's weights of
            ``((w - mean of its row) / U_jj)**2``; infinite for no outliers.
        scale_bits: width of scales and zero points; 16 leaves them in FP16.
    """
    factor = inverse_factor(name, hessian)
    weight = weight.float()
    spread = (weight - weight.mean(1, keepdim=True)) / factor.diagonal()
    limit = threshold * spread.square().mean()
    outliers = torch.zeros_like(weight, dtype=torch.bool)

    def levels(number: int, columns: torch.Tensor, diagonal: torch.Tensor) -> Rounding:
        kept = ~sensitive(columns, diagonal, bits, limit)
        grid = second_level(first_level(columns, kept, bits), scale_bits)

        def rounding(at: int, column: torch.Tensor) -> torch.Tensor:
            nearest = grid.nearest(column[:, None])[:, 0]
            missed = ~kept[:, at] | (((column - nearest) / diagonal[at]).square() > limit)
            outliers[:, number * group + at] = missed
            return torch.where(missed, stored(column), nearest)

        return rounding

    found = solve(weight, factor, levels, group)
    return Sparse(found, outliers, _size(weight, int(outliers.sum()), bits, group, scale_bits))


def sensitive(columns: torch.Tensor, diagonal: torch.Tensor, bits: int, limit: torch.Tensor) -> torch.Tensor:
    """Which weights of a group are outliers: those without which its error falls by more than ``limit``.

    Leaving a weight out changes the grid only if it is the group's smallest or largest one; any other takes no more
    than its own error with it.

    Args:
        columns: shape (out features, columns).
        diagonal: of the inverse Hessian's factor, shape (columns,).
        limit: a squared error in units of ``diagonal``.
    """
    everyone = torch.ones_like(columns, dtype=torch.bool)
    errors = _errors(columns, diagonal, first_level(columns, everyone, bits))
    gains, total = errors.clone(), errors.sum(1)
    if columns.shape[1] > 1:
        for extreme in (columns.argmin(1, keepdim=True), columns.argmax(1, keepdim=True)):
            rest = everyone.scatter(1, extreme, False)
            left = _errors(columns, diagonal, first_level(columns, rest, bits))
            gains.scatter_(1, extreme, (total - (left * rest).sum(1))[:, None])
    return gains > limit


def first_level(columns: torch.Tensor, kept: torch.Tensor, bits: int) -> Levels:
    """From the smallest to the largest of the kept weights of each row and zero.

    With zero in the range, zero points are from 0 to ``2**bits - 1``, whatever few weights are kept. A row without any
    needs no scale of its own: it takes the largest of the others, which keeps it out of the way of the second level.
    """
    inside = columns * kept
    low, high = inside.amin(1, keepdim=True).clamp_max(0), inside.amax(1, keepdim=True).clamp_min(0)
    scale = (high - low) / (2**bits - 1)
    largest = scale.amax()
    scale = torch.where(scale > 0, scale, largest if largest > 0 else torch.ones_like(largest))
    return Levels(scale, -low / scale, bits)


def second_level(levels: Levels, scale_bits: int) -> Levels:
    """Scales and zero points on grids of ``scale_bits``, shared by ``ROWS`` output channels."""
    if scale_bits == SCALE_BITS:
        return Levels(_positive(stored(levels.scale)), stored(levels.zero), levels.bits)
    return Levels(_positive(_on_grid(levels.scale, scale_bits)), _on_grid(levels.zero, scale_bits), levels.bits)


def _on_grid(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Shape (out features, 1), each ``ROWS`` of them at the nearest levels of a grid of their own."""
    whole = len(values) // ROWS * ROWS  # the last channels may be fewer
    parts = [part for part in (values[:whole].reshape(-1, ROWS), values[whole:].T) if part.numel()]
    return torch.cat([fit(part, bits, symmetric=False).nearest(part).reshape(-1, 1) for part in parts])


def _positive(scale: torch.Tensor) -> torch.Tensor:
    return scale.clamp_min(SMALLEST)


def _errors(columns: torch.Tensor, diagonal: torch.Tensor, levels: Levels) -> torch.Tensor:
    return ((columns - levels.nearest(columns)) / diagonal).square()


def _size(weight: torch.Tensor, outliers: int, bits: int, group: int, scale_bits: int) -> LayerSize:
    rows, columns = weight.shape
    groups = rows * -(-columns // group)
    second = 0 if scale_bits == SCALE_BITS else 4 * SCALE_BITS * -(-rows // ROWS) * -(-columns // group)
    total = weight.numel() * bits + groups * 2 * scale_bits + second + outliers * OUTLIER_BITS
    return LayerSize(weight.numel(), total, outliers)
