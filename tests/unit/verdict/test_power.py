"""Planning figures: against published ones, exact enumeration and simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from pytest_qllm.verdict.exact import exact_interval
from pytest_qllm.verdict.power import (
    EXPECTED_FLIPS,
    decidable,
    decides,
    detectable_loss,
    equivalent_fixed_items,
    exact_fixed_items,
    expected_flips,
    failing_loss,
    fixed_items,
    planned_items,
)


@pytest.mark.parametrize(("n", "points"), [(817, 2.6), (1319, 2.0), (4096, 1.15), (14042, 0.62)])
def test_smallest_loss_at_8_7_percent_flips(n, points):
    # shared/FACTS.md, from Miller's (arXiv 2411.00640) formula: one-sided 5 %, 80 % power.
    assert 100 * detectable_loss(n, 0.087) == pytest.approx(points, abs=0.06)


def test_without_flips_a_rule_of_three_is_left():
    assert detectable_loss(100, 0.0) == pytest.approx(0.0295, abs=1e-4)


class TestExpectedFlips:
    @pytest.mark.parametrize(("bits", "flips"), [(8, 0.04), (4, 0.12), (3, 0.20), (2, 0.35), (1, 0.35), (6, 0.12)])
    def test_by_width(self, bits, flips):
        assert expected_flips(bits) == flips

    def test_fewer_bits_flip_more(self):
        widths = sorted(EXPECTED_FLIPS)
        assert [EXPECTED_FLIPS[width] for width in widths] == sorted(EXPECTED_FLIPS.values(), reverse=True)


class TestFixedItems:
    def test_is_miller_s_formula_for_many_flips(self):
        assert fixed_items(0.01, 0.35) == pytest.approx((2 * 1.6449) ** 2 * 0.35 / 0.01**2, rel=0.01)

    @pytest.mark.parametrize(("tolerance", "flips"), [(0.08, 0.35), (0.10, 0.02)])
    def test_is_near_the_exact_one(self, tolerance, flips):
        exact = exact_fixed_items(tolerance, flips)
        assert fixed_items(tolerance, flips) == pytest.approx(exact, rel=0.15)
        assert decides(exact, 0.0, flips, tolerance)[0] >= 0.95
        assert decides(exact, 2 * tolerance, flips, tolerance)[1] >= 0.95

    def test_the_plan_costs_at_most_a_tenth_more(self):
        assert fixed_items(0.03, 0.12) < planned_items(0.03, 0.12) <= 1.1 * fixed_items(0.03, 0.12)

    @pytest.mark.parametrize(("tolerance", "flips"), [(0, 0.1), (1, 0.1), (0.03, -0.1), (0.03, 1.1)])
    def test_refuses_what_are_no_proportions(self, tolerance, flips):
        with pytest.raises(ValueError, match="expected within"):
            fixed_items(tolerance, flips)


class TestDecides:
    @pytest.mark.parametrize(("n", "loss", "flips"), [(60, 0.0, 0.05), (60, 0.2, 0.25)])
    def test_agrees_with_simulated_verdicts(self, n, loss, flips):
        rng = np.random.default_rng(1)
        drawn = rng.multinomial(n, [(flips + loss) / 2, (flips - loss) / 2, 1 - flips], size=3000)
        rows, times = np.unique(drawn, axis=0, return_counts=True)
        limits = [exact_interval(b, m, n, 0.05) for b, m, _ in rows.tolist()]
        passed = times[[low > -0.08 for low, _ in limits]].sum() / 3000
        failed = times[[high < -0.08 for _, high in limits]].sum() / 3000
        assert decides(n, loss, flips, 0.08) == pytest.approx((passed, failed), abs=3 * sqrt(0.25 / 3000))


def test_decidable_is_said_of_enough_items():
    assert decidable(1500, 0.03, 0.12)
    assert not decidable(200, 0.03, 0.12)
    assert not decidable(1, 0.03, 0.0)


def test_a_loss_that_fails_four_times_in_five():
    loss = failing_loss(1500, 0.12, 0.03)
    assert 0.03 < loss < 0.06
    assert decides(1500, loss, 0.12, 0.03)[1] == pytest.approx(0.8, abs=0.03)


def test_equivalent_fixed_items_from_what_was_seen():
    # 400 items with 12 % flips and no loss: the error is sqrt(.12 / 400).
    assert equivalent_fixed_items(400, sqrt(0.12 / 400), 0.03) == pytest.approx(1443, abs=1)
    assert equivalent_fixed_items(400, 0.0, 0.03, floor=98.4) == 98.4
    assert equivalent_fixed_items(400, 0.1, 0.0) == float("inf")
