"""Which regimes have no cost of their own to measure."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from pytest_qllm.efficiency.bench import unreal
from pytest_qllm.regimes.regime import Regime


@pytest.mark.parametrize("method", ["FP8", "MXFP8"])
def test_a_checkpoint_that_transformers_dequantizes_has_no_cost_of_its_own(method: str) -> None:
    regime = Regime("mine", method, 8, "checkpoint:Exact", weight_only=False)
    assert unreal(regime, "cpu") == (
        f"mine is computed with dense weights here: transformers dequantizes {method} on cpu, and no kernel multiplies "
        "its quantized weights"
    )


def test_fp8_is_real_on_a_device_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    regime = Regime("mine", "FP8", 8, "checkpoint:Exact", weight_only=False)
    for capability, told in (((8, 9), False), ((8, 0), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, found=capability: found)
        assert bool(unreal(regime, "cuda:0")) is told


def test_a_checkpoint_with_kernels_of_its_own_is_real() -> None:
    assert unreal(Regime("mine", "FP8 (torchao)", 8, "checkpoint:Exact", "torchao"), "cpu") == ""
