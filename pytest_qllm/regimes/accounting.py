"""What simulated weights would take if they were stored as their method says. Free of torch.

An artifact's ``size.json`` has it in sum, ``layers.json`` by layer, with the share of outliers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_qllm.regimes.size import LAYERS, NAME, Size

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


def write(layers: Mapping[str, LayerSize], matrices: int, parameters: int, into: Path) -> None:
    """Put both files into an artifact.

    Args:
        layers: of each quantized layer by name.
        matrices: weights of all matrices in the model's layers; those that are not quantized count with 16 bits.
        parameters: of the whole model, embeddings, head and norms too.
    """
    weights = sum(layer.weights for layer in layers.values())
    bits = sum(layer.bits for layer in layers.values())
    whole = bits + PLAIN_BITS * (parameters - weights)
    size = Size((bits + PLAIN_BITS * (matrices - weights)) / matrices, whole / parameters, round(whole / 8))
    (into / NAME).write_text(json.dumps(size.to_json()))
    account = {
        "outlier_share": sum(layer.outliers for layer in layers.values()) / weights,
        "layers": {name: asdict(layer) for name, layer in layers.items()},
    }
    (into / LAYERS).write_text(json.dumps(account, indent=1))


def read(artifact: Path) -> dict[str, Any] | None:
    """The content of both files, or None where the artifact is no simulated one."""
    if not (artifact / LAYERS).is_file():
        return None
    content: dict[str, Any] = json.loads((artifact / NAME).read_text()) | json.loads((artifact / LAYERS).read_text())
    return content


def read_layers(artifact: Path) -> dict[str, LayerSize]:
    """The size of each quantized layer; empty where the artifact does not tell."""
    content = read(artifact)
    return {name: LayerSize(**layer) for name, layer in content["layers"].items()} if content else {}
