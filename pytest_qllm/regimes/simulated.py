"""Simulated regimes: effective weights computed here, put into the FP16 model, and multiplied as any dense weights.

No kernel of theirs exists here, so they say nothing about speed or memory; what they would weigh is accounted for
(``accounting.py``). Their artifact is a plain FP16 checkpoint. All is computed in float32 on the CPU with one thread:
more would add up in another order, and give other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import accounting
from pytest_qllm.regimes.accounting import LayerSize
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import counted

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Quantized:
    """A layer's effective weights, shape (out features, in features), and what their codes would take."""

    weight: torch.Tensor
    size: LayerSize


Plain = Callable[[str, "torch.Tensor"], Quantized]
"""From a layer's name and weights to what they become."""

Calibrated = Callable[[str, "torch.Tensor", "torch.Tensor"], Quantized]
"""From a layer's name, weights and Hessian to what they become."""


def build_plain(regime: Regime, model: Path, into: Path, by: Plain) -> None:
    """Quantize each linear layer by itself, without calibration, and save the artifact."""
    import torch

    with _prepared(regime, model) as (dense, layers), torch.no_grad():
        sizes = {}
        for name, layer in layers.items():
            quantized = by(name, layer.weight)
            layer.weight.copy_(quantized.weight)
            sizes[name] = quantized.size
        save(dense, sizes, model, into)


def build_calibrated(regime: Regime, model: Path, texts: Sequence[str], seed: int, into: Path, by: Calibrated) -> None:
    """Quantize block by block, on the calibration texts, and save the artifact."""
    from pytest_qllm.models.loader import load_tokenizer
    from pytest_qllm.regimes import sequential
    from pytest_qllm.regimes.calibration import token_rows

    recipe = regime.options["calibration"]
    rows = token_rows(load_tokenizer(model), texts, recipe["rows"], recipe["tokens"], seed)
    sizes: dict[str, LayerSize] = {}

    def quantize(name: str, weight: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
        quantized = by(name, weight, hessian)
        sizes[name] = quantized.size
        return quantized.weight

    with _prepared(regime, model) as (dense, layers):
        sequential.quantize(dense, rows, layers, quantize)
        save(dense, sizes, model, into)


def save(dense: PreTrainedModel, sizes: Mapping[str, LayerSize], model: Path, into: Path) -> None:
    """The artifact: the model in FP16, its tokenizer, and the accounting."""
    import torch

    from pytest_qllm.models.loader import load_tokenizer

    matrices, parameters = counted(dense)
    accounting.write(sizes, sum(matrices.values()), parameters, into)
    dense.to(torch.float16).save_pretrained(into)
    load_tokenizer(model).save_pretrained(into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The artifact as the plain model that it is."""
    from pytest_qllm.models.loader import load_dense

    return load_dense(artifact, dtype, device)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, for as long as it takes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def option(regime: Regime, name: str, kind: type | tuple[type, ...]) -> object:
    """An option of a simulated method.

    Raises:
        QllmError: if it is of another type.
    """
    value = regime.options[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise QllmError(f"{regime.name}: {name} is {value!r}; expected {' or '.join(one.__name__ for one in kinds)}")
    return value


@contextmanager
def _prepared(regime: Regime, model: Path) -> Iterator[tuple[PreTrainedModel, dict[str, torch.nn.Linear]]]:
    """The model in float32 and the layers to quantize: the linear ones of its blocks, but for those to keep."""
    import torch

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.quiet import quiet
    from pytest_qllm.regimes.layers import kept
    from pytest_qllm.regimes.sequential import linears

    with one_thread(), quiet():
        dense = load_dense(model, torch.float32, "cpu")
        layers = linears(dense)
        for name in kept(regime, list(layers)):
            del layers[name]
        yield dense, layers
