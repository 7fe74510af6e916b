"""A layer in mixed precision: a width for each group of columns, by salience; then GPTQ's columns at those widths.

Huang et al., 2024, arXiv 2405.14917, section 3.2; ``backends/mixed.py`` says what is different here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pytest_qllm.regimes.accounting import LayerSize
from pytest_qllm.regimes.grid import SCALE_BITS, check_group, fit
from pytest_qllm.regimes.solver import Rounding, inverse_factor, solve

WIDTH_BITS = 2
"""Which of the three widths a group of columns has."""


@dataclass(frozen=True)
class Mixed:
    """Effective weights, shape (out features, in features), and the width of each group of columns."""

    weight: torch.Tensor
    widths: list[int]
    size: LayerSize


def quantize(name: str, weight: torch.Tensor, hessian: torch.Tensor, bits: int, group: int) -> Mixed:
    """Quantize one layer at a mean width of ``bits``.

    Raises:
        QllmError: if the group size does not divide the width.
    """
    check_group(name, weight.shape[1], group)
    weight = weight.float()
    factor = inverse_factor(name, hessian)
    widths = allotted(weight, hessian, salience(weight, factor, group), bits)

    def levels(number: int, columns: torch.Tensor, diagonal: torch.Tensor) -> Rounding:
        grid = fit(columns, widths[number], symmetric=False)
        return lambda at, column: grid.nearest(column[:, None])[:, 0]

    found = solve(weight, factor, levels, group)
    rows = weight.shape[0]
    total = sum(rows * (group * width + 2 * SCALE_BITS) + WIDTH_BITS for width in widths)
    return Mixed(found, widths, LayerSize(weight.numel(), total))


def salience(weight: torch.Tensor, factor: torch.Tensor, group: int) -> torch.Tensor:
    """Mean over each group of columns of ``(w / [H^-1]_jj)**2``, shape (groups,)."""
    inverse_diagonal = factor.square().sum(0)  # of U^T U
    return (weight / inverse_diagonal).square().mean(0).reshape(-1, group).mean(1)


def allotted(weight: torch.Tensor, hessian: torch.Tensor, importance: torch.Tensor, bits: int) -> list[int]:
    """The width of each group: ``bits + 1`` for the k most salient, ``bits - 1`` for the k least, ``bits`` else.

    ``k`` is the one with the least output error ``tr((W - Q) H (W - Q)^T)`` of plain rounding.
    """
    count = len(importance)
    rows, columns = weight.shape
    groups = weight.reshape(rows, count, columns // count)
    errors = {
        width: groups - fit(groups, width, symmetric=False).nearest(groups) for width in range(bits - 1, bits + 2)
    }
    order = importance.argsort(descending=True, stable=True).tolist()
    best, least = [bits] * count, float("inf")
    for moved in range(count // 2 + 1):
        widths = [bits] * count
        for at in range(moved):
            widths[order[at]] += 1
            widths[order[-1 - at]] -= 1
        error = torch.stack([errors[width][:, at] for at, width in enumerate(widths)], 1).reshape(rows, columns)
        lost = float(((error @ hessian) * error).sum())
        if lost < least:
            best, least = widths, lost
    return best
