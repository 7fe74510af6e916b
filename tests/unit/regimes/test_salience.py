"""Mixed precision: widths follow salience, and their mean is what was asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.salience import allotted, quantize, salience
from pytest_qllm.regimes.solver import inverse_factor


@pytest.fixture(scope="module")
def layer() -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve groups of 8 columns of which the third and ninth get large inputs, and the fifth next to none."""
    generator = torch.Generator().manual_seed(2)
    strength = torch.ones(96)
    strength[16:24], strength[64:72], strength[32:40] = 12.0, 6.0, 0.05
    inputs = torch.randn(600, 96, generator=generator) * strength
    return torch.randn(32, 96, generator=generator), inputs.T @ inputs / 600


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 4), st.integers(1, 9), st.integers(0, 10**6))
def test_the_mean_width_is_what_was_asked_for(bits, groups, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 4 * groups, generator=generator)
    inputs = torch.randn(80, 4 * groups, generator=generator) * torch.rand(4 * groups, generator=generator) * 9
    hessian = inputs.T @ inputs
    widths = allotted(weight, hessian, salience(weight, inverse_factor("layer", hessian), 4), bits)
    assert sum(widths) == bits * groups
    assert set(widths) <= {bits - 1, bits, bits + 1}


def test_the_most_salient_groups_get_more_and_the_least_salient_less(layer):
    widths = quantize("layer", *layer, 3, 8).widths
    assert (widths[2], widths[8], widths[4]) == (4, 4, 2)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_each_group_has_as_many_levels_as_its_width(layer, bits):
    found = quantize("layer", *layer, bits, 8)
    for at, width in enumerate(found.widths):
        for row in found.weight[:, at * 8 : at * 8 + 8]:
            assert len(row.unique()) <= 2**width
    assert found.size.bits == 32 * 96 * (bits + 32 / 8) + 12 * 2


def test_loses_less_than_one_width_for_all(layer):
    weight, hessian = layer
    mixed = quantize("layer", weight, hessian, 3, 8)
    # Groups as wide as the layer's halves leave nothing to choose from but one width.
    equal = quantize("layer", weight, hessian, 3, 96)
    assert equal.widths == [3]

    def lost(found) -> float:
        return float((((weight - found.weight) @ hessian) * (weight - found.weight)).sum())

    assert lost(mixed) < lost(equal)


def test_a_group_size_that_does_not_divide_is_refused(layer):
    with pytest.raises(QllmError, match="groups of 64 do not divide the 96 inputs of layer; sizes that do: 16, 32, 96"):
        quantize("layer", *layer, 3, 64)
