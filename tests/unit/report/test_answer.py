"""May a regime ship? Only what was shown says yes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pytest_qllm.report.answer import answers, failed, fails, failures, worst_first
from pytest_qllm.report.json import document
from pytest_qllm.report.reader import Report, report_of
from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Trend
from pytest_qllm.verdict.expected import Acceptance

PASS = Record(
    "m", "mine", "noise", 8, "piqa", "knowledge", "acc", "difference", 40, 0.8, "PASS", 0.79, -0.01, (-0.02, 0.01),
    tolerance=0.03,
)  # fmt: skip
FAIL = replace(PASS, benchmark="boolq", outcome="FAIL", effect=-0.1)
OPEN = replace(PASS, benchmark="sciq", outcome="INCONCLUSIVE")
SILENT = replace(PASS, benchmark="mmlu", outcome="NO_SIGNAL", effect=None, ci=None)
SLID = Trend("old", "2026-01-02", "m", verdict="FAIL").to_json()
ERROR = {"test": "t.py::test_arc[mine]", "regime": "mine", "message": "no"}


def expected(outcome: str) -> Acceptance:
    return Acceptance("for tests", 0.4, True, outcome)


def report(
    *records: Record, errors: tuple[dict[str, str], ...] = (), exitstatus: int = 0, **settings: object
) -> Report:
    about = {"time": "2026-01-02", "settings": {"regimes": ["mine"], **settings}}
    content = document([one.to_json() for one in records], errors, about, exitstatus=exitstatus)
    return report_of(content, Path("qllm.json"))


@pytest.mark.parametrize(
    ("records", "ships", "why"),
    [
        ([PASS], "yes", "1 test passes"),
        ([PASS, SILENT], "yes", "1 test passes"),
        ([PASS, replace(FAIL, expected=expected("xfail"))], "yes", "1 test passes, 1 known loss accepted"),
        ([PASS, FAIL], "no", "1 test fails"),
        ([PASS, replace(FAIL, expected=expected("worse"))], "no", "1 test fails"),
        ([replace(PASS, expected=expected("mended"))], "no", "1 test fails"),
        ([replace(PASS, against=SLID)], "no", "1 test fails"),
        ([PASS, OPEN], "undecided", "1 of 2 tests undecided"),
        ([SILENT], "undecided", "no test has a signal"),
        ([], "undecided", "no test has judged it"),
    ],
)
def test_the_answer_of_a_regime(records: list[Record], ships: str, why: str) -> None:
    (answer,) = answers(report(*records))
    assert (answer.regime, answer.ships, answer.why) == ("mine", ships, why)


def test_an_error_is_no_evidence() -> None:
    (answer,) = answers(report(PASS, errors=(ERROR,)))
    assert (answer.ships, answer.why) == ("no", "1 test ended in an error")


def test_an_interrupted_session_decides_nothing_that_it_has_not_shown() -> None:
    (answer,) = answers(report(PASS, exitstatus=2))
    assert (answer.ships, answer.why) == ("undecided", "the session was interrupted")
    (answer,) = answers(report(FAIL, exitstatus=2))
    assert answer.ships == "no"


@pytest.mark.parametrize("inconclusive", ["skip", "pass"])
def test_an_undecided_test_fails_by_default_only(inconclusive: str) -> None:
    assert fails(OPEN)
    assert not fails(OPEN, inconclusive)
    assert failed(report(OPEN))
    assert not failed(report(OPEN, inconclusive=inconclusive))
    (answer,) = answers(report(OPEN, inconclusive=inconclusive))
    assert answer.ships == "undecided"


@pytest.mark.parametrize(
    ("made", "is_failed"),
    [
        (report(PASS, SILENT), False),
        (report(PASS, FAIL), True),
        (report(PASS, errors=(ERROR,)), True),
        (report(PASS, exitstatus=2), True),
        (report(PASS, exitstatus=1), True),
        (report(replace(FAIL, expected=expected("xfail"))), False),
    ],
)
def test_the_run_as_a_whole(made: Report, is_failed: bool) -> None:
    assert failed(made) is is_failed


def test_a_loss_that_is_accepted_is_accepted_since_the_last_release_too() -> None:
    assert not fails(replace(FAIL, against=SLID, expected=expected("xfail")))


def test_the_worst_first() -> None:
    far = replace(FAIL, benchmark="arc", effect=-0.3)
    worse = replace(FAIL, benchmark="zzz", effect=-0.05, expected=expected("worse"))
    slid = replace(PASS, benchmark="old", against=SLID)
    order = worst_first([PASS, FAIL, slid, OPEN, far, worse, SILENT])
    assert [one.benchmark for one in order] == ["zzz", "arc", "boolq", "old", "sciq", "piqa", "mmlu"]
    assert failures(report(*order)) == [replace(one, ci=list(one.ci), **HOLM) for one in order[:5]]


HOLM = {"p_pass_holm": None, "p_fail_holm": None}


def test_a_ratio_is_compared_by_its_logarithm() -> None:
    ratio = replace(FAIL, benchmark="ppl", scale="ratio", effect=1.2, tolerance=1.05)
    points = replace(FAIL, effect=-0.09, tolerance=0.03)
    assert worst_first([points, ratio])[0] is ratio
    assert asdict(ratio)["effect"] == 1.2
