"""Permutation p-values of a correlation: exact where every order can be looked at, valid elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_qllm.verdict.permutation import permutation_p_value


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_few_points_are_exact() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert permutation_p_value(x, y, rng()) == pytest.approx(2 / 24)  # as they are, and reversed
    assert permutation_p_value(x, -y, rng()) == pytest.approx(2 / 24)


def test_it_is_scipy_s_exact_test() -> None:
    x, y = rng().normal(size=7), np.random.default_rng(1).normal(size=7)
    seen = abs(np.corrcoef(x, y)[0, 1])
    found = stats.permutation_test(
        (y,),
        lambda y: abs(np.corrcoef(x, y)[0, 1]),
        permutation_type="pairings",
        n_resamples=np.inf,
        alternative="greater",
    )
    assert seen == pytest.approx(found.statistic)
    assert permutation_p_value(x, y, rng()) == pytest.approx(found.pvalue)


def test_more_points_are_near_student_s_test_and_never_zero() -> None:
    x = rng().normal(size=30)
    y = x + np.random.default_rng(1).normal(0, 2, 30)
    assert permutation_p_value(x, y, rng()) == pytest.approx(stats.pearsonr(x, y).pvalue, abs=0.01)
    assert permutation_p_value(x, x, rng()) == pytest.approx(1e-4)


def test_without_a_relation_one_in_twenty_is_below_five_percent() -> None:
    generator = np.random.default_rng(5)
    values = [
        permutation_p_value(generator.normal(size=6), generator.exponential(size=6), generator) for _ in range(400)
    ]
    assert np.mean(np.array(values) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
