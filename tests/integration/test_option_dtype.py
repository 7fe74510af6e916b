"""--qllm-dtype: what baseline and candidates are computed in."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.compute import choose


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


@pytest.mark.parametrize("given", ["float64", "fp16", "half", ""])
def test_another_dtype_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(dtype=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-dtype is {given!r}", "auto, float32, bfloat16, float16")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_baseline_and_candidate_are_computed_in_it(suite: Suite, dtype: str) -> None:
    suite.run(dtype=dtype, max_items=40)
    (baseline,) = suite.report["baselines"]
    (verdict,) = suite.report["verdicts"]
    assert baseline["provenance"]["dtype"] == verdict["provenance"]["dtype"] == dtype


def test_scores_in_one_dtype_are_not_taken_for_those_in_another(suite: Suite) -> None:
    suite.run(dtype="float32", max_items=40)
    suite.scored.clear()
    suite.run(dtype="bfloat16", max_items=40)
    assert suite.scored == [("lambada", 40)] * 2


def test_auto_is_one_of_them_by_the_machine(suite: Suite) -> None:
    suite.run(dtype=None, max_items=40)
    (verdict,) = suite.report["verdicts"]
    assert verdict["provenance"]["dtype"] == choose("auto", "cpu", 1).dtype
    assert suite.report["provenance"]["settings"]["dtype"] == "auto"
