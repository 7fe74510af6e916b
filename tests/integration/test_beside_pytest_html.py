"""Beside pytest-html: its report has our tests with their messages, escaped, and our report is as it is without it."""

from __future__ import annotations

import html
import json
import re

import answers
import pytest

from conftest import IMPORTED_BEFORE

pytest.importorskip("pytest_html", reason="pytest-html is not installed")


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=" ".join)
def test_both_reports_have_the_verdicts(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    answers.write(pytester)
    quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *IMPORTED_BEFORE)
    result = pytester.runpytest_inprocess("--html=page.html", "--self-contained-html", *workers, *quiet)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=5, failed=2, skipped=1)
    page = (pytester.path / "page.html").read_text()
    content = re.search(r'data-jsonblob="([^"]*)"', page)
    assert content is not None
    tests = json.loads(html.unescape(content.group(1)))["tests"]
    (lost,) = tests["test_lost.py::test_lost[bnb-int8]"]
    assert lost["result"] == "Failed"
    assert "a loss of more than 3 points is proven" in lost["log"]
    assert "<script>alert" not in page + lost["log"]
    report = json.loads((pytester.path / "reports/qllm.json").read_text())
    assert {one["benchmark"]: one["verdict"] for one in report["verdicts"]} == answers.VERDICTS
