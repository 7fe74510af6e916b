"""Gaffke's bound and studentized limits: against closed forms, by hand, and by simulation of their errors."""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, erlang, norm, t

from pytest_qllm.verdict.means import (
    Units,
    bounded_interval,
    exceedance,
    gaffke_p_value,
    gaffke_upper,
    studentize,
    units_needed,
)

quick = settings(max_examples=30, deadline=None, derandomize=True)


def units(values, sizes=None) -> Units:
    values = np.asarray(values, dtype=np.float64)
    return Units(values, np.ones(len(values)) if sizes is None else np.asarray(sizes, dtype=np.float64))


class TestUnits:
    def test_items_of_a_cluster_are_one_unit(self):
        grouped = Units.of(np.array([1.0, 0.0, -1.0, 2.0]), ["a", "b", "a", "b"])
        assert grouped.sums.tolist() == [0, 2]
        assert grouped.sizes.tolist() == [2, 2]
        assert grouped.effect == 0.5

    def test_without_clusters_each_item_is_one(self):
        assert len(Units.of(np.array([1.0, 3.0]), None)) == 2


class TestExceedance:
    def test_two_terms_have_a_closed_form(self):
        # P(a E1 > b E2) = a / (a + b).
        assert exceedance(np.array([[3.0, -1.0], [1.0, -3.0]])) == pytest.approx([0.75, 0.25], abs=0.01)

    def test_equal_terms_against_the_gamma_distribution(self):
        # The sum of ten E against 0.5 times the sum of ten others: a ratio of gammas, that is a beta.
        weights = np.r_[np.ones(10), -np.full(10, 2.0)]
        assert exceedance(weights)[0] == pytest.approx(beta.sf(2 / 3, 10, 10), rel=0.002)

    def test_by_direct_simulation(self):
        rng = np.random.default_rng(1)
        weights = rng.normal(-0.3, 1, 30)
        drawn = (rng.exponential(size=(200_000, 30)) @ weights >= 0).mean()
        assert exceedance(weights)[0] == pytest.approx(drawn, abs=0.004)

    def test_weights_of_one_sign_are_certain(self):
        assert exceedance(np.array([[1.0, 2.0], [-1.0, -2.0], [0.0, -1.0]])).tolist() == [1, 0, 0]

    def test_at_the_mean(self):
        # Erlang: the sum of 4 exceeds its mean with this probability; the fixed term is many small ones.
        weights = np.r_[np.ones(4), -np.full(4000, 0.001)]
        assert exceedance(weights)[0] == pytest.approx(erlang.sf(4, 4), abs=0.002)


class TestGaffke:
    @pytest.mark.parametrize(("n", "k"), [(30, 0), (100, 0), (100, 5), (400, 12), (50, 25)])
    @pytest.mark.parametrize("alpha", [0.05, 0.002])
    def test_is_clopper_and_pearson_s_limit_for_right_and_wrong(self, n, k, alpha):
        limit = gaffke_upper(units([1.0] * k + [0.0] * (n - k)), alpha)
        assert limit == pytest.approx(beta.isf(alpha, k + 1, n - k), rel=0.005)

    def test_p_value_and_limit_agree(self):
        some = units(np.random.default_rng(2).uniform(-1, 1, 80))
        assert gaffke_p_value(some, gaffke_upper(some, 0.03)) == pytest.approx(0.03, rel=1e-3)

    def test_everything_lost_reaches_the_bound(self):
        assert gaffke_upper(units(np.ones(20)), 0.05) == 1

    @quick
    @given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.sampled_from([0.05, 0.001]))
    def test_the_interval_holds_the_mean_has_width_and_is_mirrored(self, values, alpha):
        some = units(values)
        low, high = bounded_interval(some, alpha)
        assert -1 <= low <= some.effect + 1e-9
        assert some.effect - 1e-9 <= high <= 1
        assert low < high
        assert bounded_interval(units(-some.sums), alpha) == pytest.approx((-high, -low), abs=1e-6)

    def test_few_clusters_prove_nothing_whatever_their_size(self):
        # 10 clusters of 400 items each without any loss: with a loss in each tenth cluster, 35 % of samples look so.
        low, _ = bounded_interval(Units(np.zeros(10), np.full(10, 400.0)), 0.05)
        assert low == pytest.approx(-(1 - 0.05 ** (1 / 10)), rel=0.01)

    @pytest.mark.parametrize("groups", [10, 40, 150])
    def test_correlated_clusters_keep_the_error_rate(self, groups):
        rng = np.random.default_rng(4)
        size, runs, loss, flips = 10, 3000, 0.04, 0.15
        chances = [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
        own = rng.choice([1.0, -1.0, 0.0], size=(runs, groups, size), p=chances)
        shared = rng.choice([1.0, -1.0, 0.0], size=(runs, groups, 1), p=chances)
        sums = np.where(rng.random(own.shape) < sqrt(0.5), shared, own).sum(-1)
        # As `gaffke_p_value`, for all runs at once.
        wrong_pass = exceedance(np.column_stack([sums - loss * size, np.full(runs, (1 - loss) * size)])) <= 0.05
        wrong_fail = exceedance(np.column_stack([loss * size - sums, np.full(runs, (1 + loss) * size)])) <= 0.05
        first = Units(sums[0], np.full(groups, float(size)))
        assert (gaffke_p_value(first, loss) <= 0.05) == wrong_pass[0]
        assert wrong_pass.mean() <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)
        assert wrong_fail.mean() <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)


