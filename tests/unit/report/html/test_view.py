"""What the first screen says of a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_qllm.report.front import pareto
from pytest_qllm.report.html.signs import SIGNS, change_of, sign_of
from pytest_qllm.report.html.view import View
from pytest_qllm.report.json import document
from pytest_qllm.report.reader import report_of
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.expected import Acceptance

BASELINE = Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 200, 0.65)
PASS = replace(
    BASELINE,
    regime="mine",
    method="noise",
    bits=4,
    outcome="PASS",
    candidate=0.66,
    effect=0.01,
    ci=(-0.02, None),
    tolerance=0.04,
)
ERROR = {"test": "t.py::test_boolq[mine]", "regime": "mine", "message": "no"}


def view(*records: Record, errors: object = ()) -> View:
    content = document([one.to_json() for one in records], errors, {"time": "2026", "settings": {"regimes": ["mine"]}})
    return View(report_of(content, Path("qllm.json")))


def accepted(outcome: str) -> Record:
    known = Acceptance("known", 0.4, True, outcome)
    return replace(PASS, benchmark="sciq", outcome="PASS" if outcome == "mended" else "FAIL", expected=known)


@pytest.mark.parametrize(
    ("others", "errors", "word"),
    [
        ([], [], "Yes"),
        ([replace(PASS, benchmark="sciq", outcome="NO_SIGNAL", effect=None, ci=None)], [], "Yes"),
        ([accepted("xfail")], [], "Yes"),
        ([replace(PASS, benchmark="sciq", outcome="INCONCLUSIVE")], [], "Undecided"),
        ([replace(PASS, benchmark="sciq", outcome="FAIL")], [], "No"),
        ([accepted("worse")], [], "No"),
        ([accepted("mended")], [], "No"),
        ([], [ERROR], "No"),
    ],
)
def test_may_it_ship(others: list[Record], errors: list[dict[str, str]], word: str) -> None:
    assert view(BASELINE, PASS, *others, errors=errors).answer("mine").word == word


def test_the_answer_says_why_and_counts_the_verdicts() -> None:
    silent = replace(PASS, benchmark="sciq", outcome="NO_SIGNAL", effect=None, ci=None)
    shown = view(BASELINE, PASS, silent).answer("mine")
    assert (shown.why, shown.counts) == ("1 test passes", "1 PASS, 1 no signal")


def test_a_regime_that_only_has_an_error_is_there_and_may_not_ship() -> None:
    (row,) = view(errors=[ERROR]).rows
    assert (row.regime, row.answer and row.answer.word, row.cells) == ("mine", "No", {})


def test_a_loss_since_the_previous_release_is_a_failure() -> None:
    trend = {
        "file": "f",
        "time": "2026",
        "model": "m",
        "verdict": "FAIL",
        "regime": None,
        "baseline": None,
        "differs": (),
    }
    slid = replace(PASS, against=trend)
    assert sign_of(slid).word == "FAIL"
    assert view(BASELINE, slid).answer("mine").word == "No"
    assert sign_of(replace(accepted("xfail"), against=trend)).word == "ACCEPTED"


def test_of_two_tests_the_worse_verdict_stands() -> None:
    worse = replace(PASS, metric="prob", outcome="FAIL")
    cell = view(BASELINE, PASS, worse).cells["mine", "piqa"]
    assert cell.sign.word == "FAIL"
    assert len(cell.records) == 2


def test_a_name_with_a_slash_has_a_place_of_its_own() -> None:
    cell = view(BASELINE, replace(PASS, regime="a/b", benchmark="c#d")).cells["a/b", "c#d"]
    assert cell.place == "/cell/a%2Fb/c%23d"


def test_a_side_without_a_bound_is_said_to_be_so() -> None:
    assert view(PASS).cells["mine", "piqa"].interval == "\N{MINUS SIGN}2.0 to unbounded"


def test_ratios_near_one_have_three_decimals() -> None:
    ratio = replace(PASS, scale="ratio")
    assert [change_of(ratio, value) for value in (1.0495, 32800.0, None)] == [
        "\N{MULTIPLICATION SIGN}1.050",
        "\N{MULTIPLICATION SIGN}3.28e+04",
        "unbounded",
    ]


def test_every_standing_has_a_letter_of_its_own() -> None:
    assert len({sign.letter for sign in SIGNS.values()}) == len(SIGNS)
    severities = [sign.severity for sign in SIGNS.values()]
    assert severities == sorted(severities, reverse=True)


def test_the_pareto_front() -> None:
    points = [(16.0, 0.0), (8.0, 0.1), (4.0, -3.0), (4.1, -4.0), (2.0, -25.0), (8.0, -1.0)]
    assert pareto(points) == [(2.0, -25.0), (4.0, -3.0), (8.0, 0.1)]
