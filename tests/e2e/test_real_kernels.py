"""The kernel probe on real kernels and the real default model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ASYMMETRIC = """
from pytest_qllm.regimes.regime import Regime

def pytest_qllm_regimes():
    calibration = {"corpus": "squad", "rows": 4, "tokens": 64}
    options = {"group_size": 64, "symmetric": False, "calibration": calibration}
    return [Regime("gptq-4bit-asym", "GPTQ", 4, "gptqmodel", "gptqmodel", "gptq", True, options)]
"""


@pytest.fixture
def kernels(pytester, tmp_path):
    """Runs test_kernel for regimes; gives the run and the report's kernels by regime."""
    if importlib.util.find_spec("gptqmodel") is None:  # importing it here would import torch, which pytester forgets
        pytest.skip("needs gptqmodel")
    pytester.makeconftest(ASYMMETRIC)
    pytester.makepyfile(test_kernels="def test_kernel(gate):\n    gate.kernel()\n")

    def run(regimes: str, *options: str):
        report = tmp_path / "report"
        result = pytester.runpytest_subprocess(
            f"--qllm-regimes={regimes}", f"--qllm-store={tmp_path / 'store'}", f"--qllm-report={report}", *options
        )
        content = json.loads((report / "qllm.json").read_text())
        assert content["errors"] == []
        return result, {kernel["regime"]: kernel for kernel in content["kernels"]}

    return run


def test_gptqmodel_s_own_choice_in_float32_forgets_the_zero_points(kernels):
    """A real fault: its fused CPU kernel, the only one for float32, multiplies as if the zero point were always 8."""
    result, found = kernels("gptq-4bit-asym", "--qllm-dtype=float32")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["KERNEL DISAGREES: gptq-4bit-asym (GPTQ, 4 bits) of smollm2-135m: *"])
    kernel = found["gptq-4bit-asym"]
    figures = kernel["figures"]
    assert (kernel["agrees"], figures["kernel_dtype"]) == (False, "float32")
    assert figures["layers"] == figures["faulty"] == 210
    assert figures["logits"]["mean"] > 10 * kernel["limits"]["logits_mean"]


def test_bitsandbytes_4_bits_in_float32_are_exact(kernels):
    result, found = kernels("bnb-nf4,bnb-fp4", "--qllm-dtype=float32")
    result.assert_outcomes(passed=2, skipped=1)
    for kernel in found.values():
        # The library's own product rounds to bfloat16 where the CPU has it.
        if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
            assert kernel["figures"]["logits"]["max"] < 1e-3
        assert kernel["figures"]["layers"] == 210
