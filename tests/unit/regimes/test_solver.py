"""GPTQ's solver against least squares by brute force."""

from __future__ import annotations

import pytest
import torch

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.grid import fit
from pytest_qllm.regimes.solver import inverse_factor, solve

STEP = 0.25


def problem(rows: int = 6, columns: int = 12, tokens: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and correlated inputs, the latter of shape (tokens, columns)."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(columns, columns, generator=generator)
    return torch.randn(rows, columns, generator=generator), torch.randn(tokens, columns, generator=generator) @ mixing


def to_steps(number, columns, diagonal):
    return lambda at, column: (column / STEP).round() * STEP


def brute_force(weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Fix the columns from the left; before each, the free ones are the least-squares answer to what is fixed."""
    found, inputs = weight.double().clone(), inputs.double()
    target = inputs @ weight.double().T
    for at in range(weight.shape[1]):
        left = target - inputs[:, :at] @ found[:, :at].T
        found[:, at:] = torch.linalg.lstsq(inputs[:, at:], left).solution.T
        found[:, at] = (found[:, at] / STEP).round() * STEP
    return found


def lost(weight: torch.Tensor, found: torch.Tensor, inputs: torch.Tensor) -> float:
    return float((inputs @ (weight - found).T).square().sum())


def plain(weight: torch.Tensor) -> torch.Tensor:
    return (weight / STEP).round() * STEP


@pytest.mark.parametrize("group", [1, 3, 5, 12, 40])
def test_is_the_least_squares_answer_at_every_column(group):
    weight, inputs = problem()
    factor = inverse_factor("layer", inputs.T @ inputs, damping=0.0)
    assert torch.allclose(solve(weight, factor, to_steps, group), brute_force(weight, inputs).float(), atol=1e-5)


@pytest.mark.parametrize("group", [8, 32, 64])
def test_blocks_change_nothing(group):
    weight, inputs = problem(4, 100, 300)
    factor = inverse_factor("layer", inputs.T @ inputs)
    assert torch.allclose(solve(weight, factor, to_steps, group), solve(weight, factor, to_steps, 100), atol=1e-4)


def test_loses_less_than_plain_rounding_where_inputs_are_correlated():
    weight, inputs = problem()
    found = solve(weight, inverse_factor("layer", inputs.T @ inputs), to_steps, 12)
    assert lost(weight, found, inputs) < 0.5 * lost(weight, plain(weight), inputs)


def test_is_plain_rounding_where_they_are_not():
    weight, _ = problem()
    found = solve(weight, inverse_factor("layer", torch.eye(12)), to_steps, 4)
    assert torch.equal(found, plain(weight))


def test_an_input_that_is_always_zero_is_rounded_and_moves_no_other():
    weight, inputs = problem()
    inputs[:, 5] = 0
    found = solve(weight, inverse_factor("layer", inputs.T @ inputs), to_steps, 12)
    assert torch.equal(found[:, 5], plain(weight)[:, 5])
    others = [at for at in range(12) if at != 5]
    hessian = inputs[:, others].T @ inputs[:, others]
    # the mean of the diagonal, which damps, has one zero less
    alone = solve(weight[:, others], inverse_factor("layer", hessian, damping=0.01 * 12 / 11 * 11 / 12), to_steps, 11)
    assert float((found[:, others] - alone).abs().max()) <= STEP


def test_weights_are_left_as_they_are():
    weight, inputs = problem()
    before = weight.clone()
    solve(weight, inverse_factor("layer", inputs.T @ inputs), to_steps, 12)
    assert torch.equal(weight, before)


def test_groups_get_their_weights_as_they_are_when_their_turn_comes():
    weight, inputs = problem()
    seen = []

    def levels(number, columns, diagonal):
        seen.append((number, columns.clone()))
        grid = fit(columns, 3, symmetric=False)
        return lambda at, column: grid.nearest(column[:, None])[:, 0]

    solve(weight, inverse_factor("layer", inputs.T @ inputs), levels, 5)
    assert [(number, columns.shape[1]) for number, columns in seen] == [(0, 5), (1, 5), (2, 2)]
    assert torch.equal(seen[0][1], weight[:, :5])
    assert not torch.allclose(seen[1][1], weight[:, 5:10], atol=1e-3)


def test_a_layer_without_inputs_is_refused_by_name():
    with pytest.raises(QllmError, match=r"give experts\.7 no input"):
        inverse_factor("experts.7", torch.zeros(4, 4))


def test_a_hessian_that_is_none_is_refused_by_name():
    with pytest.raises(QllmError, match="inputs of layer give no positive definite Hessian"):
        inverse_factor("layer", torch.tensor([[1.0, 9.0], [9.0, 1.0]]))
