"""What simulated weights would take if they were stored as their method says. Free of torch.

The artifact's ``size.json`` holds it: bits per weight of the quantized layers, and of the whole model with all else at
16 bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "size.json"
PLAIN_BITS = 16
"""What is not quantized is kept in FP16."""

OUTLIER_BITS = 32
"""An outlier's value and its place, 16 bits each (Dettmers et al., 2023, arXiv 2306.03078, section 4.3)."""


@dataclass(frozen=True)
class LayerSize:
    """Of one layer.

    Attributes:
        weights: how many.
        bits: of their codes, scales, zero points and outliers, in all.
        outliers: how many weights are kept in FP16.
    """

    weights: int
    bits: float
    outliers: int = 0


def write(layers: Mapping[str, LayerSize], parameters: int, into: Path) -> None:
    """Put ``size.json`` into an artifact.

    Args:
        layers: of each quantized layer by name.
        parameters: of the whole model; those outside of ``layers`` count with 16 bits.
    """
    weights = sum(layer.weights for layer in layers.values())
    bits = sum(layer.bits for layer in layers.values())
    whole = bits + PLAIN_BITS * (parameters - weights)
    content = {
        "bits_per_weight": bits / weights,
        "model_bits_per_weight": whole / parameters,
        "bytes": round(whole / 8),
        "outlier_share": sum(layer.outliers for layer in layers.values()) / weights,
        "layers": {name: asdict(layer) for name, layer in layers.items()},
    }
    (into / FILE).write_text(json.dumps(content, indent=1))


def read(artifact: Path) -> dict[str, Any] | None:
    """The content of an artifact's ``size.json``, or None where it has none."""
    path = artifact / FILE
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return content


def read_layers(artifact: Path) -> dict[str, LayerSize]:
    """The size of each quantized layer; empty where the artifact does not tell."""
    content = read(artifact)
    return {name: LayerSize(**layer) for name, layer in content["layers"].items()} if content else {}
