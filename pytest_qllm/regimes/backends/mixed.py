"""Mixed precision by salience: in each layer as many groups with a bit more as groups with a bit less.

SliM-LLM's salience-determined bit allocation (Huang et al., 2024, arXiv 2405.14917, section 3.2). A group is a run of
input columns, with all output channels; its salience is the mean of ``(w / [H^-1]_jj)**2``. The most salient groups get
one bit more and as many of the least salient one bit less, so that the mean width is the one asked for, exactly. How
many is chosen for each layer by its output error. The columns are then quantized by GPTQ's solver.

Simulated, and with two differences from the paper: the error is the mean squared one on the calibration texts (the
paper takes a KL divergence), and there is no search of the grids' ranges (its section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.regimes import simulated
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch

_SLIM = Method(
    "slim",
    "SliM-LLM",
    "mixed",
    (4, 3, 2),
    groups=(16, 32, 64, 96, 128, 192, 256),
    group=64,
    simulated=True,
    keeps=True,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
)
METHODS = (_SLIM,)
REGIMES = tuple(_SLIM.regime(bits) for bits in _SLIM.widths)

load = dense = simulated.load


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Allot widths and quantize, layer by layer.

    Raises:
        QllmError: if the group size does not divide a layer's width, or the texts are too short.
    """

    def by(name: str, weight: torch.Tensor, hessian: torch.Tensor) -> simulated.Quantized:
        from pytest_qllm.regimes.salience import quantize

        found = quantize(name, weight, hessian, regime.bits, regime.options["group_size"])
        return simulated.Quantized(found.weight, found.size)

    simulated.build_calibrated(regime, model, calibration, seed, into, by)
