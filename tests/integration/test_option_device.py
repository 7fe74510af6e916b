"""--qllm-device: where it is computed."""

from __future__ import annotations

import pytest
import torch

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


@pytest.mark.parametrize(
    "given",
    [
        "tpu",
        "cpu:0",
        "auto:1",
        "cuda:x",
        "cuda:-1",
        "",
        "gpu",
        "cuda:",
    ],
)
def test_another_device_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(device=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-device is {given!r}", "expected auto, cpu, cuda, or cuda:N")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
@pytest.mark.parametrize("given", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(suite: Suite, given: str) -> None:
    assert_refused(suite.run(device=given), f"--qllm-device is {given!r}", "no CUDA device here", "use cpu")
    assert suite.report["verdicts"] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
def test_auto_is_the_cpu_where_there_is_no_gpu(suite: Suite) -> None:
    suite.run(device=None, max_items=40)
    (verdict,) = suite.report["verdicts"]
    assert verdict["provenance"]["device"] == "cpu"


def test_collection_does_not_ask_for_the_device(suite: Suite) -> None:
    assert suite.run("--collect-only", device="cuda:7").ret == 0
