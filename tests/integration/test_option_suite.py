"""--qllm-suite: quick leaves out what says nothing of the built-in model, paper measures its benchmarks in full."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Suite, assert_refused

OWN = """
from pytest_qllm.benchmarks.benchmark import Benchmark

def pytest_qllm_benchmarks():
    made = [("full", 25, 30), ("other", 25, 0), ("mine", 25, None), ("left", 0, 30)]
    task = "lambada/lambada_openai.yaml"
    return [
        Benchmark(name, "domain", task, "acc", 20, quick, data="lambada", paper=paper) for name, quick, paper in made
    ]
"""


@pytest.fixture(autouse=True)
def benchmarks(suite: Suite) -> None:
    suite.pytester.makeconftest(OWN)
    suite.gates("full", "other", "mine", "left")
    suite.options["regimes"] = "bnb-int8"


def counts(suite: Suite) -> dict[str, int]:
    return {one["benchmark"]: one["n"] for one in suite.report["baselines"]}


@pytest.mark.parametrize("given", [None, "quick"])
def test_quick_is_the_default_and_another_model_measures_all(suite: Suite, given: str | None) -> None:
    suite.run("-k", "fp16", suite=given).assert_outcomes(passed=4, deselected=4)
    assert counts(suite) == {"full": 20, "other": 20, "mine": 20, "left": 20}


def test_paper_measures_its_own_in_full_and_skips_the_other_built_in_ones(suite: Suite) -> None:
    result = suite.run("-k", "fp16", "-rs", suite="paper")
    result.assert_outcomes(passed=3, skipped=1, deselected=4)
    result.stdout.fnmatch_lines(["*other is not of the paper's: measured with --qllm-suite=quick*"])
    assert counts(suite) == {"full": 30, "mine": 20, "left": 30}


def test_paper_is_capped_and_what_a_test_says_goes_before(suite: Suite) -> None:
    suite.pytester.makepyfile(test_said="def test_said(gate): gate('other', items=7)")
    suite.run("-k", "fp16 and (full or said)", suite="paper", max_items=9).assert_outcomes(passed=2, deselected=8)
    assert counts(suite) == {"full": 9, "other": 7}


def test_the_command_that_runs_a_test_again_has_the_suite(suite: Suite) -> None:
    suite.run("-k", "full and int8", suite="paper")
    (verdict,) = suite.report["verdicts"]
    assert "--qllm-suite=paper" in verdict["rerun"]


def test_an_ini_file_may_say_it(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nqllm_suite = paper")
    suite.run("-k", "fp16 and other").assert_outcomes(skipped=1, deselected=7)


def test_another_suite_is_refused(suite: Suite) -> None:
    assert_refused(suite.run(suite="full"), "--qllm-suite is 'full'", "expected one of quick, paper")


def test_the_built_in_model_is_left_out_where_it_says_nothing(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_qllm.models import source

    resolve = source.resolve

    def of_the_directory(*given: Any, **options: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "DEFAULT", "")
            return resolve(*given, **options)

    monkeypatch.setattr(source, "DEFAULT", str(suite.options["model"]))
    monkeypatch.setattr(source, "resolve", of_the_directory)  # the real one takes most of a minute
    result = suite.run("-k", "fp16", "-rs")
    result.assert_outcomes(passed=3, skipped=1, deselected=4)
    result.stdout.fnmatch_lines(["*left is left out with the built-in model: *gate('left', items=100)*"])
    suite.pytester.makepyfile(test_left="def test_left(gate): gate('left', items=100)")
    suite.run("-k", "fp16 and left").assert_outcomes(passed=1, deselected=7)
