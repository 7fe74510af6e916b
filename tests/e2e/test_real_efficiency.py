"""Costs of the real default model, as a user measures them, at a small shape."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.real

SUITE = """
def test_disk_size(efficiency):
    efficiency("disk_size", tolerance=0.45)

def test_weight_memory(efficiency):
    efficiency("weight_memory", tolerance=0.45)

def test_decode_time(efficiency):
    efficiency("decode_time", shape="8x8")
"""


def test_four_bits_save_memory_and_their_speed_is_shown(pytester, tmp_path):
    pytester.makepyfile(SUITE)
    report, store = tmp_path / "report", tmp_path / "store"
    result = pytester.runpytest_subprocess("--qllm-regimes=bnb-nf4", f"--qllm-store={store}", f"--qllm-report={report}")
    result.assert_outcomes(passed=2, skipped=1)
    found = {one["benchmark"]: one for one in json.loads((report / "qllm.json").read_text())["verdicts"]}
    # The embedding, 21 % of the weights, stays in 16 bits; the others take 4 bits and a scale of 32 for each 64.
    for name in ("disk_size", "weight_memory"):
        assert found[name]["effect"] == pytest.approx(0.43, abs=0.02)
    speed = found["decode_time"]
    assert speed["n"] == 8
    assert 0.2 < speed["effect"] < 50
    result.stdout.fnmatch_lines(["regime * decode_time *disk_size *weight_memory*", "bnb-nf4 *x*"])
