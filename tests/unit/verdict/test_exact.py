"""Exact limits: their error by full enumeration, their order, and that planning and simulation decide as they do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, multinomial, norm

from pytest_qllm.verdict.exact import (
    critical_limit,
    exact_interval,
    exact_p_value,
    passing_counts,
    probability,
    tango_score,
    upper_loss,
)
from pytest_qllm.verdict.paired import paired_difference_interval

quick = settings(max_examples=20, deadline=None, derandomize=True)


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(5, 300))
    broken = draw(st.integers(0, min(n, 40)))
    return broken, draw(st.integers(0, min(n - broken, 40))), n


class TestTangoScore:
    @pytest.mark.parametrize(("broken", "mended", "n"), [(13, 16, 400), (0, 0, 30), (1, 0, 44), (7, 1, 21)])
    @pytest.mark.parametrize("alpha", [0.05, 0.001])
    def test_is_z_at_the_limits_of_tango_s_interval(self, broken, mended, n, alpha):
        low, high = paired_difference_interval(broken, mended, n, alpha)
        assert tango_score(broken, mended, n, -low) == pytest.approx(norm.isf(alpha), abs=1e-6)
        assert tango_score(broken, mended, n, -high) == pytest.approx(-norm.isf(alpha), abs=1e-6)

    def test_takes_whole_arrays(self):
        scores = tango_score(np.array([0, 5, 20]), np.array([3, 5, 1]), 100, 0.03)
        assert scores.shape == (3,)
        assert list(scores) == sorted(scores, reverse=True)


class TestProbability:
    def test_agrees_with_the_sum_over_the_multinomial(self):
        n, loss, mended_rate = 12, 0.1, 0.07
        most = passing_counts(n, 0.4, 0.05)
        cells = [
            multinomial.pmf([b, m, n - b - m], n, [mended_rate + loss, mended_rate, 1 - 2 * mended_rate - loss])
            for m in range(n + 1)
            for b in range(n - m + 1)
            if b <= most[m]
        ]
        assert probability(most, n, loss, mended_rate) == pytest.approx(sum(cells), abs=1e-12)

    def test_tables_that_pass_have_tango_s_limit_below_the_given_one(self):
        n, limit = 40, 0.1
        most = passing_counts(n, limit, 0.05)
        for mended in range(0, n + 1, 3):
            for broken in range(n - mended + 1):
                assert (-paired_difference_interval(broken, mended, n)[0] <= limit) == (broken <= most[mended])


class TestErrorByEnumeration:
    """Over all tables, the limit may lie on the wrong side of the true loss with a probability of alpha at most."""

    @pytest.mark.parametrize("n", [20, 50, 88, 400, 2000])
    @pytest.mark.parametrize("loss", [-0.05, 0.0, 0.03, 0.08])
    @pytest.mark.parametrize("alpha", [0.05, 0.005])
    def test_tables_whose_limit_lies_below_the_true_loss(self, n, loss, alpha):
        most = passing_counts(n, critical_limit(n, loss, alpha), alpha)
        # Rates of mended answers that lie between those which the limit is computed from.
        for rate in max(0.0, -loss) + np.array([0.0, 0.0011, 0.0047, 0.023, 0.11, 0.31]):
            assert probability(most, n, loss, rate) <= alpha * 1.01

    def test_limits_of_all_tables_of_twelve_items(self):
        for mended_rate in (0.0, 0.03, 0.2):
            wrong_pass = wrong_fail = 0.0
            for broken in range(13):
                for mended in range(13 - broken):
                    rates = [mended_rate + 0.08, mended_rate, 0.92 - 2 * mended_rate]
                    low, high = exact_interval(broken, mended, 12, 0.05)
                    chance = multinomial.pmf([broken, mended, 12 - broken - mended], 12, rates)
                    wrong_pass += chance * (low > -0.08)
                    wrong_fail += chance * (high < -0.08)
            assert wrong_pass <= 0.0505
            assert wrong_fail <= 0.0505

    def test_where_tango_s_own_error_was_8_percent(self):
        # 100 items, hardly any flips beyond the loss: what docs/explanation/statistics.md used to admit.
        n, loss = 100, 0.03
        assert probability(passing_counts(n, -loss, 0.05), n, -loss, loss) > 0.07
        limit = critical_limit(n, -loss, 0.05)
        assert probability(passing_counts(n, limit, 0.05), n, -loss, loss) <= 0.05


class TestLimits:
    def test_is_clopper_and_pearson_s_where_everything_flips(self):
        # Without concordant items the loss is 2 P(broken) - 1, and P(broken) a plain proportion.
        assert upper_loss(3, 17, 20, 0.05) >= 2 * beta.isf(0.05, 4, 17) - 1 - 1e-6

    def test_is_nearly_tango_s_for_many_items(self):
        exact, tango = exact_interval(300, 320, 5000, 0.05), paired_difference_interval(300, 320, 5000, 0.05)
        assert exact == pytest.approx(tango, abs=3e-4)

    @pytest.mark.parametrize(("broken", "mended", "n"), [(0, 0, 0), (-1, 0, 10), (0, -1, 10), (6, 5, 10)])
    def test_refuses_what_are_no_counts(self, broken, mended, n):
        with pytest.raises(ValueError, match="are not counts among"):
            upper_loss(broken, mended, n, 0.05)

    @quick
    @given(tables())
    def test_one_more_broken_item_never_lowers_the_limit(self, table):
        broken, mended, n = table
        if broken + mended < n:
            assert upper_loss(broken + 1, mended, n, 0.05) >= upper_loss(broken, mended, n, 0.05) - 1e-6

    @quick
    @given(tables())
    def test_a_stricter_alpha_gives_a_wider_interval_that_holds_the_estimate(self, table):
        broken, mended, n = table
        low, high = exact_interval(broken, mended, n, 0.05)
        wider = exact_interval(broken, mended, n, 0.005)
        assert -1 <= wider[0] <= low <= (mended - broken) / n <= high <= wider[1] <= 1

    @quick
    @given(tables())
    def test_swapping_broken_and_mended_mirrors_the_interval(self, table):
        broken, mended, n = table
        low, high = exact_interval(broken, mended, n, 0.05)
        assert exact_interval(mended, broken, n, 0.05) == (-high, -low)

    @quick
    @given(tables(), st.sampled_from([0.01, 0.03, 0.08]), st.sampled_from([0.05, 0.004]))
    def test_limit_p_value_and_critical_limit_decide_alike(self, table, loss, alpha):
        broken, mended, n = table
        limit, p_value = upper_loss(broken, mended, n, alpha), exact_p_value(broken, mended, n, loss, alpha)
        by_score = bool(tango_score(broken, mended, n, critical_limit(n, loss, alpha)) >= norm.isf(alpha))
        assert (p_value <= alpha) == (limit <= loss) == by_score
