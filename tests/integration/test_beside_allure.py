"""Beside allure-pytest: its results have our tests with their messages, and our report is as it is without it."""

from __future__ import annotations

import json

import answers
import pytest

from conftest import IMPORTED_BEFORE

pytest.importorskip("allure_pytest", reason="allure-pytest is not installed")

STATUS = {
    "test_kept[bnb-int8]": "passed",
    "test_lost[bnb-int8]": "failed",
    "test_open[bnb-int8]": "failed",
    "test_silent[bnb-int8]": "skipped",
}


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=" ".join)
def test_both_reports_have_the_verdicts(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    answers.write(pytester)
    quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *IMPORTED_BEFORE)
    result = pytester.runpytest_inprocess("--alluredir=allure", *workers, *quiet)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=5, failed=2, skipped=1)
    tests = [json.loads(file.read_text()) for file in (pytester.path / "allure").glob("*-result.json")]
    assert len(tests) == 8
    found = {test["name"]: test for test in tests}
    assert {name: found[name]["status"] for name in STATUS} == STATUS
    assert "a loss of more than 3 points is proven" in found["test_lost[bnb-int8]"]["statusDetails"]["message"]
    assert {"name": "qllm_regime", "value": "'bnb-int8'"} in [
        {name: one[name] for name in ("name", "value")} for one in found["test_lost[bnb-int8]"]["parameters"]
    ]
    report = json.loads((pytester.path / "reports/qllm.json").read_text())
    assert {one["benchmark"]: one["verdict"] for one in report["verdicts"]} == answers.VERDICTS
