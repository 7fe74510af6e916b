"""Pairs in turns, and the verdicts on invented times."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from pytest_qllm.efficiency.ask import COUNTED, RANGE, counted, timed
from pytest_qllm.efficiency.timing import SPREAD, alternate, spread


def runs(log_of: list[str], name: str, seconds: float):
    def run() -> float:
        log_of.append(name)
        return seconds

    return run


def invented(ratio: float, noise: float, count: int, seed: int = 1) -> tuple[tuple[float, float], ...]:
    """Times whose log ratios have that mean and about that standard deviation, on a machine that slows down."""
    generator = np.random.default_rng(seed)
    base = np.exp(np.linspace(0, 0.5, count) + 0.02 * generator.standard_normal(count))
    return tuple(zip(base, base * ratio * np.exp(noise * generator.standard_normal(count)), strict=True))


def test_sides_take_turns_and_the_first_of_a_pair_changes():
    order: list[str] = []
    pairs = alternate(runs(order, "b", 1.0), runs(order, "c", 3.0), 3)
    assert "".join(order) == "bccbbc"
    assert pairs == [(1.0, 3.0)] * 3


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_run_that_took_no_time_is_no_figure(seconds):
    with pytest.raises(ValueError, match="a run took"):
        alternate(runs([], "b", 1.0), runs([], "c", seconds), 1)


def test_the_spread_is_of_the_ratios_and_not_of_the_times():
    assert spread([(1.0, 2.0), (100.0, 200.0)]) == pytest.approx(0)
    assert spread([(1.0, 1.0), (1.0, exp(1.0))]) == pytest.approx(log(exp(1.0)) / 2**0.5)
    assert spread([(1.0, 2.0)]) == 0


class TestTimed:
    @pytest.mark.parametrize(
        ("ratio", "tolerance", "outcome"),
        [
            (1.0, 1.25, "PASS"),
            (1.8, 1.25, "FAIL"),
            (1.25, 1.25, "INCONCLUSIVE"),
            (0.3, 0.45, "PASS"),
            (0.6, 0.45, "FAIL"),
        ],
    )
    def test_limits_decide(self, ratio, tolerance, outcome):
        verdict = timed(invented(ratio, 0.05, 8), tolerance, 0.05)
        assert verdict.outcome == outcome
        assert verdict.evidence.low < verdict.evidence.effect < verdict.evidence.high
        assert verdict.evidence.effect == pytest.approx(ratio, rel=0.1)

    def test_fewer_pairs_than_eight_prove_nothing(self):
        verdict = timed(invented(1.0, 0.01, 7), 1.25, 0.05)
        assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "fewer than 8 runs")

    def test_pairs_that_differ_too_much_prove_nothing(self):
        verdict = timed(invented(0.01, 4 * SPREAD, 32), 1.25, 0.05)
        assert verdict.evidence.high < 1.25
        assert verdict.outcome == "INCONCLUSIVE"
        assert "time it on a quieter machine" in verdict.reason

    def test_equal_times_prove_nothing(self):
        assert timed(((1.0, 1.0),) * 8, 1.25, 0.05).outcome == "INCONCLUSIVE"

    def test_without_a_tolerance_there_is_no_verdict_and_no_p_value(self):
        verdict = timed(invented(1.8, 0.05, 8), None, 0.05)
        assert verdict.outcome == "UNGATED"
        assert (verdict.evidence.p_pass, verdict.evidence.p_fail) == (None, None)
        assert verdict.evidence.low > 1

    def test_the_limits_hold_as_often_as_they_say(self):
        above = sum(timed(invented(1.25, 0.1, 8, seed), 1.25, 0.05).outcome == "PASS" for seed in range(400))
        assert above <= 33  # 20 expected of 400; 99.7 % of such runs have at most 33


class TestCounted:
    @pytest.mark.parametrize(("after", "outcome"), [(44.0, "PASS"), (46.0, "FAIL"), (45.0, "INCONCLUSIVE")])
    def test_a_count_is_its_own_interval(self, after, outcome):
        verdict = counted(((100.0, after),), 0.45, COUNTED)
        assert verdict.outcome == outcome
        assert verdict.evidence.low == verdict.evidence.high == verdict.evidence.effect
        assert (verdict.evidence.p_pass, verdict.evidence.p_fail) == (float(after >= 45), float(after <= 45))

    @pytest.mark.parametrize(("tolerance", "outcome"), [(0.6, "PASS"), (0.5, "INCONCLUSIVE"), (0.4, "FAIL")])
    def test_a_range_has_to_lie_on_one_side(self, tolerance, outcome):
        verdict = counted(((100.0, 45.0), (100.0, 55.0), (102.0, 45.0), (102.0, 55.0)), tolerance, RANGE)
        assert verdict.outcome == outcome
        assert verdict.evidence.p_pass is None

    def test_without_a_tolerance_there_is_no_verdict(self):
        assert counted(((100.0, 45.0),), None, COUNTED).outcome == "UNGATED"
