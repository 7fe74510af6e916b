"""Bytes of all tensors, whatever a library hides them in."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from pytest_qllm.efficiency.tensors import held


def test_shared_weights_count_once():
    model = nn.Module()
    model.first, model.second = nn.Linear(8, 4, bias=False), nn.Linear(8, 4, bias=False)
    assert held(model) == 2 * 8 * 4 * 4
    model.second.weight = model.first.weight
    assert held(model) == 8 * 4 * 4


def test_a_view_holds_its_whole_storage_once():
    model = nn.Module()
    whole = torch.zeros(100)
    model.register_buffer("part", whole[:10])
    model.register_buffer("other", whole[50:])
    assert held(model) == 400


def test_what_stands_beside_a_parameter_counts():
    layer = nn.Linear(8, 4, bias=False)
    state = SimpleNamespace(absmax=torch.zeros(5), nested=SimpleNamespace(code=torch.zeros(16)), name="nf4")
    state.itself = state
    layer.weight.quant_state = state
    layer.meta = {"scale": torch.zeros(3), "shape": (4, 8), "parts": [torch.zeros(2, dtype=torch.uint8)]}
    assert held(layer) == 128 + 20 + 64 + 12 + 2


def test_nothing_is_on_the_meta_device():
    assert held(nn.Linear(8, 4, device="meta")) == 0
