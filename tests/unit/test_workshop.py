"""What makes a regime's model, and what is said when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import Store
from pytest_qllm.workshop import Compute, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    unused: Any = None
    return Workshop(lambda: unused, unused, Compute("bfloat16", "cpu", 1), 0, Store(tmp_path), exact_kernels=True)


def test_weights_that_transformers_dequantizes_are_scored_with_no_kernel_of_their_own(workshop: Workshop) -> None:
    pytest.importorskip("torch")
    assert workshop.kernels(Regime("mine", "FP8", 8, "checkpoint:Exact", weight_only=False)) == "dense"
    assert workshop.kernels(Regime("mine", "INT8 (torchao)", 8, "checkpoint:Exact", "torchao")) == "exact"
