"""What a session's verdicts say together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_qllm.report.family import Together, adjusted, lines, pooled, together
from pytest_qllm.report.json import document
from pytest_qllm.report.record import Record
from pytest_qllm.report.terminal import summary

ONE = Record(
    "m", "bnb-nf4", "NF4", 4, "arc_easy", "knowledge", "acc", "difference", 400, 0.6,
    outcome="FAIL", candidate=0.5, effect=-0.1, ci=(-0.14, -0.06), alphas=(0.05, 0.05), tolerance=0.04,
    planned=400, looks=1, p_pass=1.0, p_fail=0.001, broken=60, mended=20,
)  # fmt: skip
OTHER = replace(ONE, benchmark="sciq", outcome="FAIL", effect=-0.06, ci=(-0.09, -0.03), p_fail=0.03)
PASS = replace(ONE, benchmark="piqa", outcome="PASS", effect=0.0, ci=(-0.03, 0.03), p_pass=0.02, p_fail=1.0)
NO_SIGNAL = Record(
    "m", "bnb-nf4", "NF4", 4, "mmlu", "knowledge", "acc", "difference", 400, 0.26, outcome="NO_SIGNAL", tolerance=0.04
)


def test_a_verdict_without_a_p_value_is_passed_over():
    assert adjusted([0.02, None, 0.01]) == [0.02, None, 0.02]
    assert adjusted([None]) == [None]


class TestTogether:
    def test_failures_that_hold_together(self):
        assert together([ONE, OTHER, PASS, NO_SIGNAL]) == Together(
            alpha=0.05, judged=3, failed=2, failed_holm=1, p_all_pass=1.0
        )

    def test_every_test_passes_with_the_largest_p_value(self):
        assert together([PASS, replace(PASS, benchmark="sciq", p_pass=0.04)]).p_all_pass == 0.04

    def test_nothing_was_judged(self):
        found = together([NO_SIGNAL])
        assert (found.judged, found.failed, found.p_all_pass) == (0, 0, None)

    def test_a_verdict_without_a_p_value_leaves_the_claim_open(self):
        assert together([PASS, replace(PASS, p_pass=None)]).p_all_pass is None


class TestLines:
    @pytest.mark.parametrize(
        ("records", "line"),
        [
            ([ONE, OTHER, PASS], "of 3 tests 2 FAIL; 1 of them hold together at 5 % (Holm)"),
            ([PASS, PASS], "every test passes: needs no correction (intersection-union)"),
            ([PASS, PASS, NO_SIGNAL], "every test with a signal passes: needs no correction (intersection-union)"),
        ],
    )
    def test_the_claim(self, records, line):
        claims = list(lines(records))
        assert line in claims
        assert line in ["".join(text for text, _ in spans) for spans in summary(records, [], ["bnb-nf4"], 80)]

    @pytest.mark.parametrize(
        "records", [[], [ONE], [PASS], [NO_SIGNAL, PASS], [PASS, replace(ONE, outcome="INCONCLUSIVE")]]
    )
    def test_nothing_where_nothing_is_claimed_of_several(self, records):
        assert [line for line in lines(records) if "pooled" not in line] == []

    def test_another_error(self):
        assert "2 of them hold together at 10 % (Holm)" in next(iter(lines([ONE, OTHER, PASS], 0.1)))


class TestPooled:
    def test_a_dimension_at_a_fixed_number_of_items(self):
        (row,) = pooled([ONE, OTHER, PASS, NO_SIGNAL])
        assert (row.regime, row.dimension, row.benchmarks) == ("bnb-nf4", "knowledge", ["arc_easy", "piqa", "sciq"])
        assert row.effect == pytest.approx(-0.16 / 3)
        assert row.ci[1] - row.ci[0] < 0.06
        assert row.line().startswith("knowledge of bnb-nf4, 3 benchmarks pooled: -5.3 points, between ")

    @pytest.mark.parametrize(
        "other",
        [
            replace(OTHER, looks=2),
            replace(OTHER, n=80),
            replace(OTHER, benchmark="arc_easy"),
            replace(OTHER, alphas=(0.04, 0.04)),
            replace(OTHER, dimension="language"),
            replace(OTHER, regime="gptq-4bit"),
            replace(OTHER, scale="ratio"),
            replace(OTHER, ci=(None, 0.1)),
        ],
        ids=[
            "looked twice",
            "stopped early",
            "twice",
            "other error",
            "other dimension",
            "other regime",
            "ratio",
            "open",
        ],
    )
    def test_nothing_that_would_not_be_honest(self, other):
        assert pooled([ONE, other]) == []

    def test_one_that_stopped_early_spoils_the_dimension(self):
        assert pooled([ONE, OTHER, replace(PASS, n=80)]) == []

    @pytest.mark.parametrize("metric", ["prob", "rougeL", "bleu"])
    def test_other_scores_are_not_pooled_with_accuracies(self, metric):
        assert pooled([ONE, replace(OTHER, metric=metric, broken=None, mended=None)]) == []


def test_the_report_has_it_all():
    content = document([one.to_json() for one in (ONE, OTHER, PASS)], [], {})
    assert [(one["p_fail"], one["p_fail_holm"]) for one in content["verdicts"]] == [
        (0.001, pytest.approx(0.003)), (1.0, 1.0), (0.03, pytest.approx(0.06)),
    ]  # fmt: skip
    assert content["session"]["failed_holm"] == 1
    assert [row["dimension"] for row in content["pooled"]] == ["knowledge"]
