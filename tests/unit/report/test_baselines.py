"""The baseline's score in a report is that on the most items of the session, whoever measured them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from pytest_qllm.report.baselines import on_most_items
from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Change, Trend

OWN = Record(
    "m", "fp16", "none", 16, "arc_easy", "knowledge", "acc", "difference", 40, 0.6, noise={"floor": 0.02}, rerun="own"
)


def verdict(regime: str, n: int, baseline: float, **others) -> Record:
    return replace(OWN, regime=regime, n=n, baseline=baseline, outcome="PASS", rerun="", **others)


def change(n: int) -> Change:
    return Change(n, 0.6, 0.5, -0.1, (-0.2, 0.0), "exact", 1, 0)


def test_it_is_that_of_the_verdict_with_most_items():
    records = [OWN, verdict("a", 80, 0.55, noise={"floor": 0.01}), verdict("b", 40, 0.6)]
    for order in permutations(records):
        (found,) = (one for one in on_most_items(order) if one.outcome is None)
        assert found == replace(OWN, n=80, baseline=0.55, noise={"floor": 0.01})


def test_the_verdicts_stay_as_they_are_and_in_their_order():
    verdicts = [verdict("b", 40, 0.6), verdict("a", 80, 0.55)]
    assert on_most_items([verdicts[0], OWN, verdicts[1]])[::2] == verdicts


def test_its_own_is_kept_where_it_had_most():
    assert on_most_items([OWN, verdict("a", 20, 0.7)])[0] == OWN


def test_another_metric_or_benchmark_says_nothing_of_it():
    others = [verdict("a", 80, 0.5, metric="prob"), verdict("a", 80, 0.5, benchmark="sciq")]
    assert on_most_items([OWN, *others])[0] == OWN


def verdict_of_share(n: int) -> Record:
    return replace(verdict("a", n, 0.5), scale="relative", noise={"floor": 0.02})


def test_a_floor_that_was_a_share_of_the_score_is_one_of_points_again():
    assert on_most_items([OWN, verdict_of_share(80)])[0].noise == {"floor": 0.01}


def test_the_drift_since_the_previous_release_is_on_as_many():
    own = replace(OWN, against=Trend("old", None, "m", items=100, baseline=change(40)).to_json())
    other = verdict("a", 80, 0.55, against=Trend("old", None, "m", items=90, baseline=change(80)).to_json())
    trend = on_most_items([own, other])[0].trend
    assert trend is not None
    assert trend.baseline is not None
    assert (trend.baseline, trend.items) == (change(80), 100)
