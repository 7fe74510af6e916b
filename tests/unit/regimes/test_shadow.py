"""Plain layers in place of quantized ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.shadow import replace_linears


class Quantized(nn.Module):
    """Stands for a library's layer: its weights are what ``double`` says."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = 3, 2
        self.bias = nn.Parameter(torch.tensor([1.0, -1.0])) if bias else None


@pytest.fixture
def model() -> nn.Module:
    return nn.ModuleDict({"block": nn.ModuleDict({"up": Quantized(True), "down": Quantized(False)}), "norm": nn.ReLU()})


def weight(name: str, module: nn.Module) -> torch.Tensor | None:
    return torch.arange(6.0).reshape(2, 3) if isinstance(module, Quantized) else None


def test_each_quantized_layer_becomes_a_plain_one_with_its_weights_and_bias(model):
    assert replace_linears(model, weight) == 2
    up, down = model["block"]["up"], model["block"]["down"]
    assert type(up) is type(down) is nn.Linear
    assert up(torch.ones(1, 3)).tolist() == [[4.0, 11.0]]
    assert down(torch.ones(1, 3)).tolist() == [[3.0, 12.0]]


def test_the_dtype_is_that_of_the_weights(model):
    replace_linears(model, lambda name, module: None if (w := weight(name, module)) is None else w.double())
    assert model["block"]["up"].bias.dtype == model["block"]["up"].weight.dtype == torch.float64


def test_a_model_without_a_quantized_layer_is_refused(model):
    with pytest.raises(QllmError, match="no layer of this ModuleDict is quantized"):
        replace_linears(model, lambda name, module: None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.zeros(3, 2), r"block.up have the shape \(3, 2\), expected \(2, 3\)"),
        (torch.full((2, 3), float("nan")), "block.up contain NaN"),
        (torch.full((2, 3), float("inf")), "block.up contain NaN or infinity"),
    ],
)
def test_weights_that_cannot_be_the_layer_s_are_refused_by_name(model, wrong, words):
    with pytest.raises(QllmError, match=words):
        replace_linears(model, lambda name, module: wrong if isinstance(module, Quantized) else None)
