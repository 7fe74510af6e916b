"""`pytest-qllm report`, and qllm.md: the same verdicts again in every form, without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import pytest_qllm
from conftest import Suite
from pytest_qllm import load_report
from pytest_qllm.cli import main
from pytest_qllm.report.schema import schema


@pytest.fixture
def reported(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> pytest.RunResult:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "step.md"))
    (suite.path / "step.md").write_text("what an earlier command left\n")
    suite.gates("lambada", "arc_easy")
    return suite.run()


def test_every_form_tells_the_same(
    suite: Suite, reported: pytest.RunResult, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    # As the terminal showed it.
    assert main(["report", "reports"]) == 1
    again = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line for line in again if line.startswith(("bnb-", "fp16"))]
    assert [line for line in again if line not in reported.outlines] == []
    # As Markdown, in the file, on the page of the step, and printed.
    written = (suite.path / "reports/qllm.md").read_text()
    assert (suite.path / "step.md").read_text() == f"what an earlier command left\n{written}"
    assert main(["report", "reports/qllm.json", "--markdown"]) == 1
    assert capsys.readouterr().out == written
    assert "| `bnb-nf4` | **FAIL** -30.0 |" in written
    assert "| `bnb-int8` | yes | 1 test passes |" in written
    assert "rerun       pytest 'test_lambada.py::test_lambada[bnb-nf4]' --qllm-regimes=bnb-nf4" in written
    # As JSON, which is the file.
    assert main(["report", "reports", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content == suite.report
    jsonschema.validate(content, schema("qllm.schema.json"))
    assert load_report(suite.path / "reports").unknown == ()


def test_the_page_is_written_again(
    suite: Suite, reported: pytest.RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    page = suite.path / "reports/qllm.html"
    page.unlink(missing_ok=True)
    assert main(["report", "reports", "--html"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "page: reports/qllm.html"
    assert page.read_text().startswith("<!doctype html>")


def test_a_summary_that_cannot_be_written_takes_nothing_with_it(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path / "no/such/step.md"))
    suite.gates("lambada")
    result = suite.run(regimes="bnb-int8")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["report: *qllm.json", "no qllm.md: cannot write *no/such/step.md*"])
    assert suite.report["exitstatus"] == 0


def test_neither_one_form_nor_two_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", "reports", "--html", "--json"])
    assert caught.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_no_command_needs_torch_or_pytest(suite: Suite, reported: pytest.RunResult) -> None:
    program = (
        "import sys; from pytest_qllm.cli import main\n"
        "for command in ('report reports', 'report reports --markdown', 'report reports --html',\n"
        "                'merge reports --into merged', 'diff reports merged'):\n"
        "    assert main(command.split()) < 2\n"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'datasets', 'pytest') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(pytest_qllm.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=suite.path, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
