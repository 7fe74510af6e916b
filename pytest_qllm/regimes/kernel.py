"""When a kernel agrees with the weights that it multiplies: the figures of the probe, and the rule. Free of torch.

The probe (``probe.py``) runs a few fixed texts through the library's own kernels and through the dense shadow, and
compares twice:

* **each quantized layer**, given the same input as in the shadow. The difference is in rounding units: 2**-8 (one
  rounding to bfloat16) of ``sqrt(sum_k (w_jk x_k)**2) + |y_j|``, which is what rounding the inputs, weights and outputs
  of a product moves its result by. The figure of a layer is the larger of two medians: over positions for its worst
  output channel, and over channels for its worst position. The medians forgive a kernel its loss of precision on the
  few tokens with huge activations, and neither a wrong channel nor a wrong row of the batch.
* **the logits** of the whole model, whose mean difference is held against what one bfloat16 rounding in each layer does
  to the shadow's own logits.

Both limits allow a kernel that multiplies in half precision while the compute dtype is float32. Measured on
SmolLM2-135M-Instruct (docs/explanation/decisions/0004-dense-shadow-and-kernel-probe.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
"""Part of the store's key: counted up with every change of the texts, of what is computed, or of its meaning."""

LAYER_LIMIT = 5.0
"""Rounding units; sound half-precision kernels have up to 2.4, a layer whose scales are 5 % off 6.8 or more."""

LOGIT_LIMIT = 4.0
"""Mean logit difference, in units of what one bfloat16 rounding in each layer explains."""


@dataclass(frozen=True)
class Difference:
    """Two sets of logits on the same tokens: largest and mean absolute difference, mean KL in nats, and the share of
    tokens with the same top token."""

    max: float
    mean: float
    kl: float
    agreement: float


@dataclass(frozen=True)
class Figures:
    """What the probe found.

    Attributes:
        tokens: compared positions.
        texts: rows of the batch.
        dtype: what the shadow was computed in.
        kernel_dtype: what the model with the real kernels was loaded in; another one where the library has no kernel
            for ``dtype``.
        logits: real kernels against the shadow; None if a logit of the real kernels is NaN or infinite.
        noise: the shadow with its rows one by one against padded together.
        rounding: the shadow with one random rounding to bfloat16 at the input and output of each layer, against itself.
        layers: quantized layers that were compared.
        faulty: how many of them are above ``LAYER_LIMIT``.
        worst_layer: name of the layer that differs most; empty where the model with the real kernels has no layers of
            the shadow's names (fused ones, say), so that the logits have to tell.
        worst: its difference in rounding units; None if its output has NaN or infinity.
    """

    tokens: int
    texts: int
    dtype: str
    kernel_dtype: str
    logits: Difference | None
    noise: Difference
    rounding: Difference
    layers: int
    faulty: int
    worst_layer: str
    worst: float | None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Figures:
        differences = {
            name: None if content[name] is None else Difference(**content[name])
            for name in ("logits", "noise", "rounding")
        }
        return cls(**{**content, **differences})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def limit(self) -> float:
        """Largest mean logit difference of a kernel that agrees."""
        return LOGIT_LIMIT * self.rounding.mean

    def fault(self) -> str:
        """What is wrong with the kernel, or nothing. Only figures that were found and are small say nothing."""
        if self.logits is None:
            return "its logits contain NaN or infinity"
        if self.layers and self.worst is None:
            return f"the output of {self.worst_layer} contains NaN or infinity"
        if self.layers and self.worst is not None and not self.worst <= LAYER_LIMIT:
            return f"{self.faulty} of {self.layers} layers differ by more than rounding explains"
        if not self.logits.mean <= self.limit:
            return "its logits differ by more than rounding explains"
        return ""
