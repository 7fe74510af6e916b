"""Tango's interval against published values and an independent derivation; design effects; assay sensitivity."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm, t

from pytest_qllm.verdict.paired import design_effect, detects_random, paired_difference_interval

Z = float(norm.isf(0.05))
quick = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    """broken, mended and n, as any benchmark could give them."""
    n = draw(st.integers(1, 2000))
    broken = draw(st.integers(0, n))
    return broken, draw(st.integers(0, n - broken)), n


class TestTangoInterval:
    @pytest.mark.parametrize(
        ("broken", "mended", "n", "alpha", "low", "high"),
        [
            # Newcombe's example of Tango's interval: 36 / 12 / 2 / 0, two-sided 95 %.
            pytest.param(2, 12, 50, 0.025, 0.0611, 0.3447, id="newcombe"),
            # Outputs of R's PropCIs::scoreci.mp that others have published, two-sided 90 %.
            pytest.param(25, 28, 618, 0.05, -0.0148, 0.0247, id="PropCIs-25-28-618"),
            pytest.param(41, 48, 549, 0.05, -0.0157, 0.0414, id="PropCIs-41-48-549"),
        ],
    )
    def test_agrees_with_published_values(self, broken, mended, n, alpha, low, high):
        assert paired_difference_interval(broken, mended, n, alpha) == pytest.approx((low, high), abs=5e-5)

    @pytest.mark.parametrize(
        ("broken", "mended", "n"),
        [(2, 12, 50), (0, 0, 30), (1, 0, 44), (7, 1, 21), (13, 16, 400), (49, 16, 400), (0, 9, 10), (3.5, 1.25, 40.5)],
    )
    @pytest.mark.parametrize("alpha", [0.05, 0.005])
    def test_agrees_with_a_likelihood_maximized_by_brute_force(self, broken, mended, n, alpha):
        expected = brute_force_interval(broken, mended, n, alpha)
        assert paired_difference_interval(broken, mended, n, alpha) == pytest.approx(expected, abs=2e-5)

    @pytest.mark.parametrize("n", [1, 10, 50, 400, 14042])
    def test_without_flips_the_width_is_z2_over_n_plus_z2(self, n):
        margin = Z**2 / (n + Z**2)
        assert paired_difference_interval(0, 0, n) == pytest.approx((-margin, margin), abs=1e-9)

    def test_ten_identical_answers_prove_little(self):
        low, high = paired_difference_interval(0, 0, 10)
        assert low < -0.2
        assert high > 0.2

    @quick
    @given(counts())
    def test_swapping_broken_and_mended_mirrors_the_interval(self, given_counts):
        broken, mended, n = given_counts
        low, high = paired_difference_interval(broken, mended, n)
        assert paired_difference_interval(mended, broken, n) == pytest.approx((-high, -low), abs=1e-9)

    @quick
    @given(counts())
    def test_the_interval_holds_the_estimate_and_is_never_empty(self, given_counts):
        broken, mended, n = given_counts
        low, high = paired_difference_interval(broken, mended, n)
        assert -1 <= low <= (mended - broken) / n <= high <= 1
        assert low < high

    @quick
    @given(counts())
    def test_one_more_broken_item_never_raises_the_lower_bound(self, given_counts):
        broken, mended, n = given_counts
        if broken + mended < n:
            low, _ = paired_difference_interval(broken, mended, n)
            assert paired_difference_interval(broken + 1, mended, n)[0] <= low + 1e-9

    def test_a_stricter_alpha_gives_a_wider_interval(self):
        low, high = paired_difference_interval(13, 16, 400, alpha=0.05)
        wider_low, wider_high = paired_difference_interval(13, 16, 400, alpha=0.01)
        assert wider_low < low < high < wider_high

    def test_everything_broken_reaches_the_edge(self):
        # All broken leaves a variance of 1 - delta^2 under every delta, so the bound has a closed form.
        assert paired_difference_interval(50, 0, 50) == pytest.approx((-1, -(50 - Z**2) / (50 + Z**2)))

    @pytest.mark.parametrize(("broken", "mended", "n"), [(0, 0, 0), (-1, 0, 10), (0, -1, 10), (6, 5, 10)])
    def test_refuses_what_are_no_counts(self, broken, mended, n):
        with pytest.raises(ValueError, match="are not counts among"):
            paired_difference_interval(broken, mended, n)


class TestDesignEffect:
    def test_is_one_for_independent_items(self):
        differences = np.array([0.0, 1.0, -1.0, 0.0])
        assert design_effect(differences, None) == 1
        assert design_effect(differences, ["a", "b", "c", "d"]) == 1

    @pytest.mark.parametrize("alpha", [0.05, 0.045, 0.005])
    def test_is_only_the_widening_for_few_clusters_where_no_answer_differs(self, alpha):
        assert design_effect(np.zeros(12), ["a", "b", "c"] * 4, alpha) == pytest.approx(widening(3, alpha))

    def test_a_single_cluster_counts_as_one_item(self):
        assert design_effect(np.array([1.0, 0.0, -1.0, 0.0]), ["a"] * 4) == 4

    @pytest.mark.parametrize("alpha", [0.05, 0.005])
    def test_copies_of_an_item_count_once(self, alpha):
        # 20 items, each 5 times: by hand the robust variance is 5 * 20/19 times the naive one.
        rng = np.random.default_rng(1)
        differences = rng.choice([-1.0, 0.0, 1.0], size=20).repeat(5)
        clusters = [f"item {i // 5}" for i in range(100)]
        assert design_effect(differences, clusters, alpha) == pytest.approx(5 * 20 / 19 * widening(20, alpha))

    def test_a_stricter_alpha_widens_more(self):
        clusters = [str(i // 10) for i in range(100)]
        assert design_effect(np.zeros(100), clusters, 0.005) > design_effect(np.zeros(100), clusters, 0.05) > 1

    def test_follows_the_correlation_within_clusters(self):
        # Kish: 1 + (m - 1) rho. Half of the items repeat their cluster's own value, so rho = 1/4 and m = 10.
        rng = np.random.default_rng(2)
        clusters = np.arange(2000).repeat(10)
        own, shared = rng.choice([-1.0, 0.0, 1.0], size=(2, 20000), p=[0.1, 0.8, 0.1])
        differences = np.where(rng.random(20000) < 0.5, shared[clusters * 10], own)
        assert design_effect(differences, [str(c) for c in clusters]) == pytest.approx(1 + 9 / 4, rel=0.1)

    def test_groups_that_do_not_matter_cost_almost_nothing(self):
        rng = np.random.default_rng(3)
        differences = rng.choice([-1.0, 0.0, 1.0], size=20000)
        assert 1 <= design_effect(differences, [str(i // 10) for i in range(20000)]) < 1.1

    def test_the_ratio_of_variances_is_never_below_one(self):
        # Each cluster's differences cancel: the robust variance is 0, which would be false certainty.
        differences, clusters = np.array([1.0, -1.0] * 10), [str(i // 2) for i in range(20)]
        assert design_effect(differences, clusters) == pytest.approx(widening(10))


class TestDetectsRandom:
    def test_a_baseline_at_or_below_chance_detects_nothing(self):
        assert not detects_random(0.25, chance=0.25, tolerance=0.0, n=10**6)
        assert not detects_random(0.20, chance=0.25, tolerance=0.03, n=10**6)

    def test_a_baseline_within_the_tolerance_of_chance_detects_nothing(self):
        assert not detects_random(0.29, chance=0.25, tolerance=0.04, n=10**6)

    @pytest.mark.parametrize(
        ("baseline", "chance", "tolerance", "needed"),
        [
            pytest.param(0.365, 0.25, 0.03, 359, id="HellaSwag at 8 bits"),
            pytest.param(0.365, 0.25, 0.04, 461, id="HellaSwag at 4 bits"),
            pytest.param(0.542, 0.25, 0.04, 43, id="ARC-Easy at 4 bits"),
            pytest.param(0.657, 0.50, 0.04, 215, id="PIQA at 4 bits"),
        ],
    )
    def test_items_needed_by_the_default_model(self, baseline, chance, tolerance, needed):
        assert detects_random(baseline, chance, tolerance, needed)
        assert not detects_random(baseline, chance, tolerance, needed - 1)

    @pytest.mark.parametrize(
        ("baseline", "chance", "tolerance", "n"), [(0.365, 0.25, 0.03, 359), (0.657, 0.5, 0.03, 183)]
    )
    def test_with_so_many_items_the_interval_fails_a_random_model_four_times_in_five(
        self, baseline, chance, tolerance, n
    ):
        rng = np.random.default_rng(6)
        runs = 1000
        right, guessed = rng.random((runs, n)) < baseline, rng.random((runs, n)) < chance
        pairs = zip((right & ~guessed).sum(1), (guessed & ~right).sum(1), strict=True)
        proven = sum(paired_difference_interval(broken, mended, n)[1] < -tolerance for broken, mended in pairs)
        assert proven / runs == pytest.approx(0.8, abs=3 * sqrt(0.16 / runs))


def widening(clusters: int, alpha: float = 0.05) -> float:
    return (t.isf(alpha, clusters - 1) / norm.isf(alpha)) ** 2


def brute_force_interval(broken: float, mended: float, n: float, alpha: float) -> tuple[float, float]:
    """Tango's interval from its definition: the score at each difference, the nuisance maximized numerically."""
    z = norm.isf(alpha)

    def score(delta: float) -> float:
        # P(broken) = p and P(mended) = p + delta; neither may leave [0, 1], nor their sum.
        lowest, highest = max(0.0, -delta), (1 - delta) / 2

        def minus_log_likelihood(p: float) -> float:
            cells = [(broken, p), (mended, p + delta), (n - broken - mended, 1 - 2 * p - delta)]
            return -sum(count * log(max(chance, 1e-300)) for count, chance in cells if count > 0)

        p = minimize_scalar(
            minus_log_likelihood, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-10}
        ).x
        # The variance of a difference of two cells of a multinomial.
        return (mended - broken - n * delta) / sqrt(n * (2 * p + delta - delta**2))

    def crossing(inside: float, outside: float) -> float:
        for _ in range(40):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if abs(score(middle)) < z else (inside, middle)
        return inside

    estimate = (mended - broken) / n
    return crossing(estimate, -1 + 1e-9), crossing(estimate, 1 - 1e-9)
