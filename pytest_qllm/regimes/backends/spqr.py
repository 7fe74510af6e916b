"""SpQR (Dettmers et al., 2023, arXiv 2306.03078): small groups, quantized scales and zero points, outliers in FP16.

Simulated, as in the paper whose evaluation the suites reproduce: the weights are those of the method, in FP16 storage.
The columns of a layer are quantized from the left by GPTQ's solver. In each group (algorithm 1 of the paper):

1. Outliers: a weight whose removal from its group lowers the group's error, in units of the diagonal of the inverse
   Hessian, by more than a threshold. The others get a grid from their smallest to their largest.
2. Scales and zero points of 16 output channels are themselves quantized to 3 bits, before the weights are. At 8 bits
   they have 8: the paper has its 3 for codes of 3 and 4 bits, and beside codes of 8 bits they would be most of the
   error (85 times that of the codes, in squares, on the built-in model; with 8 bits, a fifth of it).
3. A weight that its grid then misses by more than the threshold is an outlier, too. An outlier stays as it is, so it
   has no error to make up for.

The threshold is relative: in units of what the layer's mean weight would lose by becoming its row's mean. So one value
does for all layers and widths; with the default, the outlier shares of the built-in model come near to the paper's.
``outliers = false`` leaves them out, ``scale_bits = 16`` leaves scales and zero points in FP16; both together are GPTQ
with an asymmetric grid. Two things are different from the paper: columns are never sorted, and the range of a grid
always has zero in it. A group size that does not divide a layer's width leaves a shorter last group.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import simulated
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch

_SPQR = Method(
    "spqr",
    "SpQR",
    "spqr",
    (8, 4, 3, 2),
    groups=(8, 16, 32, 64, 128, 256),
    group=16,
    simulated=True,
    keeps=True,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
    options={"outliers": True, "outlier_threshold": 0.4, "scale_bits": {8: 8, 4: 3, 3: 3, 2: 3}},
)
METHODS = (_SPQR,)
REGIMES = (
    *(_SPQR.regime(bits) for bits in _SPQR.widths),
    _SPQR.regime(2, group_size=128),
    _SPQR.regime(2, name="spqr-2bit-no-outliers", options={"outliers": False}),
)

load = dense = simulated.load


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize every linear layer of the decoder's blocks, block by block.

    Raises:
        QllmError: for an option that is none, or texts that are too short.
    """
    threshold = float(cast(float, simulated.option(regime, "outlier_threshold", (int, float))))
    scale_bits = cast(int, simulated.option(regime, "scale_bits", int))
    if not simulated.option(regime, "outliers", bool):
        threshold = float("inf")
    if not threshold > 0 or not (1 < scale_bits <= 8 or scale_bits == 16):
        raise QllmError(f"{regime.name}: outlier_threshold has to be above 0, scale_bits from 2 to 8, or 16")

    def by(name: str, weight: torch.Tensor, hessian: torch.Tensor) -> simulated.Quantized:
        from pytest_qllm.regimes.sparse import quantize

        found = quantize(name, weight, hessian, regime.bits, regime.options["group_size"], threshold, scale_bits)
        return simulated.Quantized(found.weight, found.size)

    simulated.build_calibrated(regime, model, calibration, seed, into, by)
