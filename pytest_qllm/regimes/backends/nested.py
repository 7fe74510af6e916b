"""Nested widths: one parent of 8-bit codes whose top bits are the codes of its children with 3 to 7 bits.

After Any-Precision LLM (Park et al., 2024, arXiv 2402.10517): one checkpoint serves every width, as a child reads only
the first bits of each code. Simulated, and with two differences from the paper: the parent is a uniform grid made by
round-to-nearest in groups, where the paper grows non-uniform centroids from a 3-bit seed; and a child's level is the
middle of the parent's levels with its prefix, which needs no table.

The parent takes a second to make and depends on nothing but the model and the group size, so each child makes it again:
equal for all, without a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.regimes import simulated
from pytest_qllm.regimes.accounting import LayerSize
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch

    from pytest_qllm.regimes.grid import Grid

PARENT_BITS = 8

_NESTED = Method(
    "nested",
    "nested RTN",
    "nested",
    tuple(range(PARENT_BITS, 2, -1)),
    groups=(16, 32, 64, 96, 128, 192, 256),
    group=64,
    simulated=True,
    keeps=True,
)
METHODS = (_NESTED,)
REGIMES = tuple(_NESTED.regime(bits) for bits in _NESTED.widths)

load = dense = simulated.load


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Make the parent's codes, and keep the child's part of them.

    Raises:
        QllmError: if the group size does not divide a layer's width.
    """

    def by(name: str, weight: torch.Tensor) -> simulated.Quantized:
        from pytest_qllm.regimes.grid import SCALE_BITS

        group = regime.options["group_size"]
        grid, codes = parent(name, weight, group)
        values = child_values(grid, child_codes(codes, regime.bits), regime.bits).reshape(weight.shape)
        return simulated.Quantized(
            values, LayerSize(weight.numel(), weight.numel() * (regime.bits + 2 * SCALE_BITS / group))
        )

    simulated.build_plain(regime, model, into, by)


def parent(name: str, weight: torch.Tensor, group: int) -> tuple[Grid, torch.Tensor]:
    """The parent's grid and codes, the latter uint8 of shape (out features, groups, group)."""
    import torch

    from pytest_qllm.regimes.grid import fit, grouped

    groups = grouped(name, weight.float(), group)
    grid = fit(groups, PARENT_BITS, symmetric=False)
    return grid, grid.codes(groups).to(torch.uint8)


def child_codes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The first bits of the parent's codes."""
    return codes >> (PARENT_BITS - bits)


def child_values(grid: Grid, codes: torch.Tensor, bits: int) -> torch.Tensor:
    """The middle of the parent's levels whose codes begin with those bits."""
    span = 2 ** (PARENT_BITS - bits)
    return grid.values(codes.float() * span + (span - 1) / 2)
