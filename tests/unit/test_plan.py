"""What a gate can decide, from numbers alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_qllm.plan import Plan, planned_items, power_of, too_few, undecidable
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sequential import DEFAULT, Design

HELLASWAG = Plan(
    model="m",
    regime="gptq-4bit",
    bits=4,
    benchmark="hellaswag",
    metric="acc_norm",
    scale="difference",
    tolerance=0.04,
    asked=400,
    available=400,
    planned=400,
    advice="raise --qllm-max-items or the tolerance",
    power=power_of(400, 0.04, 4, DEFAULT),
)


class TestPower:
    def test_as_many_items_as_are_needed_and_no_more_are_planned(self):
        assert (power_of(5000, 0.04, 4, DEFAULT).planned, power_of(5000, 0.04, 4, DEFAULT).needed) == (880, 880)
        assert power_of(400, 0.04, 4, DEFAULT).planned == 400

    @pytest.mark.parametrize(("available", "decidable"), [(400, False), (640, True), (880, True), (5000, True)])
    def test_decidable_is_four_times_in_five(self, available, decidable):
        assert power_of(available, 0.04, 4, DEFAULT).decidable is decidable

    def test_a_fixed_design_takes_all_and_sees_a_little_more_of_them(self):
        fixed = power_of(5000, 0.04, 4, Design.fixed())
        assert fixed.planned == 5000 > fixed.needed
        assert fixed.needed < power_of(5000, 0.04, 4, DEFAULT).needed
        assert power_of(400, 0.04, 4, Design.fixed()).seen < power_of(400, 0.04, 4, DEFAULT).seen

    def test_a_smaller_error_sees_less(self):
        usual, strict = power_of(400, 0.04, 4, DEFAULT), power_of(400, 0.04, 4, Design(alpha=0.01))
        assert (strict.seen, strict.failed, strict.needed) > (usual.seen, usual.failed, usual.needed)

    def test_a_tolerance_of_nothing_is_never_decided(self):
        found = power_of(400, 0.0, 8, DEFAULT)
        assert (found.planned, found.needed, found.decidable) == (400, None, False)

    def test_one_item(self):
        assert not power_of(1, 0.08, 2, DEFAULT).decidable


def test_a_perplexity_takes_all_texts_and_nothing_is_said_of_its_power():
    assert planned_items(Kind.PERPLEXITY, 100, 1.03, 8, DEFAULT, chunk=40) == 100


def test_whole_chunks_are_planned_where_there_are_enough_items() -> None:
    needed = planned_items(Kind.ACCURACY, 5000, 0.03, 8, DEFAULT, chunk=1)
    assert planned_items(Kind.ACCURACY, 5000, 0.03, 8, DEFAULT, chunk=40) == -(-needed // 40) * 40
    assert planned_items(Kind.ACCURACY, needed, 0.03, 8, DEFAULT, chunk=40) == needed
    assert planned_items(Kind.ACCURACY, 30, 0.03, 8, DEFAULT, chunk=40) == 30
    assert undecidable(Kind.PERPLEXITY, 1, 1.03, 8, DEFAULT) == ""


def test_why_it_cannot_be_decided():
    assert undecidable(Kind.ACCURACY, 400, 0.04, 4, DEFAULT) == "needs about 880 items, 400 are at hand"
    assert undecidable(Kind.ACCURACY, 400, 0.0, 4, DEFAULT) == "no number of items proves a tolerance of 0"
    assert undecidable(Kind.ACCURACY, 1000, 0.04, 4, DEFAULT) == ""


@pytest.mark.parametrize(
    ("kind", "units", "tolerance", "why"),
    [
        (Kind.ACCURACY, 98, 0.03, "needs at least 99 independent items or clusters, 98 are at hand"),
        (Kind.ACCURACY, 99, 0.03, ""),
        (Kind.GRADED, 40, 0.04, "needs at least 74 independent items or clusters, 40 are at hand"),
        (Kind.PERPLEXITY, 7, 1.03, "needs at least 8 documents, 7 are at hand"),
        (Kind.BIAS, 100, 0.05, ""),
    ],
)
def test_so_few_units_pass_no_regime_whatever_it_scores(kind, units, tolerance, why):
    assert too_few(kind, units, tolerance, DEFAULT) == why


class TestInWords:
    def test_what_is_needed_and_what_would_help(self):
        assert HELLASWAG.undecided() == (
            "hellaswag on gptq-4bit: 400 items cannot decide 4 points: 880 are needed; raise --qllm-max-items or the "
            "tolerance"
        )

    def test_no_signal_comes_first(self):
        assert replace(HELLASWAG, signal="too close").undecided() == "hellaswag on gptq-4bit: NO_SIGNAL: too close"

    def test_nothing_of_what_can_be_decided_of_the_baseline_and_of_a_perplexity(self):
        enough = replace(HELLASWAG, power=power_of(880, 0.04, 4, DEFAULT))
        assert [plan.undecided() for plan in (enough, replace(HELLASWAG, power=None))] == ["", ""]


def test_it_crosses_processes():
    assert Plan.from_json(json.loads(json.dumps(HELLASWAG.to_json(), allow_nan=False))) == HELLASWAG
