"""Fewer bits lose more, on the real default model: the quick one of the orderings that perf/orderings.py measures."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real


def test_plain_rounding_loses_more_with_fewer_bits(pytester, tmp_path):
    pytester.makepyfile(test_story="def test_story(gate):\n    gate('story_perplexity', items=4)\n")
    report = tmp_path / "report"
    pytester.runpytest_subprocess(
        "--qllm-regimes=rtn-8bit,rtn-4bit,rtn-2bit",
        f"--qllm-store={tmp_path / 'store'}",
        f"--qllm-report={report}",
    )
    content = json.loads((report / "qllm.json").read_text())
    assert content["errors"] == []
    effects = {one["regime"]: one["effect"] for one in content["verdicts"]}
    assert effects["rtn-8bit"] < effects["rtn-4bit"] < effects["rtn-2bit"]
