"""--qllm-inconclusive: what a test does whose loss is proven neither smaller nor larger than its tolerance."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def too_few_items(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options.update(regimes="bnb-int8", max_items=40)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (None, {"passed": 1, "failed": 1}),
        ("fail", {"passed": 1, "failed": 1}),
        ("skip", {"passed": 1, "skipped": 1}),
        ("pass", {"passed": 2}),
    ],
)
def test_the_test_does_as_told_and_the_verdict_stays(suite: Suite, given: str | None, outcome: dict[str, int]) -> None:
    result = suite.run("-rs", inconclusive=given)
    result.assert_outcomes(**outcome)
    assert suite.outcomes == {("bnb-int8", "lambada"): "INCONCLUSIVE"}
    result.stdout.fnmatch_lines(["bnb-int8*INCONCL. +0.0"])
    if given == "skip":
        result.stdout.fnmatch_lines(["SKIPPED*INCONCLUSIVE: lambada on bnb-int8*"])


def test_it_softens_no_failure(suite: Suite) -> None:
    suite.run(regimes="bnb-nf4", max_items=0, inconclusive="pass").assert_outcomes(passed=1, failed=1)
    assert suite.outcomes == {("bnb-nf4", "lambada"): "FAIL"}


def test_it_does_not_turn_no_signal_into_a_pass(suite: Suite) -> None:
    suite.gates("arc_easy")
    suite.run("test_arc_easy.py", inconclusive="pass").assert_outcomes(passed=1, skipped=1)


def test_it_does_not_turn_an_error_into_a_pass(suite: Suite) -> None:
    assert_refused(suite.run(model="/no/such", inconclusive="pass"), "no model at '/no/such'")


@pytest.mark.parametrize("given", ["ignore", "PASS", ""])
def test_another_word_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(inconclusive=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-inconclusive is {given!r}", "fail, skip, pass")
