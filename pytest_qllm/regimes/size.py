"""What a quantized model weighs, as computed from its tensors. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Weights as they are stored.

    Attributes:
        bits_per_weight: of the quantized linear layers; scales, zero points and outliers counted.
        model_bits_per_weight: of the whole model, embeddings and norms included.
        bytes: of the whole model.
    """

    bits_per_weight: float
    model_bits_per_weight: float
    bytes: int
