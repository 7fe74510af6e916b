"""Holm's adjustment, McNemar's test and pooled benchmarks, against published examples and by simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from pytest_qllm.verdict.exact import exact_interval
from pytest_qllm.verdict.multiplicity import Stratum, all_pass_p_value, holm, mcnemar_p_value, pool

quick = settings(max_examples=80, deadline=None, derandomize=True)


class TestHolm:
    def test_worked_example(self):
        # Wikipedia, "Holm-Bonferroni method": 0.01, 0.04, 0.03, 0.005 at 5 %; H4 and H1 are rejected, then it stops.
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_r_s_p_adjust(self):
        assert holm([0.0001, 0.0004, 0.0019, 0.0095, 0.0201]) == pytest.approx([0.0005, 0.0016, 0.0057, 0.019, 0.0201])

    def test_nothing_to_adjust(self):
        assert holm([]) == []
        assert holm([0.2]) == [0.2]

    @pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
    def test_refuses_what_is_no_p_value(self, wrong):
        with pytest.raises(ValueError, match="must lie in"):
            holm([0.5, wrong])

    @quick
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_lies_between_the_raw_value_and_bonferroni_s_and_keeps_the_order(self, p_values):
        adjusted = holm(p_values)
        assert all(
            raw <= one <= min(1, len(p_values) * raw) + 1e-12 for raw, one in zip(p_values, adjusted, strict=True)
        )
        order = np.argsort(p_values, kind="stable")
        assert list(np.array(adjusted)[order]) == sorted(adjusted)

    def test_twenty_true_hypotheses_are_all_spared_95_times_in_100(self):
        p_values = np.random.default_rng(1).random((4000, 20))
        wrong = np.mean([min(holm(list(row))) <= 0.05 for row in p_values])
        assert wrong <= 0.05 + 3 * sqrt(0.05 * 0.95 / 4000)


class TestAllPass:
    def test_is_the_largest(self):
        assert all_pass_p_value([0.01, 0.2, 0.0]) == 0.2

    def test_nothing_has_not_passed(self):
        with pytest.raises(ValueError, match="without tests"):
            all_pass_p_value([])


class TestMcNemar:
    @pytest.mark.parametrize(("broken", "mended"), [(10, 3), (3, 10), (49, 16), (1, 0)])
    def test_is_the_binomial_test_of_the_flips(self, broken, mended):
        expected = binomtest(broken, broken + mended, alternative="greater").pvalue
        assert mcnemar_p_value(broken, mended) == pytest.approx(expected)

    def test_without_flips_there_is_no_evidence(self):
        assert mcnemar_p_value(0, 0) == 1

    def test_refuses_what_are_no_counts(self):
        with pytest.raises(ValueError, match="are not counts"):
            mcnemar_p_value(-1, 3)


class TestPool:
    def test_equal_benchmarks_narrow_the_limits_by_the_root_of_their_number(self):
        pooled = pool([Stratum(-0.01, -0.03, 0.02)] * 4)
        assert (pooled.effect, pooled.low, pooled.high) == pytest.approx((-0.01, -0.02, 0.005))

    def test_weights(self):
        assert pool([Stratum(0.0, -1, 1, 3), Stratum(-0.04, -1, 1, 1)]).effect == pytest.approx(-0.01)

    @pytest.mark.parametrize("strata", [[], [Stratum(0, -1, 1, 0)]])
    def test_refuses_nothing_and_no_weight(self, strata):
        with pytest.raises(ValueError, match="at least one is needed"):
            pool(strata)

    def test_error_where_flips_are_few(self):
        # Three benchmarks of 80 items that lose exactly 3 points, without any answer mended.
        rng = np.random.default_rng(2)
        runs = 2000
        lost = rng.binomial(80, 0.03, size=(runs, 3))
        limits = {b: exact_interval(b, 0, 80, 0.05) for b in range(int(lost.max()) + 1)}
        pooled = [pool([Stratum(-b / 80, *limits[b]) for b in row]) for row in lost.tolist()]
        bound = 0.05 + 3 * sqrt(0.05 * 0.95 / runs)
        assert np.mean([one.low > -0.03 for one in pooled]) <= bound
        assert np.mean([one.high < -0.03 for one in pooled]) <= bound
