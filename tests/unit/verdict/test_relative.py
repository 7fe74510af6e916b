"""Ratios of paired means: Fieller's limits, the recovered variances, and the error of both by simulation."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from scipy.stats import norm, t

from pytest_qllm.verdict.exact import exact_interval
from pytest_qllm.verdict.means import Units
from pytest_qllm.verdict.relative import fieller_interval, mean_ratio_interval, relative_interval, wilson_interval


class TestFieller:
    def test_each_limit_is_where_the_contrast_is_just_significant(self):
        low, high = fieller_interval(9.7, 10.0, 0.09, 0.16, 0.05, 1.96)
        for ratio in (low, high):
            contrast, error = 9.7 - ratio * 10, sqrt(0.09 - 2 * ratio * 0.05 + ratio**2 * 0.16)
            assert abs(contrast / error) == pytest.approx(1.96)

    def test_a_denominator_that_is_known_gives_the_plain_interval(self):
        low, high = fieller_interval(9.0, 10.0, 0.25, 0.0, 0.0, 2.0)
        assert (low, high) == pytest.approx((0.8, 1.0))

    def test_a_denominator_not_proven_positive_excludes_nothing(self):
        assert fieller_interval(1.0, 1.0, 0.1, 0.5, 0.0, 1.645) == (-inf, inf)
        assert fieller_interval(1.0, -5.0, 0.1, 0.1, 0.0, 1.645) == (-inf, inf)

    def test_ratio_of_means_errs_as_it_says(self):
        rng = np.random.default_rng(1)
        runs, too_low, too_high = 3000, 0, 0
        for _ in range(runs):
            base = rng.normal(10, 4, 40)
            cand = 0.98 * base + rng.normal(0, 1, 40)
            low, high = mean_ratio_interval(Units(base, np.ones(40)), Units(cand, np.ones(40)), 0.05)
            too_low, too_high = too_low + (high < 0.98), too_high + (low > 0.98)
        assert too_low / runs == pytest.approx(0.05, abs=0.013)
        assert too_high / runs == pytest.approx(0.05, abs=0.013)

    def test_is_student_s_test_of_the_contrast(self):
        rng = np.random.default_rng(2)
        base = rng.normal(5, 1, 20)
        cand = base + rng.normal(0, 0.5, 20)
        low, _ = mean_ratio_interval(Units(base, np.ones(20)), Units(cand, np.ones(20)), 0.05)
        contrast = cand - low * base
        assert contrast.mean() / (contrast.std(ddof=1) / sqrt(20)) == pytest.approx(t.isf(0.05, 19))

    def test_refuses_a_single_unit(self):
        with pytest.raises(ValueError, match="at least 2"):
            mean_ratio_interval(Units(np.ones(1), np.ones(1)), Units(np.ones(1), np.ones(1)), 0.05)


class TestRelativeInterval:
    def test_symmetric_limits_give_fieller_s_without_covariance(self):
        d, p, sd, sp, z = -0.02, 0.6, 0.01, 0.02, 1.645
        low, high = relative_interval((d, d - z * sd, d + z * sd), (p, p - z * sp, p + z * sp))
        expected = fieller_interval(d, p, sd**2, sp**2, 0.0, z)
        assert (low, high) == pytest.approx(expected)

    def test_a_baseline_that_may_be_zero_excludes_nothing(self):
        assert relative_interval((0.0, -0.1, 0.1), (0.1, -0.1, 0.3)) == (-inf, inf)

    @pytest.mark.parametrize("mended", [0.0, 0.05])
    def test_accuracy_at_exactly_its_relative_tolerance(self, mended):
        rng = np.random.default_rng(3)
        n, share, accuracy, runs = 60, 0.1, 0.6, 1000
        broken = share * accuracy + mended
        cells = rng.multinomial(n, [accuracy - broken, broken, mended, 1 - accuracy - mended], size=runs)
        wrong_pass = wrong_fail = 0
        for both, b, m, _ in cells.tolist():
            limits = exact_interval(b, m, n, 0.05)
            low, high = relative_interval(((m - b) / n, *limits), ((both + b) / n, *wilson_interval(both + b, n, 0.05)))
            wrong_pass, wrong_fail = wrong_pass + (low > -share), wrong_fail + (high < -share)
        assert max(wrong_pass, wrong_fail) / runs <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)


class TestWilson:
    def test_published_example(self):
        # Newcombe (1998), Statistics in Medicine 17, 857-872, table I: 81 of 263, two-sided 95 %.
        assert wilson_interval(81, 263, 0.025) == pytest.approx((0.2553, 0.3662), abs=5e-5)

    def test_limits_solve_the_score_equation(self):
        low, high = wilson_interval(3, 20, 0.05)
        for limit in (low, high):
            assert abs(0.15 - limit) / sqrt(limit * (1 - limit) / 20) == pytest.approx(norm.isf(0.05))
