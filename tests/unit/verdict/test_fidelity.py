"""The figures of a comparison of distributions."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_qllm.verdict.fidelity import summarize


def positions(divergence: list[float], same: list[float], before: list[float], after: list[float]) -> np.ndarray:
    return np.array([divergence, same, before, after]).T


def test_by_hand() -> None:
    given = positions([0.0, 0.2, 0.4, 0.6], [1, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], [0.5, 0.4, 0.7, 0.1])
    found = summarize(given, [2, 2])
    assert found.tokens == 4
    assert found.kl_mean == pytest.approx(0.3)
    assert found.kl_max == pytest.approx(0.6)
    assert found.kl_percentiles["50"] == pytest.approx(0.3)
    assert found.same_top == pytest.approx(0.75)
    assert found.delta_p_mean == pytest.approx(-0.075)
    assert found.delta_p_rms == pytest.approx(np.sqrt((0.01 + 0.04 + 0.16) / 4))
    # Two documents with totals 0.2 and 1.0 around 0.6: sqrt(2 * (0.16 + 0.16)) / 4.
    assert found.kl_mean_se == pytest.approx(np.sqrt(0.64) / 4)


def test_percentiles_are_in_order() -> None:
    generator = np.random.default_rng(1)
    given = np.column_stack([generator.exponential(size=1000), np.ones(1000), np.zeros(1000), np.zeros(1000)])
    values = list(summarize(given, [1000]).kl_percentiles.values())
    assert values == sorted(values)


def test_one_document_has_no_standard_error() -> None:
    assert summarize(positions([0.1], [1], [0.5], [0.5]), [1]).kl_mean_se is None


def test_the_standard_error_covers_as_simulated() -> None:
    """Documents with their own level: about 90 % of the intervals of 1.645 standard errors hold the true mean."""
    generator = np.random.default_rng(2)
    inside = 0
    for _ in range(500):
        sizes = generator.integers(50, 150, 40)
        levels = generator.normal(0.3, 0.1, 40)
        values = np.concatenate(
            [level + generator.normal(0, 0.2, size) for level, size in zip(levels, sizes, strict=True)]
        )
        found = summarize(np.column_stack([values, values, values, values]), sizes.tolist())
        assert found.kl_mean_se is not None
        inside += abs(found.kl_mean - 0.3) < 1.645 * found.kl_mean_se
    assert 0.85 < inside / 500 < 0.95


@pytest.mark.parametrize(
    ("given", "tokens"),
    [(np.empty((0, 4)), []), (np.zeros((3, 4)), [2]), (np.array([[np.nan, 1, 0.5, 0.5]]), [1])],
)
def test_what_cannot_be_summed_up_is_refused(given: np.ndarray, tokens: list[int]) -> None:
    with pytest.raises(ValueError, match=r"positions|finite"):
        summarize(given, tokens)
