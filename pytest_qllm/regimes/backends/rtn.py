"""Round-to-nearest at any width from 1 to 8 bits: each group of weights on its own uniform grid, without calibration.

Simulated: the weights are those of the method (codes of the width, FP16 scale and, if asymmetric, FP16 smallest value
of each group), and no kernel multiplies the codes. At 1 bit the two levels are a mean absolute deviation from zero, or
from the mean (see ``grid.fit``): the extremes would be far from nearly all weights.
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

_RTN = Method(
    "rtn",
    "RTN",
    "rtn",
    tuple(range(8, 0, -1)),
    groups=(16, 32, 64, 96, 128, 192, 256),
    group=64,
    symmetric=False,
    simulated=True,
    keeps=True,
)
METHODS = (_RTN,)
REGIMES = tuple(_RTN.regime(bits) for bits in _RTN.widths)

load = dense = simulated.load


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Round every linear layer of the decoder's blocks.

    Raises:
        QllmError: if the group size does not divide a layer's width.
    """
    group, symmetric = regime.options["group_size"], regime.options["symmetric"]
    simulated.build_plain(
        regime, model, into, lambda name, weight: rounded(name, weight, regime.bits, group, symmetric=symmetric)
    )


def rounded(name: str, weight: torch.Tensor, bits: int, group: int, *, symmetric: bool) -> simulated.Quantized:
    """A layer's weights at the nearest levels of their groups.

    Args:
        name: of the layer, for the message.
        weight: shape (out features, in features).

    Raises:
        QllmError: if the group size does not divide the width.
    """
    from pytest_qllm.regimes.grid import SCALE_BITS, fit, grouped

    groups = grouped(name, weight.float(), group)
    nearest = fit(groups, bits, symmetric).nearest(groups).reshape(weight.shape)
    each = SCALE_BITS * (1 if symmetric else 2)
    return simulated.Quantized(nearest, LayerSize(weight.numel(), weight.numel() * (bits + each / group)))
