"""--qllm-alpha: the one-sided error of a wrong PASS, and of a wrong FAIL, over all looks."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


def test_five_percent_by_default(suite: Suite) -> None:
    suite.run()
    assert suite.report["provenance"]["settings"]["alpha"] == 0.05
    assert max(suite.verdicts["bnb-int8", "lambada"]["alphas"]) <= 0.05


def test_a_smaller_error_widens_the_interval_until_nothing_is_proven(suite: Suite) -> None:
    suite.run().assert_outcomes(passed=2)
    usual = suite.verdicts["bnb-int8", "lambada"]
    suite.run(alpha="0.001").assert_outcomes(passed=1, failed=1)
    strict = suite.verdicts["bnb-int8", "lambada"]
    assert (usual["verdict"], strict["verdict"]) == ("PASS", "INCONCLUSIVE")
    assert max(strict["alphas"]) <= 0.001
    assert strict["ci"][0] < usual["ci"][0]
    assert strict["fixed"] > usual["fixed"]


def test_what_was_measured_is_judged_anew_and_not_measured_anew(suite: Suite) -> None:
    suite.run(alpha="0.001")
    suite.scored.clear()
    suite.run(alpha="0.2").assert_outcomes(passed=2)
    assert suite.scored == []


def test_in_the_ini_file(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nqllm_alpha = 0.001")
    suite.run().assert_outcomes(passed=1, failed=1)
    suite.run(alpha="0.05").assert_outcomes(passed=2)


def test_the_rerun_command_has_it(suite: Suite) -> None:
    suite.run(alpha="0.001").stdout.fnmatch_lines(["  rerun       pytest *[[]bnb-int8]* --qllm-alpha=0.001*"])


@pytest.mark.parametrize("given", ["0", "0.5", "-0.05", "1", "5%", "nan", "inf", "", "1e-9"])
def test_what_is_no_such_error_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(alpha=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-alpha is {given!r}", "expected a number below 0.5")
