"""Nested widths: one parent's codes hold those of all children."""

from __future__ import annotations

import pytest
import torch

from pytest_qllm.regimes.backends.nested import PARENT_BITS, child_codes, child_values, parent
from pytest_qllm.regimes.grid import fit


@pytest.fixture(scope="module")
def weight() -> torch.Tensor:
    return torch.randn(24, 64, generator=torch.Generator().manual_seed(0))


def binary(codes: torch.Tensor, bits: int) -> list[str]:
    return [f"{code:0{bits}b}" for code in codes.flatten().tolist()]


@pytest.mark.parametrize("bits", range(3, 9))
def test_a_child_s_code_is_the_prefix_of_its_parent_s(weight, bits):
    _, codes = parent("layer", weight, 32)
    children = binary(child_codes(codes, bits), bits)
    parents = binary(codes, PARENT_BITS)
    assert all(one.startswith(other) for one, other in zip(parents, children, strict=True))
    assert len(set(children)) > 2 ** (bits - 1)


def test_the_widest_child_is_the_parent(weight):
    grid, codes = parent("layer", weight, 32)
    assert torch.equal(child_values(grid, child_codes(codes, 8), 8), grid.values(codes.float()))


def test_the_error_falls_with_every_bit_and_is_near_that_of_a_grid_of_its_own(weight):
    grid, codes = parent("layer", weight, 32)
    groups = weight.reshape(24, 2, 32)
    errors = {}
    for bits in range(3, 9):
        nested = child_values(grid, child_codes(codes, bits), bits)
        errors[bits] = float((nested - groups).square().mean())
        own = float((fit(groups, bits, symmetric=False).nearest(groups) - groups).square().mean())
        assert errors[bits] < 1.3 * own
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
