"""Beside pytest-json-report: its file has our properties, and our report is as it is without it."""

from __future__ import annotations

import json

import answers
import pytest

from conftest import IMPORTED_BEFORE

pytest.importorskip("pytest_jsonreport", reason="pytest-json-report is not installed")


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=" ".join)
def test_both_reports_have_the_verdicts(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    answers.write(pytester)
    quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *IMPORTED_BEFORE)
    result = pytester.runpytest_inprocess("--json-report", "--json-report-file=theirs.json", *workers, *quiet)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=5, failed=2, skipped=1)
    tests = {test["nodeid"]: test for test in json.loads((pytester.path / "theirs.json").read_text())["tests"]}
    assert len(tests) == 8
    lost = tests["test_lost.py::test_lost[bnb-int8]"]
    assert lost["outcome"] == "failed"
    assert {"qllm.verdict": "FAIL"} in lost["user_properties"]
    report = json.loads((pytester.path / "reports/qllm.json").read_text())
    assert {one["benchmark"]: one["verdict"] for one in report["verdicts"]} == answers.VERDICTS
