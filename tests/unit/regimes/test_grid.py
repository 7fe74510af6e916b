"""Uniform grids: what may be said of any group of weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.grid import fit, grouped

groups_of_weights = st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=24).map(torch.tensor)


@settings(deadline=None)
@given(groups_of_weights, st.integers(1, 8), st.booleans())
def test_the_levels_are_no_more_than_the_width_has(weights, bits, symmetric):
    nearest = fit(weights, bits, symmetric).nearest(weights)
    assert len(nearest.unique()) <= 2**bits
    assert torch.isfinite(nearest).all()


@settings(deadline=None)
@given(groups_of_weights, st.integers(2, 8))
def test_an_asymmetric_grid_misses_no_weight_by_more_than_half_a_step(weights, bits):
    grid = fit(weights, bits, symmetric=False)
    # FP16 rounds the smallest value and the step, of which there are 2**bits - 1
    rounding = 2**-10 * (weights.abs().max() + grid.step * 2**bits) + 2.0**-23 * 2**bits
    assert ((grid.nearest(weights) - weights).abs() <= grid.step / 2 + rounding).all()


@settings(deadline=None)
@given(groups_of_weights, st.integers(1, 8), st.booleans())
def test_what_lies_on_a_grid_stays_there(weights, bits, symmetric):
    grid = fit(weights, bits, symmetric)
    nearest = grid.nearest(weights)
    assert torch.equal(grid.nearest(nearest), nearest)


@settings(deadline=None)
@given(groups_of_weights, st.integers(2, 8))
def test_zero_is_a_level_of_a_symmetric_grid(weights, bits):
    assert fit(weights, bits, symmetric=True).nearest(torch.zeros(1)).item() == 0


def test_one_bit_is_a_sign_times_the_mean_absolute_weight():
    weights = torch.tensor([-3.0, -1.0, 1.0, 2.0, 3.0])
    assert fit(weights, 1, symmetric=True).nearest(weights).tolist() == [-2, -2, 2, 2, 2]
    around = fit(weights + 8, 1, symmetric=False).nearest(weights + 8)
    assert around.unique().tolist() == pytest.approx([8.4 - 1.92, 8.4 + 1.92], abs=0.01)


def test_two_symmetric_bits_lose_half_a_step_of_the_largest():
    weights = torch.tensor([-3.0, -1.5, 0.0, 3.0])
    assert fit(weights, 2, symmetric=True).nearest(weights).tolist() == [-4, -2, 0, 2]


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_error_falls_with_every_bit(symmetric):
    weights = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    errors = [float((fit(weights, bits, symmetric).nearest(weights) - weights).square().mean()) for bits in range(1, 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1000 * errors[-1]


def test_a_group_size_that_does_not_divide_is_refused_by_the_layer_s_name():
    with pytest.raises(QllmError) as refused:
        grouped("layers.0.mlp.up_proj", torch.zeros(2, 576), 128)
    assert str(refused.value) == (
        "groups of 128 do not divide the 576 inputs of layers.0.mlp.up_proj; sizes that do: 16, 32, 64, 96, 192"
    )
