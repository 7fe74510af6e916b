"""The gate on the real default model, as a user runs it."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real

SUITE = """
def test_arc_easy(gate):
    gate("arc_easy", items=40)

def test_story_perplexity(gate):
    gate("story_perplexity", items=8)
"""


def _verdicts(path):
    content = json.loads((path / "qllm.json").read_text())
    verdicts = content["verdicts"]
    for one in verdicts:
        assert one.pop("rerun")  # the command names the store, which is another one in each run
    return {(one["regime"], one["benchmark"]): one for one in verdicts}, content


def test_workers_do_not_change_a_score(pytester, tmp_path):
    pytester.makepyfile(SUITE)
    found = {}
    for workers in ("0", "2"):
        report = tmp_path / f"report-{workers}"
        pytester.runpytest_subprocess(
            "-n", workers, "--qllm-regimes=bnb-int8", f"--qllm-store={tmp_path / workers}", f"--qllm-report={report}"
        )
        found[workers], content = _verdicts(report)
        assert not content["errors"]
    assert found["0"] == found["2"]
    assert found["0"]["bnb-int8", "story_perplexity"]["effect"] == pytest.approx(1.0, abs=0.05)
