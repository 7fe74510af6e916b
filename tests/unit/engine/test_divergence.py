"""Distributions compared position by position, from hidden states that were kept."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pytest_qllm.engine.divergence import Divergence, States, compare  # noqa: E402


def logits(seed: int, positions: int = 6, vocabulary: int = 1000) -> torch.Tensor:
    return torch.randn(positions, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def test_the_divergence_is_torchs_own() -> None:
    baseline, candidate = logits(1), logits(2)
    expected = torch.nn.functional.kl_div(
        candidate.double().log_softmax(-1), baseline.double().log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    found = compare(baseline, candidate, torch.arange(6))
    assert found[:, 0].double() == pytest.approx(expected, rel=1e-5)


def test_equal_distributions_diverge_by_nothing() -> None:
    found = compare(logits(1), logits(1) + 5, torch.arange(6))
    assert found[:, 0].abs().max() < 1e-6
    assert found[:, 1].tolist() == [1.0] * 6
    assert torch.allclose(found[:, 2], found[:, 3], rtol=1e-4)


def test_top_token_and_probability_by_hand() -> None:
    baseline = torch.tensor([[1.0, 0.0]]).log().clamp_min(-50)
    candidate = torch.tensor([[0.25, 0.75]]).log()
    found = compare(baseline, candidate, torch.tensor([0]))[0]
    assert found.tolist() == pytest.approx([1.3863, 0.0, 1.0, 0.25], abs=1e-4)


def test_blocks_are_put_together_in_order() -> None:
    states = torch.arange(10.0)[:, None]
    seen: list[float] = []

    def head(some: torch.Tensor) -> torch.Tensor:
        seen.extend(some[:, 0].tolist())
        return logits(3, len(some))

    divergence = Divergence(states, head)
    for size in (3, 5, 2):
        divergence.see(torch.zeros(size, 1), logits(3, size), torch.zeros(size, dtype=torch.long))
    assert seen == states[:, 0].tolist()
    assert divergence.tensor().shape == (10, 4)


def test_another_number_of_positions_is_refused() -> None:
    divergence = Divergence(torch.zeros(3, 1), lambda some: logits(1, len(some)))
    divergence.see(torch.zeros(2, 1), logits(1, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="2 positions were compared with 3"):
        divergence.tensor()


def test_states_are_kept_whole() -> None:
    states = States()
    states.see(torch.ones(2, 3), logits(1, 2), torch.zeros(2))
    states.see(torch.zeros(1, 3), logits(1, 1), torch.zeros(1))
    assert states.tensor().tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3]