class TestUnitsNeeded:
    """A fixed design with the same limits, not with normal quantiles: few units need a far larger margin."""

    @pytest.mark.parametrize(("spread", "expected"), [(0.001, 8), (0.01, 10), (0.03, 17), (0.2, 500)])
    def test_of_documents_at_three_percent(self, spread, expected):
        for seen_on in (8, 40):
            found = units_needed(spread / seen_on**0.5, seen_on, log(1.03), 0.95, 0.05, 8)
            assert found == pytest.approx(expected, abs=1)

    def test_is_the_normal_one_where_there_are_many(self):
        error = 0.2
        normal = (2 * norm.isf(0.05) * error / 0.01) ** 2
        assert units_needed(error, 1, 0.01, 0.95, 0.05, 8) == pytest.approx(normal, rel=0.03)

    def test_one_unit_less_is_too_few(self):
        rng = np.random.default_rng(3)
        margin, spread = log(1.03), 0.03
        count = units_needed(spread, 1, margin, 0.95, 0.05, 8)
        assert count is not None

        def passes(units: int) -> float:
            losses = rng.normal(0, spread, (400, units))
            return float(np.mean([studentize(Units(row, np.ones(units))).interval(0.05)[1] < margin for row in losses]))

        assert passes(count // 2) < 0.9 < passes(2 * count)

    def test_no_number_does_without_a_margin(self):
        assert units_needed(0.1, 10, 1e-9, 0.95, 0.05, 8) is None


class TestStudentized:
    def test_by_hand_for_equal_units(self):
        found = studentize(units([1.0, 3.0, 5.0, 3.0]))
        assert (found.effect, found.freedom, found.skewness) == (3, 3, 0)
        assert found.error == pytest.approx(np.std([1, 3, 5, 3], ddof=1) / 2)

    def test_is_the_jackknife_of_the_ratio(self):
        rng = np.random.default_rng(3)
        sums, sizes = rng.normal(2, 1, 12), rng.uniform(1, 9, 12)
        without = [(sums.sum() - s) / (sizes.sum() - m) for s, m in zip(sums, sizes, strict=True)]
        effect = sums.sum() / sizes.sum()
        expected = sqrt(11 / 12 * sum((value - effect) ** 2 for value in without))
        assert studentize(Units(sums, sizes)).error == pytest.approx(expected)

    def test_one_large_unit_leaves_few_degrees_of_freedom(self):
        assert studentize(Units(np.arange(10.0), np.array([1.0] * 9 + [100.0]))).freedom < 1.5

    def test_limits_and_p_values_agree(self):
        found = studentize(units(np.random.default_rng(5).gamma(2, 1, 25)))
        low, high = found.interval(0.02)
        assert found.below(high) == pytest.approx(0.02)
        assert found.above(low) == pytest.approx(0.02)

    def test_is_never_narrower_than_student_s_interval(self):
        found = studentize(units(np.random.default_rng(6).gamma(1, 1, 25)))
        low, high = found.interval(0.05)
        margin = t.isf(0.05, 24) * found.error
        assert low <= found.effect - margin
        assert high > found.effect + margin  # the long tail lies above: the sample may have missed it

    def test_equal_losses_prove_nothing(self):
        found = studentize(units([0.1] * 20))
        assert found.error == 0
        assert found.below(0.2) == found.above(0.0) == 1

    def test_where_no_unit_differs_their_number_is_the_evidence(self):
        found = studentize(units([0.0] * 20))
        assert found.error == 0
        assert found.below(0.2) == found.above(-0.2) == 0.5**20
        assert found.below(-0.2) == found.above(0.2) == 1
        assert found.interval(0.05) == (0, 0)
        assert found.interval(0.5**21) == (-inf, inf)

    def test_refuses_a_single_unit(self):
        with pytest.raises(ValueError, match="at least 2"):
            studentize(units([1.0]))

    @pytest.mark.parametrize("documents", [8, 24])
    @pytest.mark.parametrize("shape", ["normal", "skewed"])
    def test_errors_with_documents_of_50_to_2000_tokens(self, documents, shape):
        # The older interval erred in up to 10 % of runs here.
        rng = np.random.default_rng(7)
        runs, too_low, too_high = 2000, 0, 0
        for _ in range(runs):
            tokens = rng.integers(50, 2001, documents).astype(float)
            noise = rng.normal(0, 1, documents) if shape == "normal" else (rng.gamma(4, 1, documents) - 4) / 2
            low, high = studentize(Units(tokens * (0.03 + 0.03 * noise), tokens)).interval(0.05)
            too_low += high < 0.03
            too_high += low > 0.03
        assert max(too_low, too_high) / runs <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)
