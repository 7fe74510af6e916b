"""A layer by SpQR: its levels, its outliers, and what they are worth."""

from __future__ import annotations

import pytest
import torch

from pytest_qllm.regimes.solver import inverse_factor
from pytest_qllm.regimes.sparse import first_level, quantize, second_level, sensitive

NEVER = float("inf")


@pytest.fixture(scope="module")
def layer() -> tuple[torch.Tensor, torch.Tensor]:
    """Weights with a few large ones, shape (40, 48), and a Hessian of correlated inputs."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(40, 48, generator=generator)
    large = torch.rand(40, 48, generator=generator) < 0.02
    weight[large] *= 8
    inputs = torch.randn(400, 48, generator=generator) @ torch.randn(48, 48, generator=generator)
    return weight, inputs.T @ inputs / 400


def lost(layer, found) -> float:
    weight, hessian = layer
    error = weight - found.weight
    return float(((error @ hessian) * error).sum())


def spqr(layer, bits=3, group=16, threshold=0.3, scale_bits=3):
    return quantize("layer", *layer, bits, group, threshold, scale_bits)


@pytest.mark.parametrize("scale_bits", [3, 16])
@pytest.mark.parametrize("group", [8, 16, 20])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_what_is_no_outlier_lies_on_few_levels(layer, bits, group, scale_bits):
    found = spqr(layer, bits, group, scale_bits=scale_bits)
    for begin in range(0, 48, group):
        for row in range(40):
            kept = ~found.outliers[row, begin : begin + group]
            assert len(found.weight[row, begin : begin + group][kept].unique()) <= 2**bits


def test_scales_and_zero_points_lie_on_few_levels_of_their_own():
    columns = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    levels = second_level(first_level(columns, torch.ones_like(columns, dtype=torch.bool), 3), 3)
    for values in (levels.scale, levels.zero):
        for rows in (slice(0, 16), slice(16, 32), slice(32, 40)):
            assert len(values[rows].unique()) <= 2**3
    assert len(levels.scale.unique()) > 2**3


@pytest.mark.parametrize("threshold", [NEVER, 0.3])
def test_the_error_falls_with_the_bits(layer, threshold):
    errors = [lost(layer, spqr(layer, bits, threshold=threshold)) for bits in (2, 3, 4, 8)]
    assert errors == sorted(errors, reverse=True)


def test_outliers_make_up_for_most_of_the_error(layer):
    without, found = spqr(layer, 2, threshold=NEVER), spqr(layer, 2)
    assert not without.outliers.any()
    assert 0 < found.outliers.float().mean() < 0.5
    assert lost(layer, found) < 0.5 * lost(layer, without)


def test_a_lower_threshold_keeps_more(layer):
    kept = [spqr(layer, threshold=threshold).size.outliers for threshold in (NEVER, 3.0, 0.3, 0.03)]
    assert kept[0] == 0
    assert kept == sorted(set(kept))


def test_outliers_are_the_first_group_s_most_sensitive_weights(layer):
    """In the first group nothing was moved yet: an outlier's value is the weight's own, and so is its error."""
    weight, hessian = layer
    found = spqr(layer)
    outliers = found.outliers[:, :16]
    assert torch.allclose(found.weight[:, 0][outliers[:, 0]], weight[:, 0][outliers[:, 0]], rtol=2**-10)
    diagonal = inverse_factor("layer", hessian).diagonal()
    everyone = torch.ones(40, 16, dtype=torch.bool)
    nearest = first_level(weight[:, :16], everyone, 3).nearest(weight[:, :16])
    sensitivity = ((weight[:, :16] - nearest) / diagonal[:16]) ** 2
    # A group's extremes cost the others their resolution, so size counts beside the own error.
    size = weight[:, :16].abs() / diagonal[:16]
    assert size[outliers].mean() > 2 * size[~outliers].mean()
    assert sensitivity[outliers].mean() > sensitivity[~outliers].mean()


def test_sensitivity_is_what_leaving_one_out_gains():
    """Against the definition: fit the group again without each weight in turn."""
    generator = torch.Generator().manual_seed(5)
    columns, diagonal = torch.randn(7, 9, generator=generator), torch.rand(9, generator=generator) + 0.5
    everyone = torch.ones(7, 9, dtype=torch.bool)

    def errors(kept: torch.Tensor) -> torch.Tensor:
        return ((columns - first_level(columns, kept, 2).nearest(columns)) / diagonal).square() * kept

    gains = torch.stack(
        [
            errors(everyone).sum(1) - errors(everyone.scatter(1, torch.full((7, 1), left), False)).sum(1)
            for left in range(9)
        ],
        1,
    )
    for limit in gains.flatten().sort().values[5::9].tolist():
        middle = torch.tensor(limit + 1e-5)
        assert torch.equal(sensitive(columns, diagonal, 2, middle), gains > middle)


def test_equal_weights_and_few_kept_ones_give_finite_levels():
    columns = torch.cat([torch.zeros(4, 8), torch.full((4, 8), 0.7), torch.randn(10, 8)])
    kept = torch.rand(18, 8) < 0.2
    levels = second_level(first_level(columns, kept, 2), 3)
    assert torch.isfinite(levels.nearest(columns)).all()


def test_bits_count_codes_scales_zero_points_and_outliers(layer):
    found = spqr(layer, 3, 20)
    groups, rows = 3, 40
    second_levels = 3  # of 16, 16 and 8 rows
    expected = 40 * 48 * 3 + rows * groups * (3 + 3) + second_levels * groups * 4 * 16 + 32 * int(found.outliers.sum())
    assert found.size.bits == expected
    plain = spqr(layer, 3, 16, NEVER, 16)
    assert plain.size.bits == 40 * 48 * (3 + 32 / 16)
