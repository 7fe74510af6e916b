"""The probability of the right choice, and the baseline's as a control variate."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.verdict.soft import control_variate, soft_score


class TestSoftScore:
    def test_is_the_share_of_the_likelihoods(self):
        assert soft_score([log(0.1), log(0.3), log(0.1)], 1) == pytest.approx(0.6)

    def test_by_length(self):
        assert soft_score([-4.0, -4.0], 0, lengths=[2, 4]) == pytest.approx(1 / (1 + np.e))

    def test_tiny_likelihoods_do_not_underflow(self):
        assert soft_score([-5000.0, -5001.0], 0) == pytest.approx(1 / (1 + np.exp(-1)))

    @settings(max_examples=80, deadline=None, derandomize=True)
    @given(st.lists(st.floats(-500, 0), min_size=2, max_size=6))
    def test_the_choices_share_a_probability_of_one(self, values):
        assert sum(soft_score(values, k) for k in range(len(values))) == pytest.approx(1)

    @pytest.mark.parametrize(("values", "right"), [([], 0), ([-1.0], 0), ([-1.0, -2.0], 2), ([-1.0, float("nan")], 0)])
    def test_refuses_what_is_no_choice(self, values, right):
        with pytest.raises(ValueError, match="two or more finite ones"):
            soft_score(values, right)


class TestControlVariate:
    def test_a_control_that_explains_everything_leaves_the_large_sample_s_error(self):
        rng = np.random.default_rng(1)
        control = rng.normal(size=1000)
        found = control_variate(2 * control[:100] + 1, control)
        assert found.effect == pytest.approx(2 * control.mean() + 1)
        assert found.error == pytest.approx(2 * control.std(ddof=1) / sqrt(1000))

    def test_a_control_that_says_nothing_changes_little(self):
        rng = np.random.default_rng(2)
        differences = rng.choice([-1.0, 0.0, 1.0], 200)
        found = control_variate(differences, rng.normal(size=800))
        assert found.error == pytest.approx(differences.std(ddof=1) / sqrt(200), rel=0.02)

    def test_a_constant_control_leaves_the_plain_mean(self):
        differences = np.array([0.0, 1.0, -1.0] * 5)
        assert control_variate(differences, np.ones(40)).effect == differences.mean()

    def test_each_limit_errs_about_as_often_as_it_says(self):
        rng = np.random.default_rng(3)
        runs, too_low, too_high = 3000, 0, 0
        for _ in range(runs):
            control = rng.normal(size=200)
            differences = np.where(rng.random(50) < 0.2, np.sign(rng.normal(size=50) - control[:50]), 0.0)
            low, high = control_variate(differences, control).interval(0.05)
            too_low, too_high = too_low + (high < 0), too_high + (low > 0)
        assert max(too_low, too_high) / runs <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)

    @pytest.mark.parametrize(("n", "total"), [(5, 100), (20, 19)])
    def test_refuses_too_few(self, n, total):
        with pytest.raises(ValueError, match="10 or more"):
            control_variate(np.zeros(n), np.zeros(total))
