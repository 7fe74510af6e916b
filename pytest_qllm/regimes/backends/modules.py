"""A map from modules to regimes: each linear layer gets the effective weights of the first regime that matches it.

Simulated: each part is made by its own library, on the whole model, and the layers are put together from the parts'
dense weights. So a calibrated part saw inputs from a model that was quantized by that part throughout. Layers that no
expression matches get the part ``default``, or stay in FP16. What a part takes is its own account, or the
tensors that its library saved.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import accounting, simulated
from pytest_qllm.regimes.accounting import PLAIN_BITS, LayerSize
from pytest_qllm.regimes.module_map import parts_of
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import stored

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

load = dense = simulated.load


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Make each part that matches a layer, and put the layers together.

    Raises:
        QllmError: if an expression matches no layer, or a part has no dense weights.
    """
    import torch

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.quiet import quiet
    from pytest_qllm.regimes.sequential import linears

    with simulated.one_thread(), quiet():
        whole = load_dense(model, torch.float16, "cpu")
        layers = linears(whole)
        sizes: dict[str, LayerSize] = {}
        for number, (part, names) in enumerate(_assigned(regime, list(layers))):
            if part.is_baseline:
                continue
            folder = into / f".part-{number}"
            folder.mkdir()
            texts = calibration if "calibration" in part.options else []
            source = _made(part, model, texts, seed, folder)
            with torch.no_grad():
                for name in names:
                    layers[name].weight.copy_(_weight(source, name, part))
            sizes |= _sizes(part, folder, {name: layers[name].weight.numel() for name in names})
            shutil.rmtree(folder)
        if not sizes:
            raise QllmError(f"{regime.name}: every layer stays in FP16: there is nothing to quantize")
        simulated.save(whole, sizes, model, into)


def _assigned(regime: Regime, names: Sequence[str]) -> list[tuple[Regime, list[str]]]:
    """Each part that has layers, and which they are."""
    parts = parts_of(regime)
    found: dict[str, list[str]] = {}
    unmatched = set(regime.options["order"])
    for name in names:
        matching = [pattern for pattern in regime.options["order"] if re.search(pattern, name)]
        unmatched -= set(matching[:1])
        chosen = regime.options["modules"][matching[0]] if matching else regime.options["default"]
        found.setdefault(chosen, []).append(name)
    if unmatched:
        raise QllmError(
            f"{regime.name}: {min(unmatched)!r} decides for no linear layer of the model's blocks, which are called "
            f"{names[0]} and the like; an earlier expression decides where both match"
        )
    return [(parts[chosen], layers) for chosen, layers in found.items()]


def _made(part: Regime, model: Path, texts: Sequence[str], seed: int, folder: Path) -> PreTrainedModel:
    import torch

    from pytest_qllm.regimes.backends import backend, dense_backend

    found = dense_backend(part)
    if found is None:
        raise QllmError(
            f"{part.name} cannot be a part of a map: {part.method} has no dense weights to take layers from"
        )
    backend(part).build(part, model, texts, seed, folder)
    return found.dense(folder, torch.float16, "cpu")


def _weight(source: PreTrainedModel, name: str, part: Regime) -> torch.Tensor:
    try:
        weight: torch.Tensor = source.get_submodule(name).weight
    except AttributeError:
        raise QllmError(f"{part.name} has no layer {name}: it cannot be a part of a map for this model") from None
    return weight


def _sizes(part: Regime, folder: Path, weights: Mapping[str, int]) -> dict[str, LayerSize]:
    """By the part's own account, or by the tensors that its library saved; what neither tells counts as FP16."""
    told = accounting.read_layers(folder)
    bits, _ = stored(folder, weights)
    return {
        name: told.get(name) or LayerSize(count, bits[name] or PLAIN_BITS * count) for name, count in weights.items()
    }
