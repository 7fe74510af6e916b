"""Group-sequential boundaries against published constants, by simulation, and where the looks lie."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_qllm.verdict.sequential import (
    DEFAULT,
    Design,
    Look,
    boundaries,
    crossings,
    looks,
    nominal_levels,
    overall_p_value,
)

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
DRIFT = 2 * norm.isf(0.05)
"""Of a fixed design whose errors are both 5 %."""


class TestBoundaries:
    def test_lan_and_demets_o_brien_fleming_type(self):
        # One-sided 2.5 % at five equal looks, as tabulated in Lan and DeMets (1983) and by every package since.
        spent = tuple(float(2 * norm.sf(norm.isf(0.0125) / sqrt(t))) for t in FIFTHS)
        assert boundaries(FIFTHS, spent) == pytest.approx((4.877, 3.357, 2.680, 2.290, 2.031), abs=5e-4)

    def test_lan_and_demets_pocock_type(self):
        spent = tuple(0.025 * log(1 + (np.e - 1) * t) for t in FIFTHS)
        assert boundaries(FIFTHS, spent) == pytest.approx((2.438, 2.427, 2.410, 2.397, 2.386), abs=5e-4)

    @pytest.mark.parametrize(
        ("pocock", "looks", "alpha"),
        # Jennison and Turnbull (2000), table 2.1: two-sided constants C_P(K, alpha).
        [(2.178, 2, 0.05), (2.289, 3, 0.05), (2.413, 5, 0.05), (2.555, 10, 0.05), (2.122, 5, 0.10), (2.986, 5, 0.01)],
    )
    def test_pocock_s_constants_spend_their_alpha(self, pocock, looks, alpha):
        fractions = tuple((k + 1) / looks for k in range(looks))
        below, above = crossings(fractions, (-pocock,) * looks, (pocock,) * looks, 0.0)
        assert below.sum() + above.sum() == pytest.approx(alpha, abs=2e-4)

    @pytest.mark.parametrize(
        ("constant", "looks", "alpha"),
        # The same, table 2.3: O'Brien and Fleming's C_B(K, alpha), critical values C_B sqrt(K / k).
        [(1.977, 2, 0.05), (2.004, 3, 0.05), (2.040, 5, 0.05), (2.087, 10, 0.05), (1.751, 5, 0.10)],
    )
    def test_o_brien_and_fleming_s_constants_spend_their_alpha(self, constant, looks, alpha):
        fractions = tuple((k + 1) / looks for k in range(looks))
        bounds = tuple(constant / sqrt(t) for t in fractions)
        below, above = crossings(fractions, tuple(-b for b in bounds), bounds, 0.0)
        assert below.sum() + above.sum() == pytest.approx(alpha, abs=2e-4)

    def test_one_look_is_the_fixed_test(self):
        assert nominal_levels((1.0,)) == pytest.approx((0.05,))
        below, above = crossings((1.0,), (-np.inf,), (norm.isf(0.05),), DRIFT)
        assert (below[0], above[0]) == pytest.approx((0, 0.95))

    def test_by_direct_simulation_at_uneven_looks(self):
        fractions = (0.07, 0.1, 0.35, 0.36, 1.0)
        bounds = norm.isf(nominal_levels(fractions, 0.05, 1.75))
        rng = np.random.default_rng(1)
        steps = rng.normal(size=(200_000, 5)) * np.sqrt(np.diff((0, *fractions)))
        crossed = (steps.cumsum(1) / np.sqrt(fractions) > bounds).cumsum(1) > 0
        spent = [0.05 * fraction**1.75 for fraction in fractions]
        assert crossed.mean(0) == pytest.approx(spent, abs=0.0015)

    @pytest.mark.parametrize("fractions", [(), (0.5, 0.5), (0.5, 0.2), (0.0, 1.0), (0.5, 1.1)])
    def test_refuses_fractions_that_do_not_grow_to_one(self, fractions):
        with pytest.raises(ValueError, match="must grow within"):
            nominal_levels(fractions)

    def test_refuses_a_spent_error_that_does_not_grow(self):
        with pytest.raises(ValueError, match="must grow with"):
            boundaries((0.5, 1.0), (0.05, 0.05))


class TestDesign:
    """What the defaults promise for normal data; perf/simulate_verdicts.py shows it for answers."""

    fractions = tuple(look.items / 10_000 for look in looks(10_000, 1))
    bounds = tuple(float(norm.isf(look.alpha)) for look in looks(10_000, 1))

    def items(self, multiple: float) -> tuple[float, float]:
        """Mean items over those of the fixed design, and the power, at a drift of so many tolerances."""
        below, above = crossings(
            self.fractions, tuple(-b for b in self.bounds), self.bounds, multiple * DRIFT * sqrt(DEFAULT.inflation)
        )
        stopped = below + above
        return DEFAULT.inflation * (stopped @ self.fractions + 1 - stopped.sum()), above.sum()

    def test_power_is_that_of_the_fixed_design(self):
        assert self.items(1)[1] >= 0.95

    def test_items_that_are_used(self):
        assert self.items(1)[0] <= 0.61
        assert self.items(3)[0] <= 0.14
        assert DEFAULT.inflation <= 1.1

    def test_both_errors_hold_with_both_boundaries(self):
        below, above = crossings(self.fractions, tuple(-b for b in self.bounds), self.bounds, 0.0)
        assert below.sum() == pytest.approx(above.sum())
        assert 0.0495 <= below.sum() <= 0.05

    @pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 0.6}, {"rho": 0}, {"first": 0}, {"growth": 1}])
    def test_refuses_what_is_no_design(self, wrong):
        with pytest.raises(ValueError, match="is no design"):
            Design(**wrong)

    def test_a_fixed_design_looks_once(self):
        assert looks(300, 8, Design.fixed(0.01)) == (Look(300, pytest.approx(0.01)),)


class TestLooks:
    def test_lie_at_whole_blocks_and_at_the_end(self):
        # 5 % of 400 growing by a quarter, each rounded up to whole blocks.
        assert [look.items for look in looks(400, 40)] == [40, 80, 120, 160, 200, 240, 320, 400]

    def test_a_single_block_is_a_single_look_with_all_of_the_error(self):
        assert looks(40, 40) == (Look(40, pytest.approx(0.05)),)

    def test_none_lies_below_the_minimum_but_the_last(self):
        assert looks(24, 1, minimum=8)[0].items >= 8
        assert [look.items for look in looks(6, 1, minimum=8)] == [6]

    @pytest.mark.parametrize(("planned", "block"), [(0, 8), (10, 0), (-1, 1)])
    def test_refuses_no_items(self, planned, block):
        with pytest.raises(ValueError, match="at least 1"):
            looks(planned, block)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.integers(1, 20_000), st.integers(1, 100))
    def test_they_grow_in_whole_blocks_and_their_levels_are_within_alpha(self, planned, block):
        plan = looks(planned, block)
        places = [look.items for look in plan]
        assert places == sorted(set(places))
        assert places[-1] == planned
        assert all(items % block == 0 for items in places[:-1])
        assert all(0 < look.alpha <= 0.0501 for look in plan)


class TestOverallPValue:
    def test_inverts_the_spending(self):
        fractions = (0.2, 0.5, 1.0)
        for alpha in (0.2, 0.05, 0.001):
            level = nominal_levels(fractions, alpha)[-1]
            assert overall_p_value([*[1.0] * (len(fractions) - 1), level], fractions) == pytest.approx(alpha, rel=1e-3)

    def test_is_the_plain_one_of_a_single_look(self):
        assert overall_p_value([0.031], (1.0,)) == 0.031

    def test_never_below_the_nominal_one_nor_above_one(self):
        assert overall_p_value([1.0, 0.7], (0.2, 1.0)) == 1.0
        assert overall_p_value([1.0, 0.01], (0.1, 0.2)) > 0.01
        assert 0 < overall_p_value([1.0, 1e-200], (0.1, 0.2)) <= 1e-11

    def test_over_all_looks_is_the_smallest_of_the_single_looks(self):
        fractions, levels = (0.2, 0.5, 1.0), [0.3, 0.004, 0.02]
        single = [overall_p_value([*[1.0] * k, level], fractions[: k + 1]) for k, level in enumerate(levels)]
        assert overall_p_value(levels, fractions) == pytest.approx(min(single), rel=1e-3)
