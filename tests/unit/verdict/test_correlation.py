"""Whether a perplexity tells: coefficients with intervals that are never surer than the points."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_qllm.verdict.correlation import LEAST, correlate


def test_fewer_than_four_points_have_a_reason_and_no_interval() -> None:
    found = correlate([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert found.pearson is found.spearman is None
    assert found.reason == f"3 regimes; an interval needs {LEAST}"


def test_one_side_that_does_not_move_has_none() -> None:
    assert "the same value on one side" in correlate([1.0, 2.0, 3.0, 4.0], [1.0] * 4).reason


def test_a_perfect_order_is_no_certainty() -> None:
    found = correlate([1.0, 2.0, 3.0, 4.0, 9.0], [5.0, 4.0, 3.5, 1.0, 0.0])
    assert found.spearman is not None
    assert found.spearman.value == pytest.approx(-1.0)
    assert found.spearman.low == pytest.approx(-1.0)
    assert found.spearman.high > -0.5


def test_points_on_a_line_have_no_interval_of_pearsons() -> None:
    assert correlate([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0]).pearson is None


def test_the_intervals_hold_what_they_say() -> None:
    generator = np.random.default_rng(0)
    true, runs, hits = 0.7, 400, 0
    for _ in range(runs):
        x = generator.normal(size=12)
        y = true * x + np.sqrt(1 - true**2) * generator.normal(size=12)
        found = correlate(x.tolist(), y.tolist())
        assert found.pearson is not None
        assert found.spearman is not None
        assert found.spearman.low <= found.spearman.value <= found.spearman.high
        hits += found.pearson.low <= true <= found.pearson.high
    assert 0.92 < hits / runs < 0.98
