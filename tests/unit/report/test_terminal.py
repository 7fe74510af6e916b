"""The table at the end of a session."""

from __future__ import annotations

import pytest

from pytest_qllm.report.record import Record
from pytest_qllm.report.terminal import summary
from pytest_qllm.report.trend import Change, Trend
from pytest_qllm.verdict.expected import Acceptance

REGIMES = ("fp16", "bnb-int8", "bnb-nf4", "gptq-4bit")
NAMES = ("arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "boolq", "sciq", "mmlu", "gsm8k", "lambada")


def record(regime: str, benchmark: str, outcome: str | None = None, effect: float | None = None, **fields) -> Record:
    bits = {"fp16": 16, "bnb-int8": 8}.get(regime, 4)
    common = {"model": "m", "method": "M", "dimension": "knowledge", "metric": "acc", "scale": "difference"}
    return Record(
        regime=regime, bits=bits, benchmark=benchmark, n=400, baseline=0.5, outcome=outcome, effect=effect,
        **{**common, **fields},
    )  # fmt: skip


def grid(benchmarks=NAMES, outcome="INCONCLUSIVE", effect=-0.1234) -> list[Record]:
    return [
        record(regime, benchmark) if regime == "fp16" else record(regime, benchmark, outcome, effect)
        for regime in REGIMES
        for benchmark in benchmarks
    ]


def lines(records, errors=(), width=80, regimes=REGIMES) -> list[str]:
    return [line for line, _ in summary(records, errors, regimes, width)]


def test_regimes_are_rows_and_benchmarks_columns():
    records = [
        record("fp16", "arc_easy"),
        record("fp16", "piqa"),
        record("bnb-nf4", "arc_easy", "FAIL", -0.0825),
        record("bnb-nf4", "piqa", "PASS", 0.005),
    ]
    assert lines(records) == [
        "",
        "regime   arc_easy   piqa",
        "fp16     50.0 %     50.0 %",
        "bnb-nf4  FAIL -8.2  PASS +0.5",
        "",
        "1 FAIL, 1 PASS",
        "effect: points of accuracy, or x the baseline's perplexity; a verdict is on its bounds, not on it",
    ]


def test_rows_are_in_the_order_in_which_regimes_were_given_whatever_came_first():
    records = [
        record("gptq-4bit", "piqa", "PASS", 0.0),
        record("bnb-int8", "piqa", "PASS", 0.0),
        record("fp16", "piqa"),
    ]
    assert [line.split()[0] for line in lines(records)[1:5] if line] == ["regime", "fp16", "bnb-int8", "gptq-4bit"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 1000])
def test_what_does_not_fit_side_by_side_goes_into_a_table_below(width):
    table = lines(grid(), width=width)[:-2]
    assert max(map(len, table)) <= width
    heads = [line.split()[1:] for line in table if line.startswith("regime")]
    assert [name for head in heads for name in head] == sorted(NAMES)
    assert (len(heads) == 1) == (width == 1000)
    assert len([line for line in table if line.startswith("gptq-4bit")]) == len(heads)


def test_a_column_that_is_wider_than_the_terminal_still_appears():
    name = "b" * 100
    assert any(name in line for line in lines([*grid(["piqa", name, "boolq"])]))


def test_a_missing_cell_is_a_dash_and_a_missing_row_is_left_out():
    records = [record("fp16", "piqa"), record("bnb-nf4", "piqa", "PASS", 0.0), record("bnb-nf4", "boolq", "FAIL", -0.2)]
    assert lines(records)[2:4] == ["fp16     -           50.0 %", "bnb-nf4  FAIL -20.0  PASS +0.0"]
    assert not any("gptq" in line for line in lines(records))


def test_no_signal_has_a_cell_and_is_counted():
    text = lines([record("fp16", "piqa"), record("bnb-nf4", "piqa", "NO_SIGNAL", reason="too close to chance")])
    assert "bnb-nf4  no signal" in text
    assert "1 NO_SIGNAL" in text


def test_errors_are_told_even_where_nothing_was_measured():
    error = {"test": "t.py::test_piqa[bnb-nf4]", "regime": "bnb-nf4", "message": "the disk is full"}
    assert lines([], [error]) == ["", "ERROR t.py::test_piqa[bnb-nf4]: the disk is full"]


def test_nothing_at_all_is_nothing_to_count():
    assert lines([]) == [""]


def test_baselines_alone_are_shown_without_counts():
    assert lines([record("fp16", "piqa")]) == ["", "regime  piqa", "fp16    50.0 %", ""]


@pytest.mark.parametrize(
    ("outcomes", "colour"),
    [
        (["PASS", "PASS"], "green"),
        (["PASS", "INCONCLUSIVE"], "yellow"),
        (["INCONCLUSIVE", "FAIL"], "red"),
        (["NO_SIGNAL", "PASS"], "green"),
        (["NO_SIGNAL"], None),
    ],
)
def test_a_row_has_the_colour_of_its_worst_verdict(outcomes, colour):
    records = [record("bnb-nf4", name, outcome, 0.0) for name, outcome in zip(NAMES, outcomes, strict=False)]
    markup = next(markup for line, markup in summary(records, [], REGIMES, 80) if line.startswith("bnb-nf4"))
    assert markup == ({colour: True} if colour else {})


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_two_verdicts_on_one_benchmark_are_both_seen(metric):
    records = [record("bnb-nf4", "piqa", "FAIL", -0.2), record("bnb-nf4", "piqa", "PASS", 0.0, metric=metric)]
    assert "FAIL -20.0" in "\n".join(lines(records))


def test_what_changed_since_a_release_is_not_what_was_expected_of_the_baseline():
    change = Change(400, 0.4, 0.5, 0.1, (0.05, 0.15), "exact")
    since = Trend("old.json", "2026-01-01T00:00:00", "m", verdict="PASS", regime=change)
    known = Acceptance("for tests only", 0.4, True, "xfail", True, 400, (-0.2, -0.1))
    shown = lines([record("bnb-nf4", "piqa", "FAIL", -0.15, expected=known, against=since.to_json())])
    assert [line for line in shown if line.startswith("bnb-nf4")] == ["bnb-nf4  xfail -15.0", "bnb-nf4  PASS +10.0"]
